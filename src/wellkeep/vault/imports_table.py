"""The rows of `vault.import`: what stands there, and the statements that move an import from state to state.

Rules: each move names the states it may start from, so two workers, or a person and a worker, can't move it twice. The
caller who started an import stands beside it (ids, roles, scopes; no secret): its batches are decided as that caller's.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from wellkeep.base.errors import NotFound
from wellkeep.base.ids import uuid7
from wellkeep.db.connection import Connection, Record
from wellkeep.gate.acts import Caller
from wellkeep.vault.idempotency import Request

JOB_KIND = "import"
FORMATS = ("fhir", "csv", "ndjson")
OPEN_STATES = ("queued", "running")

_COLUMNS = """
SELECT job.id, job.collection_id, kept.name AS collection, job.format, job.state, job.error, job.caller, job.source_id,
       job.errors_id, job.parts, job.lines, job.created, job.updated, job.unchanged, job.failed, job.error_parts,
       job.error_lines, job.digest, job.request_mac, job.created_at, job.updated_at
FROM vault.import AS job
JOIN vault.collection AS kept ON kept.tenant_id = job.tenant_id AND kept.id = job.collection_id
"""
_BY_ID = _COLUMNS + "WHERE job.id = $1"
_HELD = _BY_ID + " FOR SHARE OF job"
_TAKEN = _BY_ID + " FOR UPDATE OF job"
_BY_KEY = _COLUMNS + "WHERE job.credential IS NOT DISTINCT FROM $1 AND job.key_hash = $2"
_INSERT = """
INSERT INTO vault.import (tenant_id, id, collection_id, format, caller, credential, key_hash, request_mac, source_id,
  errors_id, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7, $8, $9, $10, $11, $11)
"""
_START = """
UPDATE vault.import SET state = 'queued', error = NULL, parts = $2, caller = $3::jsonb, updated_at = $4
WHERE id = $1 AND state IN ('receiving', 'stopped', 'failed') RETURNING id
"""
_STOP = """
UPDATE vault.import SET state = 'stopped', runner = NULL, updated_at = $2
WHERE id = $1 AND state IN ('queued', 'running') RETURNING id
"""
_CLAIM = """
UPDATE vault.import SET state = 'running', runner = $2, updated_at = $3
WHERE id = $1 AND state IN ('queued', 'running') RETURNING id
"""
_END = """
UPDATE vault.import SET state = $3, error = $4, updated_at = $5 WHERE id = $1 AND runner = $2 RETURNING id
"""
_GIVE_UP = """
UPDATE vault.import SET state = 'failed', error = $2, runner = NULL, updated_at = $3
WHERE id = $1 AND state IN ('queued', 'running') RETURNING id
"""


class ImportRow(msgspec.Struct, frozen=True, kw_only=True):
    """One import as it is stored; counts are lines of its source."""

    id: UUID
    collection_id: int
    collection: str
    format: str
    state: str
    error: str | None
    caller: Caller
    source_id: UUID
    errors_id: UUID
    parts: int | None
    lines: int
    created: int
    updated: int
    unchanged: int
    failed: int
    error_parts: int
    error_lines: int
    digest: bytes
    request_mac: bytes | None
    created_at: datetime
    updated_at: datetime


def caller_json(caller: Caller) -> str:
    """Return what must be kept of `caller` for acting as it later; its address stays with its own request."""
    kept = msgspec.structs.replace(caller, request=uuid7())
    return msgspec.json.encode(kept).decode()


def _row(record: Record | None) -> ImportRow:
    if record is None:
        raise NotFound
    values: dict[str, Any] = dict(record)
    values["caller"] = msgspec.json.decode(values["caller"], type=Caller)
    return ImportRow(**values)


async def insert(
    connection: Connection,
    *,
    tenant: UUID,
    id: UUID,  # noqa: A002 - the row's own word
    collection_id: int,
    format: str,  # noqa: A002 - the row's own word
    caller: Caller,
    asked: Request | None,
    source_id: UUID,
    errors_id: UUID,
    now: datetime,
) -> None:
    """Store a new import, state receiving."""
    await connection.execute(
        _INSERT,
        tenant,
        id,
        collection_id,
        format,
        caller_json(caller),
        caller.principal.credential,
        None if asked is None else asked.key_hash,
        None if asked is None else asked.mac,
        source_id,
        errors_id,
        now,
    )


async def by_id(connection: Connection, import_id: UUID) -> ImportRow:
    """Return the import; raises `NotFound`."""
    return _row(await connection.fetchrow(_BY_ID, import_id))


async def held(connection: Connection, import_id: UUID) -> ImportRow:
    """Return the import, and keep it from being moved until the transaction ends; raises `NotFound`."""
    return _row(await connection.fetchrow(_HELD, import_id))


async def taken(connection: Connection, import_id: UUID) -> ImportRow:
    """Return the import once nobody holds it, and keep it until the transaction ends; raises `NotFound`."""
    return _row(await connection.fetchrow(_TAKEN, import_id))


async def by_key(connection: Connection, *, credential: UUID | None, key_hash: bytes) -> ImportRow | None:
    """Return the import that this credential made with this Idempotency-Key, or None."""
    record = await connection.fetchrow(_BY_KEY, credential, key_hash)
    return None if record is None else _row(record)


async def to_queued(connection: Connection, import_id: UUID, *, parts: int, caller: Caller, now: datetime) -> bool:
    """Move it from receiving, stopped or failed to queued, as `caller`'s; False where it is in another state."""
    return await connection.fetchval(_START, import_id, parts, caller_json(caller), now) is not None


async def to_stopped(connection: Connection, import_id: UUID, *, now: datetime) -> bool:
    """Move it from queued or running to stopped; whoever runs it finds out at its next batch."""
    return await connection.fetchval(_STOP, import_id, now) is not None


async def claim(connection: Connection, import_id: UUID, *, runner: UUID, now: datetime) -> bool:
    """Take it for the run `runner`, from whichever run held it; False where it is neither queued nor running."""
    return await connection.fetchval(_CLAIM, import_id, runner, now) is not None


async def to_end(
    connection: Connection, import_id: UUID, *, runner: UUID, state: str, error: str | None, now: datetime
) -> bool:
    """Move it to done or failed; False where `runner` no longer holds it."""
    return await connection.fetchval(_END, import_id, runner, state, error, now) is not None


async def give_up(connection: Connection, import_id: UUID, *, error: str, now: datetime) -> bool:
    """Move it from queued or running to failed, whoever held it: its job is not run again. False in another state."""
    return await connection.fetchval(_GIVE_UP, import_id, error, now) is not None
