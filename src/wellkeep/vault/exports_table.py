"""The rows of `vault.export` and `vault.export_part`, and the statements that move an export from state to state."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from wellkeep.base.errors import NotFound
from wellkeep.db.connection import Connection
from wellkeep.gate.acts import Caller
from wellkeep.vault.imports_table import caller_json

JOB_KIND = "export"

_BY_ID = """
SELECT job.id, job.collection_id, kept.name AS collection, job.format, job.state, job.error, job.caller,
       job.field_groups, job.blob_id, job.after_id, job.parts, job.records, job.digest
FROM vault.export AS job
JOIN vault.collection AS kept ON kept.tenant_id = job.tenant_id AND kept.id = job.collection_id
WHERE job.id = $1
"""
_INSERT = """
INSERT INTO vault.export (tenant_id, id, collection_id, format, caller, blob_id, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7, $7)
"""
_CLAIM = """
UPDATE vault.export SET state = 'running', runner = $2, updated_at = $3
WHERE id = $1 AND state IN ('queued', 'running') RETURNING id
"""
_GROUPS = "UPDATE vault.export SET field_groups = $3 WHERE id = $1 AND runner = $2"
_ADVANCE = """
UPDATE vault.export SET after_id = $4, parts = parts + 1, records = records + $5, digest = $6, updated_at = $7
WHERE id = $1 AND runner = $2 AND parts = $3 AND state = 'running' RETURNING id
"""
_PART = "INSERT INTO vault.export_part (tenant_id, export_id, n, records, subjects) VALUES ($1, $2, $3, $4, $5)"
_HOLD = "SELECT erased_at FROM vault.subject WHERE id = ANY($1::uuid[]) ORDER BY id FOR KEY SHARE"
_NAMED = "SELECT records, subjects FROM vault.export_part WHERE export_id = $1 AND n = $2"
_END = "UPDATE vault.export SET state = $3, error = $4, updated_at = $5 WHERE id = $1 AND runner = $2 RETURNING id"
_GIVE_UP = """
UPDATE vault.export SET state = 'failed', error = $2, runner = NULL, updated_at = $3
WHERE id = $1 AND state IN ('queued', 'running') RETURNING id
"""


NAMES_DIGEST_SIZE = 32


def names_digest(records: Sequence[UUID], subjects: Sequence[UUID]) -> bytes:
    """Return SHA-256 over the ids of `records`, their number u32 first, then those of `subjects`.

    Each part begins with it, sealed: whoever changes the names beside a part changes what its download would enter.
    """
    ids = b"".join(one.bytes for one in (*records, *subjects))
    return hashlib.sha256(len(records).to_bytes(4, "big") + ids).digest()


class ExportRow(msgspec.Struct, frozen=True, kw_only=True):
    """One export as it is stored."""

    id: UUID
    collection_id: int
    collection: str
    format: str
    state: str
    error: str | None
    caller: Caller
    field_groups: list[str]
    blob_id: UUID
    after_id: UUID
    parts: int
    records: int
    digest: bytes


async def insert(
    connection: Connection,
    *,
    tenant: UUID,
    id: UUID,  # noqa: A002 - the row's own word
    collection_id: int,
    format: str,  # noqa: A002 - the row's own word
    caller: Caller,
    blob: UUID,
    now: datetime,
) -> None:
    """Store a new export, state queued."""
    await connection.execute(_INSERT, tenant, id, collection_id, format, caller_json(caller), blob, now)


async def by_id(connection: Connection, export_id: UUID) -> ExportRow:
    """Return the export; raises `NotFound`."""
    record = await connection.fetchrow(_BY_ID, export_id)
    if record is None:
        raise NotFound
    values: dict[str, Any] = dict(record)
    values["caller"] = msgspec.json.decode(values["caller"], type=Caller)
    return ExportRow(**values)


async def claim(connection: Connection, export_id: UUID, *, runner: UUID, now: datetime) -> bool:
    """Take it for the run `runner`, from whichever run held it; False where it is neither queued nor running."""
    return await connection.fetchval(_CLAIM, export_id, runner, now) is not None


async def set_groups(connection: Connection, export_id: UUID, *, runner: UUID, groups: Sequence[str]) -> None:
    """Say to which groups the fields of the export belong."""
    await connection.execute(_GROUPS, export_id, runner, list(groups))


async def hold_subjects(connection: Connection, subjects: Sequence[UUID]) -> bool:
    """Keep these patients from being erased until the transaction ends; False where one was erased already.

    They are held before the export's own row, in the order in which an erasure takes both.
    """
    rows = await connection.fetch(_HOLD, list(subjects))
    return all(row["erased_at"] is None for row in rows)


async def advance(
    connection: Connection,
    export: ExportRow,
    *,
    tenant: UUID,
    runner: UUID,
    records: Sequence[UUID],
    subjects: Sequence[UUID],
    digest: bytes,
    now: datetime,
) -> bool:
    """Move the checkpoint behind one more part and name what it holds; False where `runner` no longer holds it."""
    moved = await connection.fetchval(_ADVANCE, export.id, runner, export.parts, records[-1], len(records), digest, now)
    if moved is None:
        return False
    await connection.execute(_PART, tenant, export.id, export.parts, list(records), list(subjects))
    return True


async def named(connection: Connection, export_id: UUID, *, n: int) -> tuple[tuple[UUID, ...], tuple[UUID, ...]]:
    """Return the records and the subjects of part `n`; raises `NotFound`."""
    row = await connection.fetchrow(_NAMED, export_id, n)
    if row is None:
        raise NotFound
    return tuple(row["records"]), tuple(row["subjects"])


async def to_end(
    connection: Connection, export_id: UUID, *, runner: UUID, state: str, error: str | None, now: datetime
) -> bool:
    """Move it to done or failed; False where `runner` no longer holds it."""
    return await connection.fetchval(_END, export_id, runner, state, error, now) is not None


async def give_up(connection: Connection, export_id: UUID, *, error: str, now: datetime) -> bool:
    """Move it from queued or running to failed, whoever held it: its job is not run again. False in another state."""
    return await connection.fetchval(_GIVE_UP, export_id, error, now) is not None
