"""How much of a resealing is done in one go: much while nobody else wants the process, little while requests come.

A page is read, sealed and written in stretches of the event loop that grow with it, and its writing holds a processor
of the database. So whoever reads meanwhile is asked, in effect. Where turns that were given away took time, others
were waiting, and the next page is half as large and comes after a rest as long as this one; else it is a little larger.
"""

from __future__ import annotations

from wellkeep.base.clock import Clock
from wellkeep.base.turns import give_way

MOST = 120
LEAST = 24
_QUIET_SECONDS = 100e-6
_BUSY_SHARE = 0.02
_REST = 1.0
"""Of the time that a page took, where others were waiting."""


class Pace:
    """The pace of one engine; `fields_per_second` is a bound of its own."""

    def __init__(self, clock: Clock, *, fields_per_second: int | None = None) -> None:
        """Begin with little."""
        self._clock = clock
        self._rate = fields_per_second
        self._given = 0
        self._taken = 0
        self._began = clock.monotonic()
        self.size = LEAST

    def begin(self) -> None:
        """Begin a page."""
        self._given = self._taken = 0
        self._began = self._clock.monotonic()

    async def give_way(self) -> None:
        """Let others work, and note whether there were any."""
        began = self._clock.monotonic()
        await give_way()
        self._given += 1
        self._taken += self._clock.monotonic() - began > _QUIET_SECONDS

    def rest(self, fields: int) -> float:
        """Set the size of the next page, and return how many seconds to wait before it."""
        took = self._clock.monotonic() - self._began
        busy = self._given > 0 and self._taken > _BUSY_SHARE * self._given
        self.size = max(LEAST, self.size // 2) if busy else min(MOST, self.size + LEAST)
        bound = 0.0 if self._rate is None else fields / self._rate - took
        return max(took * _REST if busy else 0.0, bound)
