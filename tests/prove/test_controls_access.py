"""Each probe of these claims fails on a copy of the package whose defence was taken out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from prove.controlled import Control, assert_noticed, controls, copied

FAMILIES = ("access.", "transport.")
CHOSEN = [control for control in controls() if control.claim.startswith(FAMILIES)]


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Make a deployment with the package as it is."""
    with copied() as copy:
        yield copy.init()


@pytest.mark.parametrize("control", [one for one in CHOSEN if not one.soak], ids=lambda one: one.id)
def test_the_probe_notices(control: Control, home: Path) -> None:
    assert_noticed(control, home)


@pytest.mark.soak
@pytest.mark.parametrize("control", [one for one in CHOSEN if one.soak], ids=lambda one: one.id)
def test_the_probe_notices_this_too(control: Control, home: Path) -> None:
    assert_noticed(control, home)
