"""The brake: no further change while the ledger lags behind what was committed.

Rules: a change commits together with its outbox row and is chained right after. If appending fails, everybody's
changes are refused until the outbox is drained. If the ledger refuses one tenant's entries alone (its head is ahead of
the clock, its log is gone), or rows of its lie in the outbox for longer than `OLDEST` seconds, whichever process left
them, that tenant's changes are refused and nobody else's. The brake looks for itself, twice a second while it holds
somebody, and lets go by itself. The threats are a system that goes on changing what it can't record (the unchained tail
would grow and could be cut off unseen), and a tenant that stops all others.
"""

from __future__ import annotations

import asyncio
from typing import Protocol
from uuid import UUID

import structlog

from wellkeep.base.errors import LedgerUnavailable

OLDEST = 2.0
PROBE_SECONDS = 0.5

_log = structlog.get_logger("wellkeep.gate")


class Outbox(Protocol):
    """What the brake asks of the ledger's writer."""

    @property
    def healthy(self) -> bool:
        """Whether what it did last worked; a refusal of one tenant's entries is no failure."""
        ...

    def outbox_age(self, tenant: UUID) -> float:
        """Return the age in seconds of the tenant's oldest change that is not chained yet; 0 where there is none."""
        ...

    async def drain_outbox(self, *, older_than: float) -> int:
        """Chain what has lain in the outbox for `older_than` seconds; raises LedgerUnavailable where that fails."""
        ...


class Brake:
    """Refuses changes while it is on: a tenant's, or everybody's."""

    def __init__(self, outbox: Outbox) -> None:
        """Hold changes back by the state of `outbox`."""
        self._outbox = outbox
        self._on = False
        self._held: set[UUID] = set()
        self._probe: asyncio.Task[None] | None = None

    @property
    def on(self) -> bool:
        """Whether everybody's changes are refused."""
        return self._on

    def check(self, tenant: UUID) -> None:
        """Raise LedgerUnavailable while the tenant's changes are refused."""
        if self._on or tenant in self._held or self._outbox.outbox_age(tenant) > OLDEST:
            raise LedgerUnavailable("Changes wait until earlier ones are in the ledger; nothing was changed")

    def pull(self, tenant: UUID) -> None:
        """Refuse changes after one of the tenant's could not be chained: the tenant's, or all where appending fails."""
        if self._outbox.healthy:
            _log.error("gate.tenant_held")
            self._held.add(tenant)
        elif not self._on:
            _log.error("gate.brake_on")
            self._on = True
        if self._probe is None or self._probe.done():
            self._probe = asyncio.get_running_loop().create_task(self._probing(), name="gate-brake")

    async def stop(self) -> None:
        """End the probing; what is held stays held."""
        probe, self._probe = self._probe, None
        if probe is not None:
            probe.cancel()
            await asyncio.gather(probe, return_exceptions=True)

    async def _probing(self) -> None:
        while self._on or self._held:
            await asyncio.sleep(PROBE_SECONDS)
            try:
                await self._outbox.drain_outbox(older_than=0.0)
            except LedgerUnavailable:
                continue
            if self._on:
                _log.warning("gate.brake_off")
                self._on = False
            self._held = {tenant for tenant in self._held if self._outbox.outbox_age(tenant) > 0.0}
