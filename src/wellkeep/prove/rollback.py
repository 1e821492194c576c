"""An older state of a record put back by the database's owner, in several degrees of care.

Used on a scratch deployment alone. An older envelope is authentic and opens; only the ledger knows that it is not the
newest.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from wellkeep.db.connection import Connection

_CIPHERTEXTS = """
UPDATE vault.record r SET field_ids = o.field_ids, sealed = o.sealed
FROM vault.revision o WHERE r.id = $1 AND o.record_id = r.id AND o.revision = 1
"""
_WITH_DIGEST = """
UPDATE vault.record r SET field_ids = o.field_ids, sealed = o.sealed, tags_digest = o.tags_digest
FROM vault.revision o WHERE r.id = $1 AND o.record_id = r.id AND o.revision = 1
"""
_WHOLE = """
UPDATE vault.record r SET field_ids = o.field_ids, sealed = o.sealed, revision = o.revision, event_id = o.event_id,
  tags_digest = o.tags_digest, updated_at = o.updated_at
FROM vault.revision o WHERE r.id = $1 AND o.record_id = r.id AND o.revision = 1
"""
_FORGET_HISTORY = "DELETE FROM vault.revision WHERE record_id = $1"

ROLLBACKS: dict[str, tuple[str, ...]] = {
    "its ciphertexts": (_CIPHERTEXTS,),
    "its ciphertexts and their digest": (_WITH_DIGEST,),
    "all of it": (_WHOLE,),
    "all of it, and its history removed": (_WHOLE, _FORGET_HISTORY),
}
"""What is put back, as statements that take the record's id."""

_KEEP = (
    "CREATE TABLE public.wk_probe_record AS SELECT * FROM vault.record WHERE id = $1",
    "CREATE TABLE public.wk_probe_revision AS SELECT * FROM vault.revision WHERE record_id = $1",
)
_PUT_BACK = """
DELETE FROM vault.record WHERE id IN (SELECT id FROM public.wk_probe_record);
DELETE FROM vault.revision WHERE record_id IN (SELECT id FROM public.wk_probe_record);
INSERT INTO vault.record SELECT * FROM public.wk_probe_record;
INSERT INTO vault.revision SELECT * FROM public.wk_probe_revision;
DROP TABLE public.wk_probe_record, public.wk_probe_revision;
"""


@asynccontextmanager
async def put_back(connection: Connection, record: UUID) -> AsyncIterator[None]:
    """Keep the rows of `record` and restore them at the end."""
    for statement in _KEEP:
        # A parameter is not taken in CREATE TABLE AS; a UUID's text holds digits and hyphens alone.
        await connection.execute(statement.replace("$1", f"'{record}'"))
    try:
        yield
    finally:
        async with connection.transaction():
            await connection.execute(_PUT_BACK)
