"""A claim is green only when everything was seen and held; nothing else is counted."""

from __future__ import annotations

import os
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from wellkeep.prove.claims import load_claims
from wellkeep.prove.evidence import FRESH_FOR, Evidence, Notes, State, Step, Where, fails, judge

UNMET = Step("t", "s", held=False, ours=False)
HELD, FAILED, BLIND = Step("t", "s", held=True), Step("t", "s", held=False), Step("t", "s", held=None)


@pytest.mark.parametrize(
    ("steps", "partial", "state"),
    [
        ([], False, State.UNKNOWN),
        ([HELD], False, State.PROVEN),
        ([HELD], True, State.PARTIAL),
        ([HELD, BLIND], False, State.UNKNOWN),
        ([HELD, BLIND, FAILED], False, State.FAILED),
        ([HELD, FAILED], True, State.FAILED),
        ([HELD, UNMET], False, State.UNMET),
        ([HELD, UNMET, BLIND], True, State.UNMET),
        ([UNMET, FAILED], False, State.FAILED),
    ],
)
def test_the_state_follows_from_the_steps(steps: list[Step], partial: bool, state: State) -> None:  # noqa: FBT001
    assert judge(steps, partial=partial) is state


def test_late_evidence_is_unknown_and_a_late_failure_stays_one() -> None:
    now = datetime.now(UTC)
    late = now - FRESH_FOR - timedelta(seconds=1)
    held = Evidence("rest.fields", Where.LIVE, late, 1.0, (HELD,))
    assert held.state is State.PROVEN
    assert held.state_at(late) is State.PROVEN
    assert held.state_at(now) is State.UNKNOWN
    assert Evidence("rest.fields", Where.LIVE, late, 1.0, (FAILED,)).state_at(now) is State.FAILED


def test_what_it_stands_on_fails_a_run_in_production_alone_and_stays_red() -> None:
    now = datetime.now(UTC)
    unmet = Evidence("rest.volumes", Where.LIVE, now - FRESH_FOR * 2, 1.0, (HELD, UNMET))
    assert unmet.state_at(now) is State.UNMET
    assert fails([unmet], production=True)
    assert not fails([unmet], production=False)
    assert fails([Evidence("rest.fields", Where.LIVE, now, 1.0, (FAILED,))], production=False)


def test_notes_keep_what_was_tried() -> None:
    notes = Notes()
    notes.check("read across the wall", held=True, seen="404")
    notes.blind("scan the WAL", why="a managed database does not show it")
    notes.ground("look at the disk", held=False, seen="in clear")
    assert [step.held for step in notes.steps] == [True, None, False]
    assert [step.ours for step in notes.steps] == [True, True, False]


def test_the_claims_of_the_package_are_the_reviewed_ones() -> None:
    assert len(load_claims()) == 65
    assert load_claims()["rest.fields"].maps == ("164.312(a)(2)(iv)", "CC6.1")
    reviewed = Path(os.environ.get("WELLKEEP_SAMPLES", "../shared/data")).parent / "claims.toml"
    if reviewed.exists():
        families = tomllib.loads(reviewed.read_text())
        ours = load_claims()
        assert {f"{family}.{name}" for family, members in families.items() for name in members} == set(ours)
        for family, members in families.items():
            for name, body in members.items():
                assert (body["says"], body["proof"]) == (ours[f"{family}.{name}"].says, ours[f"{family}.{name}"].proof)
