"""Enqueueing, and the queue's own bookkeeping: whose job it is, how often it was begun, how it ended.

Rules: the application enqueues through `queue.enqueue`, in its own transaction and under its own signed context, so a
job exists exactly where the change that asked for it does, and belongs to the tenant that asked. A job holds ids alone.
Starts are counted when a job is begun, because a worker that dies in the middle counts nothing. An error is a code.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol
from uuid import UUID

from wellkeep.base.ids import parse_uuid, uuid7
from wellkeep.db.connection import Connection

_ENQUEUE = "SELECT queue.enqueue($1, $2, $3)"
_ENQUEUE_PERIODIC = "SELECT queue.enqueue_periodic($1, $2)"
_BEGIN = """
UPDATE queue.job SET state = 'running', starts = starts + 1, started_at = pg_catalog.now(), error = NULL
WHERE tenant_id = $1 AND id = $2 AND state <> 'done'
RETURNING tenant_id, id, kind, resource_id, starts
"""
_END = """
UPDATE queue.job SET state = $3, error = $4, finished_at = pg_catalog.now() WHERE tenant_id = $1 AND id = $2
"""
_PURGE_JOBS = "DELETE FROM queue.job WHERE finished_at < pg_catalog.now() - $1::pg_catalog.int4 * interval '1 day'"
_PURGE_LOG = "DELETE FROM queue.pgqueuer_log WHERE created < pg_catalog.now() - $1::pg_catalog.int4 * interval '1 day'"
_PURGE_HELD = """
DELETE FROM queue.pgqueuer
WHERE status = 'failed' AND updated < pg_catalog.now() - $1::pg_catalog.int4 * interval '1 day'
"""
_PURGE_STATISTICS = """
DELETE FROM queue.pgqueuer_statistics WHERE created < pg_catalog.now() - $1::pg_catalog.int4 * interval '1 day'
"""


class Lender(Protocol):
    """Whatever lends connections of `wk_jobs`: `db.pool.Pool`."""

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection, each statement its own transaction."""
        ...


class QueuedJob(NamedTuple):
    """A job as it was begun: whose, what, for which resource, for the how-manieth time."""

    tenant: UUID
    id: UUID
    kind: str
    resource: UUID | None
    starts: int


Stopping = Callable[[], bool]
"""Whether the worker is going down: a handler asks between batches and leaves by raising `Interrupted`."""


class Interrupted(Exception):
    """A handler left at a checkpoint because the worker is going down; another worker goes on at once."""


async def enqueue(connection: Connection, *, kind: str, resource: UUID) -> bool:
    """Queue a job of the tenant whose context `connection` has entered, within its transaction.

    Returns False where a job of this kind for `resource` waits or runs already.
    """
    return bool(await connection.fetchval(_ENQUEUE, uuid7(), kind, resource))


class QueueBook:
    """The bookkeeping of jobs, as `wk_jobs`."""

    def __init__(self, lender: Lender) -> None:
        """Work over connections that `lender` lends."""
        self._lender = lender

    async def enqueue_periodic(self, kind: str) -> bool:
        """Queue a job of the deployment itself; False where one of its kind is there already."""
        async with self._lender.connection() as connection:
            return bool(await connection.fetchval(_ENQUEUE_PERIODIC, uuid7(), kind))

    async def begin(self, payload: bytes | None) -> QueuedJob | None:
        """Count a start of the job that `payload` names; None where there is none, or it is done already."""
        tenant_text, _, id_text = (payload or b"").decode("ascii", "replace").partition(":")
        tenant, job = parse_uuid(tenant_text), parse_uuid(id_text)
        if tenant is None or job is None:
            return None
        async with self._lender.connection() as connection:
            row = await connection.fetchrow(_BEGIN, tenant, job)
        return None if row is None else QueuedJob(*row)

    async def end(self, job: QueuedJob, *, error: str | None = None) -> None:
        """Say that `job` is done, or that it failed with the code `error`."""
        async with self._lender.connection() as connection:
            await connection.execute(_END, job.tenant, job.id, "failed" if error else "done", error)

    async def purge(self, *, days: int) -> None:
        """Forget jobs, log and statistics that are older than `days`."""
        async with self._lender.connection() as connection:
            for statement in (_PURGE_JOBS, _PURGE_LOG, _PURGE_HELD, _PURGE_STATISTICS):
                await connection.execute(statement, days)
