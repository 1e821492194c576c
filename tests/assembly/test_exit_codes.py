"""What the exit code of a verification says: an anchor that was altered is never passed over in silence."""

from __future__ import annotations

import pytest

from wellkeep.assembly.ledger_check import Checked
from wellkeep.ledger.anchors.anchor import ALARMS, Trouble
from wellkeep.ledger.anchors.status import AnchorStatus
from wellkeep.ledger.report import ANCHORS_STALE, HOLDS, Report


def checked(*, stale: bool, **unasked: str) -> Checked:
    status = AnchorStatus(needed=1, holding=2, stale=stale, newest_age_seconds=1, anchors=())
    return Checked(Report(logs=0, entries=0, seals=0, bad=()), anchors=status, unasked=unasked)


@pytest.mark.parametrize("trouble", list(Trouble))
def test_an_alarm_counts_though_enough_others_keep_up_and_an_outage_does_not(trouble: Trouble) -> None:
    assert checked(stale=False, one=trouble.value).exit_code == (ANCHORS_STALE if trouble in ALARMS else HOLDS)


def test_without_trouble_it_is_whether_enough_keep_up() -> None:
    assert checked(stale=False).exit_code == HOLDS
    assert checked(stale=True).exit_code == ANCHORS_STALE
