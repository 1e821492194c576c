"""Lines of `/metrics` that cost a question of the database: asked now and then, and not once for each who looks.

Rule: whoever looks waits for seconds at most, and gets no lines rather than none of the others where the database does
not say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from wellkeep.base.clock import Clock
from wellkeep.base.errors import WellkeepError

KEPT_SECONDS = 5.0
_ASK_SECONDS = 3.0


class MetricLines:
    """Some of the lines of one process."""

    def __init__(self, ask: Callable[[], Awaitable[str]], *, clock: Clock, seconds: float = _ASK_SECONDS) -> None:
        """`ask` returns the lines, within `seconds`; it is not asked yet."""
        self._ask = ask
        self._clock = clock
        self._seconds = seconds
        self._text = ""
        self._asked: float | None = None

    async def text(self) -> str:
        """Return the lines, of five seconds ago at most or of the last answer while one is asked for."""
        now = self._clock.monotonic()
        if self._asked is None or now - self._asked >= KEPT_SECONDS:
            self._asked = now
            try:
                async with asyncio.timeout(self._seconds):
                    self._text = await self._ask()
            except (WellkeepError, TimeoutError):
                self._text = ""
        return self._text
