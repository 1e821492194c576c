"""A clock that a test sets."""

from __future__ import annotations

from wellkeep.base.clock import SystemClock


class HandClock(SystemClock):
    """Stands still until somebody moves it."""

    def __init__(self) -> None:
        """Begin at nought."""
        self.now_is = 0.0

    def monotonic(self) -> float:
        """Return where it was set."""
        return self.now_is
