"""Reporting, listing and resolving findings.

Rules: the same (tenant, key) is one row that counts; a resolved one that shows up again is open again. Reporting never
fails the caller and never blocks it for long: what can't be stored waits in a bounded backlog in memory, is tried
again, and shows in `backlog` until it is stored; what no longer fits is counted in `lost`. The log line names the kind
alone. The threat is a warning that goes missing because the database was the thing that broke.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from wellkeep.base.clock import Clock, SystemClock
from wellkeep.base.errors import DatabaseUnavailable, WellkeepError
from wellkeep.base.ids import uuid7
from wellkeep.db.connection import Connection, Record
from wellkeep.db.pool import Pool
from wellkeep.findings.grammar import Kind, Severity, check_detail, check_key

_BACKLOG_LIMIT = 1_000
_STORE_SECONDS = 2.0
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_LIST_LIMIT = 1_000

_STORE = """
INSERT INTO findings.finding AS f (tenant_id, id, key, kind, severity, detail, count, first_seen, last_seen)
VALUES ($1, $2, $3, $4, $5, $6::text::jsonb, $7, $8, $9)
ON CONFLICT (tenant_id, key) DO UPDATE SET
    count = f.count + excluded.count,
    severity = excluded.severity,
    detail = excluded.detail,
    last_seen = greatest(f.last_seen, excluded.last_seen),
    resolved_at = NULL
"""
_LIST = """
SELECT tenant_id, id, key, kind, severity, detail::text AS detail, count, first_seen, last_seen, resolved_at
FROM findings.finding WHERE NOT $1 OR resolved_at IS NULL ORDER BY last_seen DESC, id DESC LIMIT $2
"""
_PLATFORM_LIST = """
SELECT tenant_id, id, key, kind, severity, detail::text AS detail, count, first_seen, last_seen, resolved_at
FROM findings.platform_list($1, $2)
"""
_RESOLVE = "UPDATE findings.finding SET resolved_at = $2 WHERE id = $1 AND resolved_at IS NULL RETURNING id"
_SETTLE = """
UPDATE findings.finding SET resolved_at = $2
WHERE key = ANY($1) AND resolved_at IS NULL AND last_seen <= $3 RETURNING id
"""
_OPEN_COUNTS = "SELECT severity, count FROM findings.open_counts()"

_log = structlog.get_logger("wellkeep.findings")


@dataclass(frozen=True, slots=True)
class Finding:
    """A stored finding; `detail` holds registered names with ids, codes, digests or integers."""

    tenant: UUID
    id: UUID
    key: str
    kind: str
    severity: str
    detail: Mapping[str, str | int]
    count: int
    first_seen: datetime
    last_seen: datetime
    resolved_at: datetime | None


@dataclass(slots=True)
class _Pending:
    kind: Kind
    severity: Severity
    detail: dict[str, str | int]
    count: int
    first_seen: datetime
    last_seen: datetime


class Findings:
    """The room's one door; safe to share by everything in a process."""

    def __init__(self, pool: Pool, *, clock: Clock | None = None) -> None:
        """`pool` is wk_app's or wk_jobs'."""
        self._pool = pool
        self._clock = clock or SystemClock()
        self._pending: dict[tuple[UUID, str], _Pending] = {}
        self._retry: asyncio.Task[None] | None = None
        self._lost = 0
        self._down = False
        self._storing = 0
        self._turn = asyncio.Lock()

    @property
    def backlog(self) -> int:
        """How many findings wait to be stored; more than zero means that the database did not take them."""
        return len(self._pending) + self._storing

    @property
    def lost(self) -> int:
        """How many reports found the backlog full since the process started."""
        return self._lost

    async def report(
        self, tenant: UUID, *, kind: Kind, severity: Severity, key: str, detail: Mapping[str, str | int]
    ) -> None:
        """Note a finding and try to store it, for at most two seconds.

        Raises FindingRefused, a fault of the caller's code, where key or detail leave their grammar; nothing else.
        """
        place = self._take(tenant, kind, severity, key, detail)
        try:
            if not self._down:
                await self._store_in_turn(place)
        finally:
            if self._pending:
                self._retry_soon()

    def note(self, tenant: UUID, *, kind: Kind, severity: Severity, key: str, detail: Mapping[str, str | int]) -> None:
        """Note a finding from code that can't wait; it is stored in the background (outside a loop: by `flush`)."""
        self._take(tenant, kind, severity, key, detail)
        self._retry_soon()

    async def flush(self) -> bool:
        """Try once to store whatever waits; False where some of it still waits."""
        async with self._turn:
            for place in list(self._pending):
                if not await self._store(place) and self._down:
                    break
            return not self._pending

    async def stop(self) -> None:
        """End the retries, after one last try within two seconds."""
        task, self._retry = self._retry, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if not await self.flush():
            _log.error("findings.not_stored_at_stop", waiting=self.backlog)

    async def list(self, tenant: UUID, *, open_only: bool = True, limit: int = _LIST_LIMIT) -> list[Finding]:
        """Return a tenant's findings, newest first, at most `limit` (1 to 1,000)."""
        async with self._pool.tenant_transaction(tenant=tenant) as connection:
            return await listed_within(connection, open_only=open_only, limit=limit)

    async def resolve(self, tenant: UUID, finding: UUID) -> bool:
        """Mark a finding as dealt with; False where it is not there or was resolved before."""
        async with self._pool.tenant_transaction(tenant=tenant) as connection:
            return await connection.fetchval(_RESOLVE, finding, self._clock.now()) is not None

    def settle(self, tenant: UUID, *, keys: Sequence[str]) -> Coroutine[Any, Any, int]:
        """Close what has ended by itself up to this call, by deduplication key, whenever the result is awaited.

        What waits to be stored is stored first. Returns how many were open; raises DatabaseUnavailable.
        """
        return self._settle(tenant, keys, until=self._clock.now())

    async def _settle(self, tenant: UUID, keys: Sequence[str], *, until: datetime) -> int:
        if self._storing or any((tenant, key) in self._pending for key in keys):
            await self.flush()
        async with self._pool.tenant_transaction(tenant=tenant) as connection:
            return len(await connection.fetch(_SETTLE, list(keys), self._clock.now(), until))

    async def open_counts(self) -> dict[str, int]:
        """Return how many findings are open in the whole deployment, by severity: for /readyz, hence no ids."""
        async with self._pool.connection() as connection:
            return {row["severity"]: row["count"] for row in await connection.fetch(_OPEN_COUNTS)}

    def _add(self, place: tuple[UUID, str], new: _Pending) -> None:
        waiting = self._pending.get(place)
        if waiting is not None:
            new.count += waiting.count
            new.first_seen = min(new.first_seen, waiting.first_seen)
        elif len(self._pending) >= _BACKLOG_LIMIT:
            self._lost += 1
            _log.error("findings.backlog_full", kind=new.kind.value, lost=self._lost)
            return
        self._pending[place] = new

    def _take(
        self, tenant: UUID, kind: Kind, severity: Severity, key: str, detail: Mapping[str, str | int]
    ) -> tuple[UUID, str]:
        checked, place = check_detail(detail), (tenant, check_key(key))
        kind, severity = Kind(kind), Severity(severity)
        _log.warning("finding", kind=kind.value)
        now = self._clock.now()
        self._add(place, _Pending(kind, severity, checked, 1, now, now))
        return place

    def _retry_soon(self) -> None:
        if self._retry is not None and not self._retry.done():
            return
        with suppress(RuntimeError):  # no loop runs here: a later report or `flush` stores it, and the backlog shows it
            loop = asyncio.get_running_loop()
            self._retry = loop.create_task(self._store_until_empty(), name="findings-store")

    async def _store_until_empty(self) -> None:
        pause = _FIRST_PAUSE
        while not await self.flush():
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _store_in_turn(self, place: tuple[UUID, str]) -> None:
        async with self._turn:
            if not self._down:  # it may have turned out while we waited
                await self._store(place)

    async def _store(self, place: tuple[UUID, str]) -> bool:
        """Store one, or put it back: what was noted meanwhile under the same key is added to it."""
        pending = self._pending.pop(place, None)
        if pending is None:
            return True
        stored = False
        self._storing += 1
        try:
            async with asyncio.timeout(_STORE_SECONDS), self._pool.tenant_transaction(tenant=place[0]) as connection:
                await connection.execute(_STORE, *_arguments(place, pending))
            stored, self._down = True, False
        except (DatabaseUnavailable, OSError):  # a TimeoutError is an OSError
            self._down = True
            _log.warning("findings.not_stored", kind=pending.kind.value)
        except WellkeepError:  # this one alone: the others are not held up by it
            _log.warning("findings.not_stored", kind=pending.kind.value)
        finally:
            self._storing -= 1
            if not stored:
                newer = self._pending.pop(place, None)
                self._pending[place] = pending
                if newer is not None:
                    self._add(place, newer)
        return stored


