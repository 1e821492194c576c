"""One process's ear for the list of places: what was approved or withdrawn elsewhere holds here within seconds.

Rules: each process asks every two seconds; one that could not ask for half a minute connects to the places of its
settings alone, for an approval may have been withdrawn meanwhile. Nothing ends the asking but the process.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Final

import structlog

from wellkeep.assembly.egress_list import in_force
from wellkeep.base.clock import Clock
from wellkeep.base.errors import WellkeepError
from wellkeep.db.pool import Pool
from wellkeep.egress.egress import Egress

PERIOD: Final = 2.0
_STALE_SECONDS: Final = 30.0

_log = structlog.get_logger("wellkeep.egress")


class EgressWatch:
    """Keeps `egress` at what is approved."""

    def __init__(self, pool: Pool, egress: Egress, *, clock: Clock) -> None:
        """Ask over connections of `pool`, which is wk_app's."""
        self._pool = pool
        self._egress = egress
        self._clock = clock
        self._heard = clock.monotonic()
        self._wrong = ""
        self._left_out: list[str] = []

    async def look(self) -> None:
        """Take the list as it is now; where it can't be had for long, what was approved counts no more."""
        try:
            async with self._pool.connection() as connection:
                places = await in_force(connection)
        except Exception as error:  # noqa: BLE001 -- logged by its kind; who asked no more would go on connecting
            self._note(error.code if isinstance(error, WellkeepError) else type(error).__name__)
            if self._clock.monotonic() - self._heard > _STALE_SECONDS:
                self._egress.approve(())
            return
        self._note("")
        self._heard = self._clock.monotonic()
        left_out = self._egress.approve(places)
        if left_out != self._left_out:
            self._left_out = left_out
            _log.warning("egress.left_out", count=len(left_out))

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(PERIOD)
            await self.look()

    def _note(self, error: str) -> None:
        """Log what is wrong once."""
        if error and error != self._wrong:
            _log.warning("egress.list_not_read", code=error)
        self._wrong = error


async def follow_list(stack: AsyncExitStack, pool: Pool, egress: Egress, *, clock: Clock) -> None:
    """Take the list now, and follow it until `stack` ends."""
    watch = EgressWatch(pool, egress, clock=clock)
    await watch.look()
    task = asyncio.create_task(watch.run(), name="egress-list")

    async def stop() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(stop)
