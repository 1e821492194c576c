"""Counts in a moving window, in memory: for one process, in bounded room.

What counts is the window under way and the share of the one before that still lies within the last minute (or hour), so
nobody gets twice the limit by asking around a full minute. The share is rounded up.

Rules: a count takes a few hundred bytes and there are at most `most` of them; what is older than a window makes room
first, and where there is none left the newcomers share one count. The threat is a flood of addresses that fills memory.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import NamedTuple

from wellkeep.base.clock import Clock

_OTHERS = "others"


class Taken(NamedTuple):
    """What became of a request: whether it is within `limit`, what is `left`, and the seconds until more is."""

    ok: bool
    limit: int
    left: int
    wait: int


def judged(*, ok: bool, limit: int, weight: int, current: int, previous: int, at: float, seconds: float) -> Taken:
    """Return what is told of a window whose `current` count includes the request's own, where it was `ok`.

    `at` is how far the window is, from 0 to 1.
    """
    used = current + math.ceil(previous * (1 - at))
    if ok:
        return Taken(True, limit, max(0, limit - used), math.ceil((1 - at) * seconds))
    room = limit - current - weight
    if room >= 0 and previous:
        waiting = 1 - room / previous - at
    else:
        waiting = (1 - at) + (max(0.0, 1 - (limit - weight) / current) if current else 0.0)
    return Taken(False, limit, max(0, limit - used), max(1, math.ceil(waiting * seconds)))


class Windows:
    """The counts of one kind of window."""

    def __init__(self, *, seconds: int, most: int, clock: Clock) -> None:
        """Count in windows of `seconds`, for at most `most` at a time."""
        self.seconds = seconds
        self._most = most
        self._clock = clock
        self._slots: dict[Hashable, list[int]] = {}
        self._swept = -1

    def take(self, who: Hashable, *, weight: int, limit: int, blocks: bool = True) -> Taken:
        """Count `weight` for `who` where that stays within `limit`, or in any case where nothing `blocks`."""
        index, at = self._now()
        slot = self._slot(who, index)
        current, previous = slot[1], slot[2]
        ok = not blocks or current + math.ceil(previous * (1 - at)) + weight <= limit
        if ok:
            slot[1] = current = current + weight
        return judged(
            ok=ok, limit=limit, weight=weight, current=current, previous=previous, at=at, seconds=self.seconds
        )

    def __len__(self) -> int:
        """Return how many counts are held."""
        return len(self._slots)

    def _now(self) -> tuple[int, float]:
        windows = self._clock.monotonic() / self.seconds
        index = int(windows)
        return index, windows - index

    def _slot(self, who: Hashable, index: int) -> list[int]:
        slot = self._slots.get(who)
        if slot is None:
            if len(self._slots) >= self._most:
                who = self._make_room(who, index)
            slot = self._slots.setdefault(who, [index, 0, 0])
        if slot[0] != index:
            slot[2] = slot[1] if slot[0] == index - 1 else 0
            slot[0], slot[1] = index, 0
        return slot

    def _make_room(self, who: Hashable, index: int) -> Hashable:
        if self._swept != index:
            self._swept = index
            self._slots = {one: slot for one, slot in self._slots.items() if slot[0] >= index - 1}
        return who if len(self._slots) < self._most else _OTHERS
