"""Stored states as a resealing meets them: read a page at a time, written back compared and swapped.

Rules: a page is bounded in rows and in bytes of ciphertext. What is sealed anew must be what the ledger says is stored:
its tags are those of its tags' digest, and where it was sealed anew before, it is what that entry attests. Else an old
ciphertext that somebody put back would be given a new entry, and the replay would find it no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

import msgspec

from wellkeep.db.connection import Connection, Record
from wellkeep.vault.calls import SealedState
from wellkeep.vault.definition import Collection
from wellkeep.vault.fingerprint import state_digest, tags_digest
from wellkeep.vault.stored import KeyRow

PAGE_BYTES = 4 << 20
_PLANNER = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL jit = off"
_RECORDS = """
SELECT s.* FROM (
  SELECT r.id, r.revision::integer AS revision, r.subject_id, r.sealed_for, r.event_id, r.resealed_by, r.field_ids,
         r.sealed::bytea[] AS sealed, r.plain::text AS plain, r.tag_fields, r.tags,
         r.tags_digest::bytea AS tags_digest, r.deleted_at IS NOT NULL AS deleted,
         sum(pg_column_size(r.sealed)) OVER w AS size, row_number() OVER w AS place
  FROM (SELECT * FROM vault.record x WHERE x.collection_id = $1 AND x.id > $2 ORDER BY x.id LIMIT $3) r
  WINDOW w AS (ORDER BY r.id)
) s WHERE s.size <= $4 OR s.place = 1 ORDER BY s.id
"""
_HISTORY = """
SELECT s.* FROM (
  SELECT v.record_id AS id, v.revision::integer AS revision, r.subject_id, v.sealed_for, v.event_id, v.resealed_by,
         v.field_ids, v.sealed::bytea[] AS sealed, v.plain::text AS plain, NULL::integer[] AS tag_fields,
         NULL::bytea[] AS tags, v.tags_digest::bytea AS tags_digest, true AS deleted,
         sum(pg_column_size(v.sealed)) OVER w AS size, row_number() OVER w AS place
  FROM (SELECT * FROM vault.revision x WHERE x.collection_id = $1 AND (x.record_id, x.revision) > ($2, $5)
        ORDER BY x.record_id, x.revision LIMIT $3) v
  CROSS JOIN LATERAL (
    SELECT y.subject_id FROM vault.record y
    WHERE y.tenant_id = v.tenant_id AND y.collection_id = v.collection_id AND y.id = v.record_id OFFSET 0
  ) r
  WINDOW w AS (ORDER BY v.record_id, v.revision)
) s WHERE s.size <= $4 OR s.place = 1 ORDER BY s.id, s.revision
"""
_KEYS = """
SELECT subject_id, generation, kid, wrapped, wrap_epoch, state FROM keys.subject_key
WHERE subject_id = ANY($1::uuid[]) AND state IN ('active', 'decrypt_only')
"""
_ATTESTED = """
SELECT e.event_id, e.entry FROM ledger.entry e WHERE e.event_id = ANY($1::uuid[]) AND e.action = 'record.resealed'
"""
_CLEAR = """
SELECT EXISTS (SELECT FROM vault.record r WHERE r.collection_id = $1 AND r.plain ?| $2::text[])
    OR EXISTS (SELECT FROM vault.revision v WHERE v.collection_id = $1 AND v.plain ?| $2::text[])
"""
_RESEAL = "SELECT vault.reseal($1::vault.reseal_in[])"


class Met(NamedTuple):
    """One state as it was met: of a record, or of its history."""

    collection: int
    id: UUID
    revision: int
    subject: UUID | None
    sealed_for: UUID | None
    event: UUID
    resealed: UUID | None
    field_ids: list[int]
    sealed: list[bytes]
    plain: dict[int, str]
    tag_fields: list[int]
    tags: list[bytes]
    tags_digest: bytes
    history: bool
    deleted: bool

    def digest(self) -> bytes:
        """Return the digest of the state."""
        return state_digest(
            self.id.bytes,
            collection=self.collection,
            revision=self.revision,
            field_ids=self.field_ids,
            sealed=self.sealed,
            sealed_for=self.sealed_for,
            plain=self.plain,
            tags=self.tags_digest,
        )

    def tags_right(self) -> bool:
        """Say whether the tags are those that the digest of the state covers."""
        return self.history or tags_digest(self.tag_fields, self.tags) == self.tags_digest


class PersonKeys(NamedTuple):
    """A patient's keys that open; `row` is the newest that seals, None where there is none."""

    rows: list[KeyRow]
    row: KeyRow | None


