"""What an accounting comes to: how often who did what for which purpose, and how much happened when. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import NamedTuple

from wellkeep.assembly.disclosures import Disclosure
from wellkeep.ledger.actions import Action, Outcome

_READS = frozenset({Action.RECORD_READ, Action.RECORD_SEARCH, Action.RECORD_EXPORT, Action.EXPORT_DOWNLOAD})
_CHANGES = frozenset({
    Action.SUBJECT_CREATE,
    Action.SUBJECT_MERGE,
    Action.RECORD_CREATE,
    Action.RECORD_CHANGE,
    Action.RECORD_DELETE,
    Action.RECORD_BATCH,
    Action.RECORD_IMPORT,
    Action.RECORD_RESEALED,
})  # fmt: skip
_IN_VAIN = frozenset({Outcome.DENIED, Outcome.FAILED})
_MOST_DAYS = 62
"""More than two months are drawn by the month."""


class Sums(NamedTuple):
    """How often: content shown, content changed, looked up without content, stopped (refused or failed)."""

    read: int
    changed: int
    looked_up: int
    stopped: int


class Row(NamedTuple):
    """One line of a summary: its name, its sums and the last time."""

    name: str
    sums: Sums
    last: datetime


def totals(told: Sequence[Disclosure]) -> Sums:
    """Return the sums of all of it; each disclosure counts in exactly one."""
    kinds = [_kind(one) for one in told]
    return Sums(*(kinds.count(place) for place in range(len(Sums._fields))))


def by_who(told: Sequence[Disclosure]) -> list[Row]:
    """Return a row for each actor in each of their roles, the busiest first."""
    return _rows(told, lambda one: one.who.words)


def by_purpose(told: Sequence[Disclosure]) -> list[Row]:
    """Return a row for each purpose, the most frequent first."""
    return _rows(told, lambda one: one.why.words)


def bars(days: Sequence[date]) -> tuple[list[int], str]:
    """Return how much happened in each day, or month, from the first to the last, and which of the two it is."""
    first, last = min(days), max(days)
    if (last - first).days < _MOST_DAYS:
        counts = [0] * ((last - first).days + 1)
        for day in days:
            counts[(day - first).days] += 1
        return counts, "day"
    counts = [0] * (_month(last) - _month(first) + 1)
    for day in days:
        counts[_month(day) - _month(first)] += 1
    return counts, "month"


def _kind(one: Disclosure) -> int:
    """Return the place in `Sums` where a disclosure counts."""
    if one.outcome in _IN_VAIN:
        return 3
    if one.what.action in _READS:
        return 0
    return 1 if one.what.action in _CHANGES else 2


def _rows(told: Sequence[Disclosure], name: Callable[[Disclosure], str]) -> list[Row]:
    grouped: dict[str, list[Disclosure]] = {}
    for one in told:
        grouped.setdefault(name(one), []).append(one)
    rows = [Row(words, totals(items), max(one.time for one in items)) for words, items in grouped.items()]
    return sorted(rows, key=lambda row: (-sum(row.sums), row.name))


def _month(day: date) -> int:
    return day.year * 12 + day.month
