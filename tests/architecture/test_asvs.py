"""The verification standard is told as it is: tests that exist, reasons, and what is open; no row forgotten."""

from __future__ import annotations

import ast
import csv
import os
import runpy
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ROWS: dict[str, dict[str, Any]] = tomllib.loads((ROOT / "docs" / "asvs.toml").read_text("utf-8"))["rows"]
NAMED = sorted({test for row in ROWS.values() for test in row.get("tests", ())})


@cache
def names_in(path: Path) -> set[str]:
    """Return the names of the tests in a file."""
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("named", NAMED)
def test_a_test_that_is_named_exists(named: str) -> None:
    where, _, name = named.partition("::")
    assert name.startswith("test_")
    assert name in names_in(ROOT / where)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_says_one_thing(row: str) -> None:
    """It does not apply, is held by tests, told in a page, left out for a reason, or open; never two of these."""
    found = ROWS[row]
    assert found.keys() <= {"level", "says", "applies", "tests", "told", "reason"}
    assert found["level"] in {1, 2, 3}
    assert len({"applies", "tests", "told", "reason"} & found.keys()) <= 1
    assert found.get("applies", False) is False
    assert all(found.get(name, True) for name in ("says", "tests", "told", "reason"))


def test_the_page_is_what_the_script_writes() -> None:
    written = runpy.run_path(str(ROOT / "scripts" / "asvs"))["page"]()
    assert (ROOT / "docs" / "asvs.md").read_text("utf-8") == written, "run: scripts/asvs"


def test_no_row_of_the_list_was_forgotten() -> None:
    samples = Path(os.environ.get("WELLKEEP_SAMPLES") or ROOT.parent / "shared" / "data")
    rules = samples.parent / "rules" / "asvs-5.0-own-words.csv"
    if not rules.is_file():
        pytest.skip("the list is not here (set WELLKEEP_SAMPLES)")
    chapters = {name.split(".")[0] for name in ROWS}
    with rules.open(encoding="utf-8", newline="") as file:
        listed = {row["id"]: row for row in csv.DictReader(file) if row["id"].split(".")[0] in chapters}
    assert chapters == {"2", "3", "4", "6", "7", "8", "9", "10", "12"}
    assert {name: (f"L{row['level']}", row.get("applies", True)) for name, row in ROWS.items()} == {
        name: (row["level"], row["applies"] == "y") for name, row in listed.items()
    }
