"""The pages of access past the usual, made of what they are handed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from wellkeep.access.glass_reviews import Glass
from wellkeep.access.impersonation import Impersonation
from wellkeep.access.impersonation_permits import Permit
from wellkeep.web import rendering
from wellkeep.web.console import Frame, Line


def access(
    frame: Frame,
    stepped: Sequence[Impersonation],
    permits: Sequence[Permit],
    lines: Sequence[Line] | None,
    *,
    at: datetime,
) -> bytes:
    """Return the page; `lines` are the newest reads of records, None where they are not the reader's to see."""
    return rendering.page(
        "access.html",
        frame=frame,
        live=[one for one in stepped if one.live],
        past=[one for one in stepped if not one.live],
        permits=permits,
        lines=lines,
        ago=lambda when: rendering.age(at - when),
        left=lambda when: _left(when, at),
    )


def glasses(frame: Frame, found: Sequence[Glass] | None, *, at: datetime) -> bytes:
    """Return the page of broken glass; `found` None: not the reader's to see."""
    return rendering.page(
        "glasses.html",
        frame=frame,
        waiting=None if found is None else [one for one in found if one.reviewed_at is None],
        reviewed=[one for one in found or () if one.reviewed_at is not None],
        ago=lambda when: rendering.age(at - when),
        left=lambda when: _left(when, at),
    )


def glass(frame: Frame, found: Glass, *, at: datetime, oneself: bool) -> bytes:
    """Return the page of one use; nobody reviews their own."""
    return rendering.page(
        "glass.html",
        frame=frame,
        glass=found,
        oneself=oneself,
        ago=lambda when: rendering.age(at - when),
        left=lambda when: _left(when, at),
    )


def _left(when: datetime, at: datetime) -> int:
    """Return how many seconds are left until a time."""
    return int(max(timedelta(), when - at).total_seconds())
