"""The house rules that a machine can check: caps, names, one clock, no swallowed error, no foreign path."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src/wellkeep").rglob("*.py"))
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_has_at_most_400_lines_and_a_function_40(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno + 1 <= 40, f"{node.name} is too long"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_module_says_what_it_is_for_and_has_a_name_of_the_field(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))
    assert not FORBIDDEN_NAMES & set(path.with_suffix("").parts)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_error_is_swallowed_and_no_work_is_marked_unfinished(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"\b(TODO|FIXME|XXX|NotImplementedError)\b", text)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or getattr(node.type, "id", "") in {"Exception", "BaseException"}
            assert not (broad and all(isinstance(line, ast.Pass) for line in node.body)), f"line {node.lineno}"


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name != "clock.py"], ids=name_of)
def test_time_comes_from_the_clock(path: Path) -> None:
    allowed = {"ids.py": {"time_ns"}}.get(path.name, set())
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
        ):
            owner, called = node.func.value.id, node.func.attr
            if (owner, called) in {("datetime", "now"), ("datetime", "utcnow"), ("time", "time"), ("time", "time_ns")}:
                assert called in allowed, f"line {node.lineno}: use base.clock"


def test_no_lock_names_an_index_or_an_address() -> None:
    for lock in ROOT.glob("*.lock"):
        assert not re.search(r"https?://|index-url|find-links", lock.read_text()), lock.name


def test_ci_runs_make_check_and_nothing_less() -> None:
    assert "make check" in (ROOT / ".ci/run").read_text()
