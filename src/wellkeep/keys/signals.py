"""News of tenants' keys, from process to process through the database: who is revoked, whose keys changed.

Rules: each process asks twice a second, on a connection of its own, so that a crowd of requests does not keep the news
waiting. A no purges at once and is not asked back; any other news has the rows read again at the next use. A row is
written before it is visible, so what is asked for reaches back a minute, and what was seen is not acted upon twice. The
threat is a worker that serves a revoked tenant from its warm cache because nobody told it.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from wellkeep.base.clock import Clock
from wellkeep.base.errors import WellkeepError
from wellkeep.db.pool import Pool
from wellkeep.keys.ring import KeyRing

PERIOD = 0.5
_TEND_SECONDS = 1.0
_REACH = timedelta(seconds=60)
"""Longer than any transaction of ours takes from its signal to its commit."""

_NOW = "SELECT clock_timestamp()"
_SIGNALS = "SELECT tenant_id, changed_at, revoked_at FROM keys.signals($1)"

_log = structlog.get_logger("wellkeep.keys")


class Signals:
    """One process's ear, and the pulse of its ring."""

    def __init__(self, pool: Pool, ring: KeyRing, *, clock: Clock, period: float = PERIOD) -> None:
        """`pool` is wk_app's or wk_jobs', best one of its own; `period` is in seconds."""
        self._pool = pool
        self._ring = ring
        self._clock = clock
        self._period = period
        self._newest: datetime | None = None
        self._seen: dict[UUID, tuple[datetime, datetime | None]] = {}
        self._tended = 0.0
        self._deaf = False
        self._task: asyncio.Task[None] | None = None

    @property
    def listening(self) -> bool:
        """Whether news get here: the task runs, and the database answered it the last time."""
        return self._task is not None and not self._task.done() and not self._deaf

    async def start(self) -> None:
        """Begin to listen; a database that does not answer yet is asked again."""
        self._task = asyncio.create_task(self._run(), name="keys-signals")

    async def stop(self) -> None:
        """Listen no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def poll(self) -> None:
        """Take the news once. Raises DatabaseUnavailable."""
        async with self._pool.connection() as connection:
            if self._newest is None:
                self._newest = await connection.fetchval(_NOW)
            since = self._newest - _REACH
            rows = await connection.fetch(_SIGNALS, since)
        for row in rows:
            mark = (row["changed_at"], row["revoked_at"])
            if self._seen.get(row["tenant_id"]) != mark:
                self._seen[row["tenant_id"]] = mark
                self._act(row["tenant_id"], revoked=row["revoked_at"] is not None)
            self._newest = max(self._newest, row["changed_at"])
        self._seen = {tenant: mark for tenant, mark in self._seen.items() if mark[0] >= since}

    def _act(self, tenant: UUID, *, revoked: bool) -> None:
        if revoked:
            self._ring.revoke(tenant)
        else:
            self._ring.restore(tenant)
            self._ring.expire(tenant)

    async def _run(self) -> None:
        while True:
            try:
                await self.poll()
            except WellkeepError as trouble:
                if not self._deaf:
                    _log.warning("keys.signals_not_read", error=trouble.code)
                self._deaf = True
            else:
                self._deaf = False
            now = self._clock.monotonic()
            if now - self._tended >= _TEND_SECONDS:
                self._tended = now
                self._ring.tend()
            await asyncio.sleep(self._period)
