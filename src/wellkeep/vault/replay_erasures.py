"""The walks of a replay over those who were erased: whether they are gone, and whether what was kept of them holds.

Rules: who is said to be erased was erased by an entry that names them; who an entry says was erased is erased still,
without a key and without a record; the digests that were kept of erased states are those that the erasure's entry
covers, and none stands there without one. The threats are an erasure undone by putting rows back, and a record made to
vanish as if its patient had been erased.
"""

from __future__ import annotations

from uuid import UUID

import msgspec

from wellkeep.db.connection import Connection, Record
from wellkeep.ledger.event import Action
from wellkeep.ledger.grammar import EventRefused, unpack_id
from wellkeep.vault.calls import NIL
from wellkeep.vault.erasure_states import erasure_digest
from wellkeep.vault.replay_result import Difference, Replayed

_PAGE = 200
_ERASED = Action.SUBJECT_ERASED.value
_TENANT = "SELECT EXISTS (SELECT FROM vault.tombstone WHERE subject_id = $1)"
_SUBJECTS = """
SELECT s.id,
       s.erased_at IS NOT NULL AND NOT EXISTS (
         SELECT FROM vault.tombstone t WHERE t.tenant_id = s.tenant_id AND t.subject_id = s.id AND (
           EXISTS (SELECT FROM ledger.entry e WHERE e.tenant_id = t.tenant_id AND e.event_id = t.event_id
                     AND e.outcome = 'done' AND e.action = $3 AND (e.subject = s.id OR EXISTS (
                       SELECT FROM ledger.entry_subject n WHERE n.tenant_id = e.tenant_id AND n.subject = s.id
                         AND n.epoch = e.epoch AND n.seq = e.seq OFFSET 0)) OFFSET 0)
           OR EXISTS (SELECT FROM ledger.outbox o WHERE o.tenant_id = t.tenant_id AND o.event_id = t.event_id OFFSET 0)
         ) OFFSET 0) AS erased,
       s.erased_at IS NOT NULL AND (s.keyed OR EXISTS (
         SELECT FROM vault.record r WHERE r.tenant_id = s.tenant_id AND r.subject_id = s.id OFFSET 0)) AS revived,
       s.erased_at IS NULL AND NOT s.keyed AS keyless
FROM (
  SELECT p.tenant_id, p.id, p.erased_at,
         EXISTS (SELECT FROM keys.subject_key k WHERE k.tenant_id = p.tenant_id AND k.subject_id = p.id
                   AND k.state IN ('active', 'decrypt_only') OFFSET 0) AS keyed
  FROM vault.subject p WHERE p.id > $1 ORDER BY p.id LIMIT $2
) s
ORDER BY s.id
"""
_ENTRIES = """
SELECT e.epoch, e.seq, e.event_id, e.entry FROM ledger.entry e
WHERE (e.epoch, e.seq) > ($1, $2) AND e.outcome = 'done' AND e.action = $3
ORDER BY e.epoch, e.seq LIMIT $4
"""
_KEPT_OF = """
SELECT x.collection_id, x.record_id, x.revision, x.first_digest::bytea AS first_digest, x.digest::bytea AS digest
FROM vault.erased_state x WHERE x.erased_by = $1 ORDER BY x.collection_id, x.record_id, x.revision
"""
_LIVING = """
SELECT s.id FROM unnest($1::uuid[]) AS s(id)
WHERE NOT EXISTS (SELECT FROM vault.subject p WHERE p.id = s.id AND p.erased_at IS NOT NULL OFFSET 0)
"""
_KEPT = """
SELECT s.collection_id, s.record_id, s.revision,
       NOT EXISTS (SELECT FROM ledger.entry e WHERE e.tenant_id = s.tenant_id AND e.event_id = s.erased_by
                     AND e.outcome = 'done' AND e.action = $4 OFFSET 0)
         AND NOT EXISTS (SELECT FROM ledger.outbox o WHERE o.tenant_id = s.tenant_id AND o.event_id = s.erased_by
                           OFFSET 0) AS unknown,
       EXISTS (SELECT FROM vault.record r WHERE r.tenant_id = s.tenant_id AND r.collection_id = s.collection_id
                 AND r.id = s.record_id OFFSET 0) AS revived
FROM (
  SELECT x.tenant_id, x.collection_id, x.record_id, x.revision, x.erased_by FROM vault.erased_state x
  WHERE (x.collection_id, x.record_id, x.revision) > ($1, $2, $3)
  ORDER BY x.collection_id, x.record_id, x.revision LIMIT $5
) s
ORDER BY s.collection_id, s.record_id, s.revision
"""


class _Part(msgspec.Struct):
    i: int


class _Event(msgspec.Struct):
    digest: str | None = None
    part: _Part | None = None
    subject: UUID | None = None
    subjects: tuple[str, ...] = ()


class _Entry(msgspec.Struct):
    event: _Event


_decode = msgspec.json.Decoder(_Entry).decode


async def tenant_erased(connection: Connection) -> bool:
    """Return whether the whole tenant was erased."""
    return bool(await connection.fetchval(_TENANT, NIL))


async def subjects(connection: Connection, after: tuple[UUID], result: Replayed) -> tuple[UUID] | None:
    """Look for patients who are erased by no entry, who are back, and who are alive without a key."""
    rows = await connection.fetch(_SUBJECTS, *after, _PAGE, _ERASED)
    for row in rows:
        for what in ("erased", "revived", "keyless"):
            if row[what]:
                result.add(Difference(what, subject=row["id"]))
    return (rows[-1]["id"],) if len(rows) == _PAGE else None


async def erasures(connection: Connection, after: tuple[int, int], result: Replayed) -> tuple[int, int] | None:
    """Hold each erasure that was entered against who it names and against the digests that were kept."""
    rows = await connection.fetch(_ENTRIES, *after, _ERASED, _PAGE)
    for row in rows:
        await _erasure(connection, row, result)
    return (rows[-1]["epoch"], rows[-1]["seq"]) if len(rows) == _PAGE else None


async def _erasure(connection: Connection, row: Record, result: Replayed) -> None:
    try:
        event = _decode(row["entry"]).event
        named = [unpack_id("subjects", text) for text in event.subjects]
    except (msgspec.MsgspecError, EventRefused, RecursionError):
        result.add(Difference("unreadable", event=row["event_id"]))
        return
    if event.subject is not None:
        named.append(event.subject)
    for living in await connection.fetch(_LIVING, named):
        result.add(Difference("revived", event=row["event_id"], subject=living["id"]))
    if event.part is not None and event.part.i > 1:
        return  # the first part's event stands for the whole
    kept_of = await connection.fetch(_KEPT_OF, row["event_id"])
    states = [
        (one["collection_id"], one["record_id"].bytes, one["revision"], one["first_digest"], one["digest"])
        for one in kept_of
    ]
    if erasure_digest(states).hex() != event.digest:
        result.add(Difference("altered", event=row["event_id"]))


async def kept(connection: Connection, after: tuple[int, UUID, int], result: Replayed) -> tuple[int, UUID, int] | None:
    """Look for digests that were kept by no erasure, or whose record is back."""
    rows = await connection.fetch(_KEPT, *after, _ERASED, _PAGE)
    for row in rows:
        for what in ("unknown", "revived"):
            if row[what]:
                place = {"collection": row["collection_id"], "record": row["record_id"], "revision": row["revision"]}
                result.add(Difference(what, **place))
    return (rows[-1]["collection_id"], rows[-1]["record_id"], rows[-1]["revision"]) if len(rows) == _PAGE else None
