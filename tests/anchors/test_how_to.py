"""Whatever can be wrong with an anchor is in the how-to, and what is an alarm is called one there."""

from __future__ import annotations

from pathlib import Path

import pytest

from wellkeep.ledger.anchors.anchor import ALARMS, Trouble

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "anchor-the-ledger.md"


@pytest.mark.parametrize("code", Trouble)
def test_every_error_of_an_anchor_is_explained(code: Trouble) -> None:
    rows = [line for line in HOW_TO.read_text().splitlines() if line.startswith("| `")]
    (row,) = [line for line in rows if f"`{code.value}`" in line.split("|")[1]]
    assert ("**alarm**" in row) == (code in ALARMS)
