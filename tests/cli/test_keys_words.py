"""What `wellkeep keys` says of epochs and of ended rotations: true of what is still to come, and understood."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from wellkeep.assembly.keys_status import EpochStatus
from wellkeep.cli.console import counted
from wellkeep.cli.keys_words import ended_words, epoch_row
from wellkeep.keys.rotation import Rotation, Tier

BEGUN, END = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 22, 21, 4, tzinfo=UTC)


def epoch(**told: Any) -> EpochStatus:
    usual: dict[str, Any] = {"state": "retired", "outside": "usable", "destroy_at": None, "destroyed_at": None}
    return EpochStatus(
        epoch=1, rows=0, created_at=BEGUN, age_days=21, due=None, overdue=False, retired_at=BEGUN, **(usual | told)
    )


def ended(tier: Tier, done: int) -> Rotation:
    return Rotation(
        tenant=UUID(int=0),
        id=UUID(int=1),
        tier=tier,
        state="done",
        target=2,
        collection=None,
        field=None,
        done=done,
        total=done,
        conflicts=0,
        error=None,
        requested_by="operator:tester",
        started_at=BEGUN,
        updated_at=BEGUN,
        finished_at=BEGUN,
    )


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"destroy_at": END}, "is destroyed on 2026-12-22 21:04"),
        ({"state": "destroyed", "outside": "pending", "destroyed_at": END}, "is destroyed on 2026-12-22 21:04"),
        ({"state": "destroyed", "outside": "gone", "destroyed_at": END}, "destroyed 2026-12-22 21:04"),
    ],
    ids=["retired", "a-cloud-waits", "gone"],
)
def test_an_end_that_is_to_come_is_not_said_to_have_been(told: dict[str, Any], says: str) -> None:
    assert epoch_row(epoch(**told))[-1] == says


def test_a_roll_without_patients_does_not_say_that_nothing_changed() -> None:
    said = ended_words(ended(Tier.EPOCH, 0))
    assert "Every tenant's keys are under epoch 2, with 0 keys of patients and files re-wrapped" in said
    assert "The epoch before is retired" in said


def test_the_other_tiers_say_what_they_counted() -> None:
    assert ended_words(ended(Tier.ROOT, 23)).startswith("23 keys re-wrapped")
    for tier in (Tier.SUBJECT, Tier.DATA, Tier.INDEX):
        assert ended_words(ended(tier, 1)).startswith("1 stored state brought up to date")


def test_plurals() -> None:
    assert [counted(2, what) for what in ("key", "entry", "log")] == ["2 keys", "2 entries", "2 logs"]
