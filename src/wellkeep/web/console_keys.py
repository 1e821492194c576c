"""The page of the keys, made of what it is handed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final
from uuid import UUID

from wellkeep.assembly.keys_status import ROTATED, EpochStatus
from wellkeep.keys.inventory import KnownKey
from wellkeep.keys.rotation import Rotation
from wellkeep.web import rendering
from wellkeep.web.console import Frame

_MOST: Final = 100
_NEAR: Final = 0.9


@dataclass(frozen=True, slots=True)
class Age:
    """How old a key is. `share` is that of its limit, None for what is wrapped anew and never replaced."""

    days: int
    share: float | None

    @property
    def percent(self) -> int:
        """How far the bar goes."""
        return 0 if self.share is None else min(100, round(100 * self.share))

    @property
    def word(self) -> str:
        """What it comes to."""
        if self.share is None:
            return "no limit"
        return "overdue" if self.share >= 1 else "due soon" if self.share >= _NEAR else "fresh"

    @property
    def kind(self) -> str:
        """Which state stands for it."""
        return {"overdue": "failed", "due soon": "partial", "fresh": "proven"}.get(self.word, "unknown")


@dataclass(frozen=True, slots=True)
class Purpose:
    """The active keys of one purpose: how many, the oldest, and how many are past their limit."""

    name: str
    count: int
    oldest: Age
    overdue: int


def page(
    frame: Frame,
    keys: Sequence[KnownKey],
    epochs: Sequence[EpochStatus],
    rotations: Sequence[Rotation],
    *,
    names: Mapping[UUID, str],
    limit: timedelta,
    all_tenants: bool,
    whose: UUID | None,
    at: datetime,
) -> bytes:
    """Return the page.

    `names` are the tenants', where the reader may know them; `limit` is the age at which a key is to be replaced.
    """
    oldest = sorted((one for one in keys if one.state == "active"), key=lambda one: one.created_at)
    return rendering.page(
        "keys.html",
        frame=frame,
        purposes=list(_purposes(oldest, limit=limit, at=at)),
        keys=[(one, age_of(one, limit=limit, at=at)) for one in _worst(oldest)[:_MOST]],
        total=len(oldest),
        epochs=epochs,
        running=[one for one in rotations if one.state == "running"],
        ended=[one for one in rotations if one.state != "running"][:20],
        names=names,
        limit=limit,
        all_tenants=all_tenants,
        whose=whose,
        ago=lambda when: rendering.age(at - when),
    )


def age_of(key: KnownKey, *, limit: timedelta, at: datetime) -> Age:
    """Return how old a key is, against the limit of those that are replaced by new ones."""
    age = at - key.created_at
    return Age(age.days, age / limit if key.purpose in ROTATED else None)


def _purposes(keys: Sequence[KnownKey], *, limit: timedelta, at: datetime) -> list[Purpose]:
    found = []
    for name, group in groupby(sorted(keys, key=lambda one: one.purpose), key=lambda one: one.purpose):
        ages = [age_of(one, limit=limit, at=at) for one in group]
        oldest = max(ages, key=lambda one: one.days)
        found.append(Purpose(name, len(ages), oldest, sum(one.word == "overdue" for one in ages)))
    return found


def _worst(keys: Sequence[KnownKey]) -> list[KnownKey]:
    """Return those that are replaced by new ones first, the oldest of them foremost."""
    return sorted(keys, key=lambda one: one.purpose not in ROTATED)
