"""What stays of erased states: the digests that entries attest, computed while the ciphertexts are still there.

Rules: the rows are locked first, so a state that is sealed anew or changed meanwhile is seen as it is in the end; a
state that can't be digested, because somebody altered it, is kept as 32 zero bytes, which no entry attests: an erasure
does not wash a forgery clean. The digest of an erasure covers each row, in their order:
(collection u32 | record 16 | revision u32 | first digest 32 | digest 32)*.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple
from uuid import UUID

from wellkeep.db.connection import Connection
from wellkeep.vault.replay_entries import state_of

_LOCK_RECORDS = """
SELECT FROM vault.record r WHERE r.subject_id = ANY($1::uuid[]) ORDER BY r.collection_id, r.id FOR UPDATE
"""
_STATES = """
SELECT r.event_id, r.collection_id, r.id, r.revision, r.sealed_for, r.field_ids, r.sealed::bytea[] AS sealed,
       r.plain::text AS plain, r.tags_digest::bytea AS tags_digest, r.tag_fields, r.tags,
       r.deleted_at IS NOT NULL AS deleted, r.resealed_by, r.first_digest::bytea AS first_digest
FROM vault.record r WHERE r.subject_id = ANY($1::uuid[])
"""
_HISTORY = """
SELECT v.event_id, v.collection_id, v.record_id AS id, v.revision, v.sealed_for, v.field_ids,
       v.sealed::bytea[] AS sealed, v.plain::text AS plain, v.tags_digest::bytea AS tags_digest,
       NULL::integer[] AS tag_fields, NULL::bytea[] AS tags, NULL::boolean AS deleted, v.resealed_by,
       v.first_digest::bytea AS first_digest
FROM vault.record r
CROSS JOIN LATERAL (
  SELECT x.* FROM vault.revision x
  WHERE x.tenant_id = r.tenant_id AND x.collection_id = r.collection_id AND x.record_id = r.id FOR UPDATE
) v
WHERE r.subject_id = ANY($1::uuid[])
"""
_INSERT = """
INSERT INTO vault.erased_state (tenant_id, collection_id, record_id, revision, event_id, deleted, first_digest,
  resealed_by, digest, erased_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
PATIENCE_SECONDS: Final = 100.0
"""For a statement over a patient's states: more than the pool gives, less than a request may take over HTTP."""

_FETCHED = 20
_ALTERED = bytes(32)
_place = Struct(">I16sI").pack


class ErasedState(NamedTuple):
    """One state as it is remembered; `deleted` is None for one of the history."""

    collection: int
    record: UUID
    revision: int
    event: UUID
    deleted: bool | None
    first: bytes
    resealed_by: UUID | None
    digest: bytes


async def states_of(connection: Connection, people: Sequence[UUID]) -> list[ErasedState]:
    """Return every state of these people's records, locked, in their order; ciphertexts are held a few at a time."""
    await connection.execute(_LOCK_RECORDS, list(people), timeout=PATIENCE_SECONDS)
    found = []
    for query in (_HISTORY, _STATES):
        async for row in connection.cursor(query, list(people), prefetch=_FETCHED, timeout=PATIENCE_SECONDS):
            state = state_of(row)
            found.append(
                ErasedState(
                    collection=state.collection,
                    record=UUID(int=state.record.int),
                    revision=state.revision,
                    event=row["event_id"],
                    deleted=state.deleted,
                    first=state.first or _ALTERED,
                    resealed_by=row["resealed_by"],
                    digest=state.digest or _ALTERED,
                )
            )
    return sorted(found, key=lambda one: (one.collection, one.record.bytes, one.revision))


async def keep(connection: Connection, states: Sequence[ErasedState], *, tenant: UUID, erased_by: UUID) -> None:
    """Store `states`, in the transaction of the erasure whose event is `erased_by`."""
    rows = [
        (
            *(tenant, one.collection, one.record, one.revision, one.event, one.deleted),
            *(one.first, one.resealed_by, one.digest, erased_by),
        )
        for one in states
    ]
    await connection.executemany(_INSERT, rows, timeout=PATIENCE_SECONDS)


def erasure_digest(states: Sequence[tuple[int, bytes, int, bytes, bytes]]) -> bytes:
    """Return the digest of an erasure: SHA-256 over (collection, record, revision, first digest, digest) of each."""
    whole = hashlib.sha256()
    for collection, record, revision, first, digest in states:
        whole.update(_place(collection, record, revision) + first + digest)
    return whole.digest()


def digest_of(states: Sequence[ErasedState]) -> bytes:
    """Return the digest of the erasure of `states`, which stand in their order."""
    return erasure_digest([(one.collection, one.record.bytes, one.revision, one.first, one.digest) for one in states])
