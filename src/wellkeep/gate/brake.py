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

from wellkeep.base.errors import LedgerUnavailable

OLDEST = 2.0
PROBE_SECONDS = 0.5
_SETTLED_SECONDS = 1.0
"""Younger rows are still being chained by those who wrote them."""

_log = structlog.get_logger("wellkeep.gate")


class Outbox(Protocol):
    """What the brake asks of the ledger's writer."""

    def outbox_age(self) -> float:
        """Return the age in seconds of the oldest change that is not chained yet; 0 where there is none."""
        ...

    async def drain_outbox(self, *, older_than: float) -> int:
        """Chain what has lain in the outbox for `older_than` seconds; raises LedgerUnavailable where that fails."""
        ...


class Brake:
    """Refuses changes while it is on."""

    def __init__(self, outbox: Outbox) -> None:
        """Hold changes back by the state of `outbox`."""
        self._outbox = outbox
        self._on = False
        self._probe: asyncio.Task[None] | None = None

    @property
    def on(self) -> bool:
        """Whether changes are refused."""
        return self._on

    def check(self) -> None:
        """Raise LedgerUnavailable while changes are refused."""
        if not self._on and self._outbox.outbox_age() > OLDEST:
            self.pull()
        if self._on:
            raise LedgerUnavailable("Changes wait until earlier ones are in the ledger; nothing was changed")

    def pull(self) -> None:
        """Refuse changes from now on, until the outbox is drained."""
        if not self._on:
            _log.error("gate.brake_on")
            self._on = True
            self._probe = asyncio.get_running_loop().create_task(self._probing(), name="gate-brake")

    async def stop(self) -> None:
        """End the probing; what is held stays held."""
        probe, self._probe = self._probe, None
        if probe is not None:
            probe.cancel()
            await asyncio.gather(probe, return_exceptions=True)

    async def _probing(self) -> None:
        while self._on:
            await asyncio.sleep(PROBE_SECONDS)
            try:
                await self._outbox.drain_outbox(older_than=_SETTLED_SECONDS)
            except LedgerUnavailable:
                continue
            if self._outbox.outbox_age() <= OLDEST:
                _log.warning("gate.brake_off")
                self._on = False
