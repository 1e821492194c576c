"""Entries by hour and weekday as a picture made here, said in words beside it.

Rule: the picture is never the only way to know: its label names the total and the busiest hour, and a table says the
rest. A level is a share of the busiest hour, so that one loud hour does not hide that another was not silent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from markupsafe import Markup

from wellkeep.assembly.ledger_search import Hours

_CELL: Final = 18
_GAP: Final = 2
_LEFT: Final = 64
_TOP: Final = 16
_DAY: Final = 24
_LEVELS: Final = (0.0, 0.05, 0.25, 0.6)
_NAMES: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MARKED: Final = (0, 6, 12, 18)


@dataclass(frozen=True, slots=True)
class Day:
    """One day (UTC): what it is called, how many entries it had, and in which hour the most."""

    name: str
    total: int
    busiest: str
    counts: tuple[int | None, ...]


def days(hours: Hours) -> list[Day]:
    """Return the days, the oldest first; an hour that lies outside the seven days has no count."""
    by_hour = {hours.since.astimezone(UTC) + timedelta(hours=place): count for place, count in enumerate(hours.counts)}
    first, last = min(by_hour).date(), max(by_hour).date()
    return [_day(first + timedelta(days=place), by_hour) for place in range((last - first).days + 1)]


def draw(hours: Hours) -> Markup:
    """Draw a square for each hour of each day."""
    shown, most = days(hours), max(hours.counts)
    total = sum(hours.counts)
    told = f"{total:,} entries in the last seven days"
    if total:
        at = hours.since.astimezone(UTC) + timedelta(hours=hours.counts.index(most))
        told += f", the most ({most:,}) in the hour from {at:%H:%M} UTC on {_called(at)}"
    parts = [Markup('<text x="{}" y="11">{}</text>').format(_LEFT + hour * _CELL, f"{hour:02d}") for hour in _MARKED]
    for row, day in enumerate(shown):
        top = _TOP + row * _CELL
        parts.append(Markup('<text x="0" y="{}">{}</text>').format(top + 12, day.name))
        parts += [
            Markup('<rect class="l{}" x="{}" y="{}" width="{}" height="{}" rx="3"/>').format(
                _level(count, most), _LEFT + hour * _CELL, top, _CELL - _GAP, _CELL - _GAP
            )
            for hour, count in enumerate(day.counts)
            if count is not None
        ]
    width, height = _LEFT + _DAY * _CELL, _TOP + len(shown) * _CELL
    return Markup('<svg class="heat" role="img" aria-label="{}" viewBox="0 0 {} {}">{}</svg>').format(
        told, width, height, Markup("").join(parts)
    )


def _day(date: object, by_hour: dict[datetime, int]) -> Day:
    counts = tuple(
        next((count for at, count in by_hour.items() if at.date() == date and at.hour == hour), None)
        for hour in range(_DAY)
    )
    known = [count or 0 for count in counts]
    most = max(known)
    name = next(_called(at) for at in by_hour if at.date() == date)
    return Day(name, sum(known), f"{known.index(most):02d}:00, {most:,}" if most else "none", counts)


def _called(at: datetime) -> str:
    return f"{_NAMES[at.weekday()]} {at.day}"


def _level(count: int, most: int) -> int:
    """Return 0 for none, 4 for what comes near the busiest hour."""
    return sum(most > 0 and count / most > least for least in _LEVELS)
