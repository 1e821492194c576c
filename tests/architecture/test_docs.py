"""The documents say what is so: links lead somewhere, and each reference holds all of its subject and nothing else."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import typer
from typer.core import TyperGroup, TyperOption

from wellkeep.access import roles
from wellkeep.base.settings import Settings
from wellkeep.cli.commands import app
from wellkeep.prove.registry import PROBES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_CODE = re.compile(r"^ *```.*?^ *```", flags=re.MULTILINE | re.DOTALL)
_PARSED = re.compile(r"^ *```(python|sh|json)\n(.*?)^ *```", flags=re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CELL = re.compile(r"^\| `([^`]+)` \|", flags=re.MULTILINE)


def pages() -> list[Path]:
    """Return every Markdown file that belongs to the repository, new ones included."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],  # noqa: S607 -- the git of the path
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in sorted(set(listed.stdout.split())) if (ROOT / name).is_file()]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as they are made of Markdown by those who show it."""
    titles = re.findall(r"^#+ (.+)$", _CODE.sub("", page.read_text()), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_no_link_is_dead(page: Path) -> None:
    for target in _LINK.findall(_CODE.sub("", page.read_text())):
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        where = (page.parent / path).resolve() if path else page
        assert where.exists(), target
        assert where.is_relative_to(ROOT), target
        if anchor and where.suffix == ".md":
            assert anchor in anchors(where), target


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_no_place_of_one_machine_is_named(page: Path) -> None:
    assert not re.search(r"(?<![\w.])/(work|root|home)/", page.read_text())


def test_every_page_is_reached_from_the_index() -> None:
    index = (DOCS / "README.md").read_text() + (DOCS / "decisions" / "README.md").read_text()
    linked = {Path(target).name for target in _LINK.findall(index)}
    written = {page.name for page in DOCS.rglob("*.md") if page.name != "README.md"}
    assert written == linked - {"decisions", "README.md"}


def leaves(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Yield each command that does something, by the words that are typed."""
    if isinstance(command, TyperGroup):
        if command.invoke_without_command and len(words) > 1:
            yield " ".join(words), command
        for name, inner in command.commands.items():
            yield from leaves(inner, (*words, name))
    else:
        yield " ".join(words), command


COMMANDS = dict(leaves(typer.main.get_command(app), ("wellkeep",)))


def test_every_command_is_documented_and_no_other() -> None:
    text = (DOCS / "reference" / "commands.md").read_text()
    assert set(re.findall(r"^\| `(wellkeep [^`]+)` \|", text, flags=re.MULTILINE)) == set(COMMANDS)
    assert set(re.findall(r"^### `(wellkeep [^`]+)`", text, flags=re.MULTILINE)) == set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_and_each_of_its_options_are_told(words: str) -> None:
    command = COMMANDS[words]
    assert "Example: " + words in (command.help or "")
    text = (DOCS / "reference" / "commands.md").read_text()
    own = text.split(f"### `{words}`")[1].split("\n#")[0]
    everywhere = {"--home", "--json", "--url", "--help"}
    for parameter in command.params:
        if isinstance(parameter, TyperOption) and not everywhere & set(parameter.opts):
            assert any(name in own for name in parameter.opts), parameter.opts


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_a_command_that_is_named_exists(page: Path) -> None:
    text = page.read_text()
    blocks = "\n".join(_CODE.findall(text)) + "\n".join(re.findall(r"^ {4}.*$", text, flags=re.MULTILINE))
    named = re.findall(r"`(wellkeep [a-z]+(?: [a-z][a-z-]*)?)", _CODE.sub("", text))
    named += re.findall(r"^ *(wellkeep [a-z]+(?: [a-z][a-z-]*)?)", blocks, flags=re.MULTILINE)
    for words in named:
        assert any(words == known or words.startswith(known + " ") for known in COMMANDS), words


def tables(kind: Any) -> list[type[msgspec.Struct]]:
    """Return the tables that a setting's type is made of: those of a list, or of a choice, however deep they lie."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [kind]
    return [table for inner in get_args(kind) for table in tables(inner)]


def settings(kind: type[msgspec.Struct], prefix: str = "") -> Iterator[str]:
    """Yield the name of each setting, with the name of its table; `[]` stands for each table of a list."""
    for field in msgspec.structs.fields(kind):
        inner = f"{prefix}{field.encode_name}{'' if isinstance(field.type, type) else '[]'}."
        found = [name for table in tables(field.type) for name in settings(table, inner)]
        yield from dict.fromkeys(found) or [prefix + field.encode_name]


def test_every_setting_is_documented_and_no_other() -> None:
    text = (DOCS / "reference" / "settings.md").read_text().split("\n## ")[0]
    assert _CELL.findall(text) == list(settings(Settings))


def rows(text: str, first: str) -> dict[str, list[str]]:
    """Return the rows of the table whose head begins with `first`, by their first cell."""
    lines = text.split(f"| {first} |")[1].split("\n\n", maxsplit=1)[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    head = [cell.strip("`") for cell in cells[0] if cell]
    return {"": head} | {one[0].strip("`"): one[1:] for one in cells[2:]}


def test_the_role_matrix_is_that_of_the_policy() -> None:
    written = rows((DOCS / "reference" / "roles.md").read_text(), "permission")
    names = written.pop("")
    told = {
        (role, permission): cell for permission, row in written.items() for role, cell in zip(names, row, strict=True)
    }
    cells = roles.matrix(roles.load())
    assert told == {(cell.role, cell.permission.value): "yes" if cell.allowed else "" for cell in cells}


def test_what_roles_see_and_act_for_is_that_of_the_policy() -> None:
    written = rows((DOCS / "reference" / "roles.md").read_text(), "role")
    written.pop("")
    loaded = roles.load().roles
    assert set(written) == set(loaded)
    for name, (groups, purposes, default) in written.items():
        assert set(re.findall(r"\w+", groups)) == loaded[name].groups
        assert set(re.findall(r"\w+", purposes)) == {purpose.value for purpose in loaded[name].purposes}
        assert default.strip("`") == loaded[name].default_purpose.value


def test_every_probed_claim_is_in_the_threat_model_with_tests_that_exist() -> None:
    text = (DOCS / "explanation" / "threat-model.md").read_text()
    assert set(re.findall(r"`([a-z]+\.[a-z_]+)`", text)) == set(PROBES)
    paths = re.findall(r"`([a-z]+/test_[a-z_]+\.py)`", text)
    assert paths
    for path in paths:
        assert (ROOT / "tests" / path).is_file(), path


def test_the_readme_tells_how_far_each_probe_reaches() -> None:
    text = (ROOT / "README.md").read_text()
    told = dict(re.findall(r"^\| `([a-z]+\.[a-z_]+)` \| (proven|partial) \|", text, flags=re.MULTILINE))
    assert told == {claim: "proven" if probe.missing is None else "partial" for claim, probe in PROBES.items()}


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_code_in_a_page_parses(page: Path) -> None:
    for language, code in _PARSED.findall(page.read_text()):
        if language == "python":
            ast.parse(code)
        elif language == "sh":
            subprocess.run(["bash", "-n"], input=code, text=True, check=True, capture_output=True)  # noqa: S607
        else:
            msgspec.json.decode(code)
