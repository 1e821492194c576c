"""Counts in a moving window, in memory: for one process, in bounded room.

What counts is the window under way and the share of the one before that still lies within the last minute (or hour), so
nobody gets twice the limit by asking around a full minute. The share is rounded up.

Rules: a count takes a few hundred bytes and there are at most `most` of them; what is older than a window makes room
first. Where there is none left a newcomer is counted with its neighbours, by the next wider name that it has; of those
names there are a fifth as many; and where those are too many as well, whoever is left shares one count. The threat is a
flood of addresses that fills memory, or that slows down whoever is no part of it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from typing import Final, NamedTuple

from wellkeep.base.clock import Clock

WIDER: Final = 2
"""How many wider names a newcomer may have."""
_OTHERS = "others"
_INDEX, _CURRENT, _PREVIOUS, _OWED = range(4)


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


class Debt(NamedTuple):
    """What `name` let through that the common count has not: `weight`."""

    name: Hashable
    weight: int
    slot: list[int]
    owed: int

    def told(self) -> None:
        """Take note that the common count has it now."""
        self.slot[_OWED] = max(0, self.slot[_OWED] - self.owed)


class Windows:
    """The counts of one kind of window, of one kind of caller."""

    def __init__(self, *, seconds: int, most: int, clock: Clock) -> None:
        """Count in windows of `seconds`, for at most `most` at a time."""
        self.seconds = seconds
        self._rooms = (most, *(max(1, most // 5) for _ in range(WIDER)), 1)
        self._clock = clock
        self._tables: list[dict[Hashable, list[int]]] = [{} for _ in self._rooms]
        self._swept = -1

    def take(
        self,
        who: Hashable,
        *,
        weight: int,
        limit: int,
        blocks: bool = True,
        wider: tuple[Hashable, ...] = (),
        told: bool = False,
    ) -> Taken:
        """Count `weight` for `who` where that stays within `limit`, or in any case where nothing `blocks`.

        `wider` are the names that newcomers share where there is no room, at most `WIDER`. `told`: the workers' common
        count has it already; what it has not is `owed` to it.
        """
        index, at = self._now()
        _, slot = self._slot(who, wider, index)
        current, previous = slot[_CURRENT], slot[_PREVIOUS]
        ok = not blocks or current + math.ceil(previous * (1 - at)) + weight <= limit
        if ok:
            slot[_CURRENT] = current = current + weight
            slot[_OWED] += 0 if told else weight
        return judged(
            ok=ok, limit=limit, weight=weight, current=current, previous=previous, at=at, seconds=self.seconds
        )

    def name(self, who: Hashable, wider: tuple[Hashable, ...] = ()) -> Hashable:
        """Return the name that `who` is counted by: its own, or one that it shares."""
        return self._slot(who, wider, self._now()[0])[0]

    def owed(self, *, everything: bool) -> Iterator[Debt]:
        """Return what the common count was not told and counts still, or `everything` where that has forgotten."""
        for name, slot in [held for table in self._tables for held in table.items()]:
            index, at = self._now()
            _move(slot, index)
            used = slot[_CURRENT] + math.ceil(slot[_PREVIOUS] * (1 - at))
            weight = used if everything else min(slot[_OWED], used)
            if weight:
                yield Debt(name, weight, slot, slot[_OWED])

    def __len__(self) -> int:
        """Return how many counts are held."""
        return sum(len(table) for table in self._tables)

    def _now(self) -> tuple[int, float]:
        windows = self._clock.monotonic() / self.seconds
        index = int(windows)
        return index, windows - index

    def _slot(self, who: Hashable, wider: tuple[Hashable, ...], index: int) -> tuple[Hashable, list[int]]:
        slot = self._tables[0].get(who)
        name = who
        if slot is None:
            level, name = self._place(who, wider, index)
            slot = self._tables[level].setdefault(name, [index, 0, 0, 0])
        _move(slot, index)
        return name, slot

    def _place(self, who: Hashable, wider: tuple[Hashable, ...], index: int) -> tuple[int, Hashable]:
        """Return the table that a newcomer is counted in, and by which name."""
        for level, name in enumerate((who, *wider)):
            table = self._tables[level]
            if name in table or len(table) < self._rooms[level] or self._make_room(level, index):
                return level, name
        return len(self._tables) - 1, _OTHERS

    def _make_room(self, level: int, index: int) -> bool:
        """Drop what is older than a window, once a window, and say whether that made room."""
        if self._swept != index:
            self._swept = index
            for place, table in enumerate(self._tables):
                self._tables[place] = {name: slot for name, slot in table.items() if slot[_INDEX] >= index - 1}
        return len(self._tables[level]) < self._rooms[level]


def _move(slot: list[int], index: int) -> None:
    """Bring a count into the window `index`; what lies further back than one is no longer counted, nor owed."""
    if slot[_INDEX] != index:
        slot[_PREVIOUS] = slot[_CURRENT] if slot[_INDEX] == index - 1 else 0
        slot[_OWED] = slot[_OWED] if slot[_PREVIOUS] else 0
        slot[_INDEX], slot[_CURRENT] = index, 0
