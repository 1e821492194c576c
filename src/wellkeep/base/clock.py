"""Time, from one place, always aware.

Nothing else calls `datetime.now` or `time.time`: a test, and the replay of an incident, must be able to set the clock.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the time is, for whoever is handed one."""

    def now(self) -> datetime:
        """Return the present as an aware UTC time."""
        ...

    def seconds(self) -> float:
        """Return the present as seconds since 1970 (POSIX time)."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never run backwards and that nobody can set, for durations alone."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the present as an aware UTC time."""
        return datetime.now(UTC)

    def seconds(self) -> float:
        """Return the present as seconds since 1970 (POSIX time)."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never run backwards and that nobody can set; the machine's sleep is among them."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)


def iso(moment: datetime) -> str:
    """Write `moment` as RFC 3339 in UTC with six digits, as the ledger and the API do."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
