"""What the ring tells others: findings for people, signals for the other processes.

Rules: nothing here keeps a request waiting. What went wrong is a finding at once; what ended by itself is closed again.
A process that learns that the key service says no, or yes again, writes it down once, when it learns it, and so does
not echo what it was told. A signal that can't be written is tried again a few times and then given up, in the log:
every process still asks the key service by itself. The threat is a worker that serves on what another knows is revoked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any
from uuid import UUID

import structlog

from wellkeep.base.errors import WellkeepError
from wellkeep.db.pool import Pool
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.keys.ring_leases import budget_key
from wellkeep.keys.rows import KeyRow

_REVOKED = "SELECT keys.signal_revoked(true)"
_WELL = "SELECT keys.signal_revoked(false) FROM keys.signal WHERE tenant_id = wk.tenant() AND revoked_at IS NOT NULL"
_TENANT = "SELECT state FROM wk.tenants WHERE id = wk.tenant()"
_ATTEMPTS = 5
_FIRST_PAUSE = 0.1
_STOP_SECONDS = 2.0
_OVER = tuple(finding_key(kind) for kind in (Kind.KEYS_STALE, Kind.KEYS_LOCKED, Kind.KEYS_REVOKED))

_log = structlog.get_logger("wellkeep.keys")


class News:
    """Findings and signals of one ring."""

    def __init__(self, pool: Pool, findings: Findings) -> None:
        """`pool` is the ring's."""
        self._pool = pool
        self._findings = findings
        self._telling: set[asyncio.Task[None]] = set()

    def report(self, tenant: UUID, kind: Kind, severity: Severity) -> None:
        """Have a finding say how the tenant's keys stand."""
        self._findings.note(tenant, kind=kind, severity=severity, key=finding_key(kind), detail={"tenant": str(tenant)})

    def revoked(self, tenant: UUID) -> None:
        """Tell every process that the key service says no."""
        self._tell(self._signal(tenant, _REVOKED))

    def destroyed(self, tenant: UUID) -> None:
        """Report that keys which were open here are not in the database any more, unless the tenant was closed."""
        self._tell(self._missed(tenant))

    def well(self, tenant: UUID, rows: Sequence[KeyRow]) -> None:
        """Close what findings say of the tenant's keys, and of the budgets of those among `rows` that seal no more.

        Where the keys are known as revoked, have every process ask again.
        """
        spent = [budget_key(row) for row in rows if row.state != "active"]
        self._tell(self._close(self._findings.settle(tenant, keys=(*_OVER, *spent))))
        self._tell(self._signal(tenant, _WELL))

    async def settled(self) -> None:
        """Wait until all is told that was to be told."""
        await asyncio.gather(*self._telling)

    async def stop(self) -> None:
        """Give what is being told two seconds, and end it."""
        if self._telling:
            _, late = await asyncio.wait(set(self._telling), timeout=_STOP_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _tell(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="keys-news")
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _signal(self, tenant: UUID, statement: str) -> None:
        pause = _FIRST_PAUSE
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                async with self._pool.tenant_transaction(tenant=tenant) as connection:
                    await connection.execute(statement)
            except WellkeepError as trouble:
                _log.warning("keys.signal_not_written", error=trouble.code, attempt=attempt)
                await asyncio.sleep(pause)
                pause *= 2
            else:
                return

    async def _missed(self, tenant: UUID) -> None:
        """Raise the alarm, unless the tenant is closed: then it may have been erased, as somebody asked."""
        state = None
        try:
            async with self._pool.tenant_transaction(tenant=tenant) as connection:
                state = await connection.fetchval(_TENANT)
        except WellkeepError as trouble:
            _log.warning("keys.tenant_not_read", error=trouble.code)
        if state != "closed":
            self.report(tenant, Kind.KEYS_REVOKED, Severity.CRITICAL)
            await self._signal(tenant, _REVOKED)

    async def _close(self, settling: Coroutine[Any, Any, int]) -> None:
        try:
            await settling
        except WellkeepError as trouble:
            _log.warning("keys.findings_not_closed", error=trouble.code)
