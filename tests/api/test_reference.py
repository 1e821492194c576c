"""The written reference names every route and every problem, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from api.requests import LISTENED
from wellkeep.api import problems

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def test_every_address_is_in_the_reference() -> None:
    text = (REFERENCE / "http.md").read_text()
    written = set(re.findall(r"^\| `([A-Z]+ /\S*)` \| (?:`([a-z:]+)`|nothing) \|", text, flags=re.MULTILINE))
    assert written == {(f"{route.method} {route.path}", route.permission or "") for _, route in LISTENED}


def test_every_problem_is_in_the_reference() -> None:
    text = (REFERENCE / "problems.md").read_text()
    written = set(re.findall(r"^\| `([a-z-]+)` \| (\d+) \|", text, flags=re.MULTILINE))
    assert written == {(kind.code, str(kind.status)) for kind in problems.CATALOGUE}