class Brought(NamedTuple):
    """What a state becomes: `kid` names the patient's key that sealed some of it, `prior` its digest until now."""

    met: Met
    state: SealedState
    retagged: bool
    kid: bytes | None
    lease: bool
    prior: bytes

    def row(self, event: UUID) -> tuple[object, ...]:
        """Return the composite `vault.reseal_in`."""
        met, state = self.met, self.state
        return (
            *(met.history, met.collection, met.id, met.revision, met.event, met.resealed, self.kid, self.lease),
            *(state.field_ids, state.sealed, state.plain, self.retagged, state.tag_fields, state.tags),
            *(state.unique_tags, state.tags_digest, self.prior, event),
        )


class _Event(msgspec.Struct):
    digest: str = ""


class _Entry(msgspec.Struct):
    event: _Event


_decode_plain = msgspec.json.Decoder(dict[int, str]).decode
_decode_entry = msgspec.json.Decoder(_Entry).decode


async def records(connection: Connection, collection: int, after: UUID, *, most: int) -> tuple[list[Met], bool]:
    """Return at most so many records behind `after`, and whether there may be more."""
    await connection.execute(_PLANNER)
    rows = await connection.fetch(_RECORDS, collection, after, most, PAGE_BYTES)
    return [_met(collection, row, history=False) for row in rows], bool(rows)


async def history(
    connection: Connection, collection: int, after: UUID, revision: int, *, most: int
) -> tuple[list[Met], bool]:
    """Return at most so many states of history behind that revision of `after`, and whether there may be more."""
    await connection.execute(_PLANNER)
    rows = await connection.fetch(_HISTORY, collection, after, most, PAGE_BYTES, revision)
    return [_met(collection, row, history=True) for row in rows], bool(rows)


async def person_keys(connection: Connection, people: Iterable[UUID]) -> dict[UUID, PersonKeys]:
    """Return the keys of these patients; one that was erased has none."""
    found: dict[UUID, list[Record]] = {}
    for row in await connection.fetch(_KEYS, list(people)):
        found.setdefault(row["subject_id"], []).append(row)
    keys = {}
    for person, rows in found.items():
        newest = max((row for row in rows if row["state"] == "active"), key=_generation, default=None)
        keys[person] = PersonKeys([_key_row(row) for row in rows], None if newest is None else _key_row(newest))
    return keys


async def attested(connection: Connection, states: Sequence[Met]) -> Mapping[UUID, str]:
    """Return by event the digests that the entries attest which these states name; none for one not chained yet."""
    events = [state.resealed for state in states if state.resealed is not None]
    if not events:
        return {}
    return {
        row["event_id"]: _decode_entry(row["entry"]).event.digest for row in await connection.fetch(_ATTESTED, events)
    }


async def stand_clear(connection: Connection, collection: Collection) -> bool:
    """Say whether a value of a sealed field stands in the clear anywhere in the collection."""
    sealed = [str(field.id) for field in collection.definition.fields if field.sealed]
    return bool(await connection.fetchval(_CLEAR, collection.id, sealed))


async def write(connection: Connection, rows: Sequence[tuple[object, ...]]) -> list[str]:
    """Store what the states became, each if it still is what was met, and return the status of each."""
    statuses = await connection.fetchval(_RESEAL, rows)
    return list(statuses)


def _generation(row: Record) -> int:
    return int(row["generation"])


def _key_row(row: Record) -> KeyRow:
    return KeyRow(row["generation"], row["kid"], row["wrapped"], row["wrap_epoch"], row["state"])


def _met(collection: int, row: Record, *, history: bool) -> Met:
    return Met(
        collection=collection,
        id=row["id"],
        revision=row["revision"],
        subject=row["subject_id"],
        sealed_for=row["sealed_for"],
        event=row["event_id"],
        resealed=row["resealed_by"],
        field_ids=row["field_ids"],
        sealed=row["sealed"],
        plain=_decode_plain(row["plain"] or "{}"),
        tag_fields=row["tag_fields"] or [],
        tags=row["tags"] or [],
        tags_digest=row["tags_digest"],
        history=history,
        deleted=row["deleted"],
    )