async def platform_findings(connection: Connection, *, open_only: bool, limit: int) -> list[Finding]:
    """Return every tenant's findings, newest first, for the operator; `connection` is wk_migrate's."""
    return [_finding(row) for row in await connection.fetch(_PLATFORM_LIST, open_only, limit)]


def _arguments(place: tuple[UUID, str], pending: _Pending) -> tuple[object, ...]:
    tenant, key = place
    detail = json.dumps(pending.detail, sort_keys=True)
    return (
        *(tenant, uuid7(), key, pending.kind.value, pending.severity.value, detail),
        *(pending.count, pending.first_seen, pending.last_seen),
    )


async def listed_within(connection: Connection, *, open_only: bool = True, limit: int = _LIST_LIMIT) -> list[Finding]:
    """Return the findings of the entered tenant, newest first, at most `limit` (1 to 1,000)."""
    return [_finding(row) for row in await connection.fetch(_LIST, open_only, max(1, min(limit, _LIST_LIMIT)))]


def _finding(row: Record) -> Finding:
    return Finding(
        tenant=row["tenant_id"],
        id=row["id"],
        key=row["key"],
        kind=row["kind"],
        severity=row["severity"],
        detail=json.loads(row["detail"]),
        count=row["count"],
        first_seen=row["first_seen"],
        last_seen=row["last_seen"],
        resolved_at=row["resolved_at"],
    )
