"""The brake: no further change while the ledger lags behind what was committed.

Rules: a change commits together with its outbox row and is chained right after. If chaining fails, or if rows of any
process lie in the outbox for longer than `OLDEST` seconds, changes are refused until the outbox is drained. The brake
looks for itself, twice a second while it is on, and lets go by itself. The threat is a system that goes on changing
what it can't record: the unchained tail would grow and could be cut off unseen.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from wellkeep.base.errors import LedgerUnavailable, WellkeepError

OLDEST = 2.0
_WATCH_SECONDS = 1.0
_PROBE_SECONDS = 0.5

_log = structlog.get_logger("wellkeep.gate")


class Outbox(Protocol):
    """What the brake asks of the ledger's writer."""

    async def outbox_age(self) -> float:
        """Return the age in seconds of the oldest change that is not chained yet; 0 where there is none."""
        ...

    async def drain_outbox(self) -> int:
        """Chain what lies in the outbox; raises LedgerUnavailable where that fails."""
        ...


class Brake:
    """Refuses changes while it is on."""

    def __init__(self, outbox: Outbox) -> None:
        """Watch `outbox` once started."""
        self._outbox = outbox
        self._on = False
        self._wake = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    @property
    def on(self) -> bool:
        """Whether changes are refused."""
        return self._on

    def check(self) -> None:
        """Raise LedgerUnavailable while the brake is on."""
        if self._on:
            raise LedgerUnavailable("Changes wait until earlier ones are in the ledger; nothing was changed")

    def pull(self) -> None:
        """Refuse changes from now on, until the outbox is drained."""
        self._hold()
        self._wake.set()

    def start(self) -> None:
        """Begin to watch the outbox."""
        if self._watch is None:
            self._watch = asyncio.get_running_loop().create_task(self._watching(), name="gate-brake")

    async def stop(self) -> None:
        """End the watch."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def _watching(self) -> None:
        while True:
            await self.look()
            try:
                await asyncio.wait_for(self._wake.wait(), _PROBE_SECONDS if self._on else _WATCH_SECONDS)
            except TimeoutError:
                continue
            self._wake.clear()

    async def look(self) -> None:
        """Look at the outbox once: pull the brake where it is too old, let go where it has been drained."""
        try:
            if self._on:
                await self._outbox.drain_outbox()
            lagging = await self._outbox.outbox_age() > OLDEST
        except WellkeepError:
            # While the ledger can't be asked nobody knows how far behind it is.
            self._hold()
            return
        if lagging:
            self._hold()
        elif self._on:
            _log.warning("gate.brake_off")
            self._on = False

    def _hold(self) -> None:
        if not self._on:
            _log.error("gate.brake_on")
        self._on = True
