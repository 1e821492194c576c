"""The walks of a replay: each looks at one table of the store or the ledger, a page at a time.

Rules: a walk takes the place where the page before it ended and returns where this one did, or None after the last; it
adds what differs and goes on. No row may end a walk, whatever stands in it: what can't be read is a difference too.
Else one row, put there on purpose, would hide all that comes after it.

A tag of a field that is unique stands in the one slot that all records share, any other in its record's own: else a
value could be taken twice, or a search lose a row where its page ends. Which fields are unique the definitions say;
they are asked with a path, which does not fail whatever a definition holds.

Each question about a row has a fence (OFFSET 0), so that it is answered by the index, row for row. Without one the
planner joins, and where a table was not analysed yet it takes it for small: a page then read all tags of a collection
for each of its records, seconds for a page of 30,000 records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

from wellkeep.db.connection import Connection, Record
from wellkeep.vault.calls import NIL
from wellkeep.vault.replay_entries import (
    CHANGES,
    MERGE,
    RESEALED,
    State,
    Told,
    compare,
    compare_resealing,
    merger,
    state_of,
    told,
)
from wellkeep.vault.replay_result import Difference, Replayed

_PAGE = 200
_STATES_COMPARED = 400
_STATES_HELD = 20
"""So many states are in memory at once, with their ciphertexts, and digested in one go of the event loop.

A page of entries can name 100,000 of them: 893 MB, and two seconds in which nobody else had a turn.
"""
_ENTRIES = """
SELECT e.epoch, e.seq, e.event_id, e.action, e.entry FROM ledger.entry e
WHERE (e.epoch, e.seq) > ($1, $2) AND e.outcome = 'done' AND e.action = ANY($3::text[])
ORDER BY e.epoch, e.seq LIMIT $4
"""
_STATES_OF = """
SELECT r.event_id, r.collection_id, r.id, r.revision, r.sealed_for, r.field_ids, r.sealed::bytea[] AS sealed,
       r.plain::text AS plain, r.tags_digest::bytea AS tags_digest, r.tag_fields, r.tags,
       r.deleted_at IS NOT NULL AS deleted, r.resealed_by, r.first_digest::bytea AS first_digest,
       NULL::bytea AS kept
FROM vault.record r WHERE r.event_id = ANY($1::uuid[])
UNION ALL
SELECT v.event_id, v.collection_id, v.record_id, v.revision, v.sealed_for, v.field_ids, v.sealed::bytea[],
       v.plain::text, v.tags_digest::bytea, NULL, NULL, NULL, v.resealed_by, v.first_digest::bytea, NULL
FROM vault.revision v WHERE v.event_id = ANY($1::uuid[])
UNION ALL
SELECT x.event_id, x.collection_id, x.record_id, x.revision, NULL, NULL, NULL, NULL, NULL, NULL, NULL, x.deleted,
       x.resealed_by, x.first_digest::bytea, x.digest::bytea
FROM vault.erased_state x WHERE x.event_id = ANY($1::uuid[])
"""
_RESEALED_BY = """
SELECT r.event_id, r.collection_id, r.id, r.revision, r.sealed_for, r.field_ids, r.sealed::bytea[] AS sealed,
       r.plain::text AS plain, r.tags_digest::bytea AS tags_digest, r.tag_fields, r.tags,
       r.deleted_at IS NOT NULL AS deleted, r.resealed_by, r.first_digest::bytea AS first_digest,
       NULL::bytea AS kept
FROM vault.record r WHERE r.resealed_by = ANY($1::uuid[])
UNION ALL
SELECT v.event_id, v.collection_id, v.record_id, v.revision, v.sealed_for, v.field_ids, v.sealed::bytea[],
       v.plain::text, v.tags_digest::bytea, NULL, NULL, NULL, v.resealed_by, v.first_digest::bytea, NULL
FROM vault.revision v WHERE v.resealed_by = ANY($1::uuid[])
UNION ALL
SELECT x.event_id, x.collection_id, x.record_id, x.revision, NULL, NULL, NULL, NULL, NULL, NULL, NULL, x.deleted,
       x.resealed_by, x.first_digest::bytea, x.digest::bytea
FROM vault.erased_state x WHERE x.resealed_by = ANY($1::uuid[])
"""
_LATER = """
SELECT asked.event_id
FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::bigint[], $5::bigint[])
  AS asked(event_id, record_id, revision, epoch, seq)
CROSS JOIN LATERAL (SELECT c.tenant_id, c.id FROM vault.collection c OFFSET 0) c
CROSS JOIN LATERAL (
  SELECT r.resealed_by FROM vault.record r
  WHERE r.tenant_id = c.tenant_id AND r.collection_id = c.id AND r.id = asked.record_id AND r.revision = asked.revision
  UNION ALL
  SELECT v.resealed_by FROM vault.revision v
  WHERE v.tenant_id = c.tenant_id AND v.collection_id = c.id AND v.record_id = asked.record_id
    AND v.revision = asked.revision
  UNION ALL
  SELECT x.resealed_by FROM vault.erased_state x
  WHERE x.tenant_id = c.tenant_id AND x.collection_id = c.id AND x.record_id = asked.record_id
    AND x.revision = asked.revision
) state
WHERE EXISTS (SELECT FROM ledger.outbox o WHERE o.tenant_id = c.tenant_id AND o.event_id = state.resealed_by OFFSET 0)
   OR EXISTS (SELECT FROM ledger.entry e WHERE e.tenant_id = c.tenant_id AND e.event_id = state.resealed_by
                AND (e.epoch, e.seq) > (asked.epoch, asked.seq) AND e.outcome = 'done' AND e.action = $6 OFFSET 0)
"""
_RECORDS = """
WITH uniques AS MATERIALIZED (
  SELECT c.id AS collection_id, number::integer AS field_id FROM vault.collection c, jsonb_path_query(
    c.definition, '$.fields[*] ? (@.index == "unique").id ? (@ > 0 && @ < 2147483647)', '{}', true) AS number
)
SELECT s.collection_id, s.id, s.revision,
       NOT EXISTS (SELECT FROM ledger.entry e WHERE e.tenant_id = s.tenant_id AND e.event_id = s.event_id
                     AND e.outcome = 'done' AND e.action = ANY($3::text[]) OFFSET 0)
         AND NOT EXISTS (SELECT FROM ledger.outbox o WHERE o.tenant_id = s.tenant_id AND o.event_id = s.event_id
                           OFFSET 0)
         OR s.resealed_by IS NOT NULL
         AND NOT EXISTS (SELECT FROM ledger.entry e WHERE e.tenant_id = s.tenant_id AND e.event_id = s.resealed_by
                           AND e.outcome = 'done' AND e.action = $5 OFFSET 0)
         AND NOT EXISTS (SELECT FROM ledger.outbox o WHERE o.tenant_id = s.tenant_id AND o.event_id = s.resealed_by
                           OFFSET 0)
         AS unknown,
       EXISTS (SELECT FROM vault.revision v WHERE v.tenant_id = s.tenant_id AND v.collection_id = s.collection_id
                 AND v.record_id = s.id AND v.revision >= s.revision OFFSET 0) AS older,
       s.subject_id IS DISTINCT FROM coalesce(p.merged_into, s.sealed_for) AS moved,
       s.sealed_for IS NOT NULL AND p.id IS NULL AS orphaned,
       EXISTS (SELECT FROM unnest(s.tag_fields, s.tags) AS u(field_id, tag)
               WHERE NOT EXISTS (SELECT FROM vault.tag t WHERE t.tenant_id = s.tenant_id
                                   AND t.collection_id = s.collection_id AND t.field_id = u.field_id AND t.tag = u.tag
                                   AND t.slot = CASE WHEN u.field_id = 0 OR (s.collection_id, u.field_id) IN (
                                       SELECT q.collection_id, q.field_id FROM uniques q)
                                     THEN '00000000-0000-0000-0000-000000000000' ELSE s.id END
                                   AND t.record_id = s.id OFFSET 0)) AS untagged
FROM (
  SELECT r.tenant_id, r.collection_id, r.id, r.event_id, r.revision, r.subject_id, r.sealed_for, r.tag_fields, r.tags,
         r.resealed_by
  FROM vault.record r WHERE (r.collection_id, r.id) > ($1, $2) ORDER BY r.collection_id, r.id LIMIT $4
) s
LEFT JOIN LATERAL (
  SELECT o.id, o.merged_into FROM vault.subject o WHERE o.tenant_id = s.tenant_id AND o.id = s.sealed_for OFFSET 0
) p ON true
ORDER BY s.collection_id, s.id
"""
_HISTORY = """
SELECT s.collection_id, s.record_id AS id, s.revision,
       NOT EXISTS (SELECT FROM ledger.entry e WHERE e.tenant_id = s.tenant_id AND e.event_id = s.event_id
                     AND e.outcome = 'done' AND e.action = ANY($4::text[]) OFFSET 0)
         AND NOT EXISTS (SELECT FROM ledger.outbox o WHERE o.tenant_id = s.tenant_id AND o.event_id = s.event_id
                           OFFSET 0)
         OR s.resealed_by IS NOT NULL
         AND NOT EXISTS (SELECT FROM ledger.entry e WHERE e.tenant_id = s.tenant_id AND e.event_id = s.resealed_by
                           AND e.outcome = 'done' AND e.action = $6 OFFSET 0)
         AND NOT EXISTS (SELECT FROM ledger.outbox o WHERE o.tenant_id = s.tenant_id AND o.event_id = s.resealed_by
                           OFFSET 0)
         AS unknown
FROM (
  SELECT v.tenant_id, v.collection_id, v.record_id, v.revision, v.event_id, v.resealed_by FROM vault.revision v
  WHERE (v.collection_id, v.record_id, v.revision) > ($1, $2, $3)
  ORDER BY v.collection_id, v.record_id, v.revision LIMIT $5
) s
ORDER BY s.collection_id, s.record_id, s.revision
"""
_TAGS = """
WITH uniques AS MATERIALIZED (
  SELECT c.id AS collection_id, number::integer AS field_id FROM vault.collection c, jsonb_path_query(
    c.definition, '$.fields[*] ? (@.index == "unique").id ? (@ > 0 && @ < 2147483647)', '{}', true) AS number
)
SELECT s.collection_id, s.field_id, s.tag::bytea AS tag, s.slot, s.record_id AS id,
       NOT EXISTS (SELECT FROM vault.record r, unnest(r.tag_fields, r.tags) AS u(field_id, tag)
                   WHERE r.tenant_id = s.tenant_id AND r.collection_id = s.collection_id AND r.id = s.record_id
                     AND u.field_id = s.field_id AND u.tag = s.tag OFFSET 0)
         OR s.slot <> CASE WHEN s.field_id = 0 OR (s.collection_id, s.field_id) IN (
                        SELECT q.collection_id, q.field_id FROM uniques q)
                      THEN '00000000-0000-0000-0000-000000000000' ELSE s.record_id END AS stray
FROM (
  SELECT t.tenant_id, t.collection_id, t.field_id, t.tag, t.slot, t.record_id FROM vault.tag t
  WHERE (t.collection_id, t.field_id, t.tag, t.slot) > ($1, $2, $3::bytea, $4)
  ORDER BY t.collection_id, t.field_id, t.tag, t.slot LIMIT $5
) s
ORDER BY s.collection_id, s.field_id, s.tag, s.slot
"""
_MERGERS = """
SELECT s.id, s.merged_into, NULL::uuid AS event_id, NULL::bytea AS entry, NULL::bytea AS waiting
FROM vault.subject s WHERE s.merged_into IS NOT NULL
UNION ALL
SELECT NULL, NULL, e.event_id, e.entry, NULL FROM ledger.entry e WHERE e.outcome = 'done' AND e.action = $1
UNION ALL
SELECT NULL, NULL, o.event_id, NULL, substr(o.event, 33) FROM ledger.outbox o
"""


async def entries(connection: Connection, after: tuple[int, int], result: Replayed) -> tuple[int, int] | None:
    """Hold the states of each change against its entry."""
    rows = await connection.fetch(_ENTRIES, *after, CHANGES, _PAGE)
    result.entries += len(rows)
    for some in _by_states(rows, result):
        states: dict[UUID, list[State]] = {}
        async for row in connection.cursor(_STATES_OF, [one.event_id for one in some], prefetch=_STATES_HELD):
            states.setdefault(row["event_id"], []).append(state_of(row))
        for one in some:
            compare(one, states.get(one.event_id, []), result)
    return (rows[-1]["epoch"], rows[-1]["seq"]) if len(rows) == _PAGE else None


async def resealings(connection: Connection, after: tuple[int, int], result: Replayed) -> tuple[int, int] | None:
    """Hold each state that was sealed anew against the entry of the newest time."""
    rows = await connection.fetch(_ENTRIES, *after, [RESEALED], _PAGE)
    places = {row["event_id"]: (row["epoch"], row["seq"]) for row in rows}
    for some in _by_states(rows, result):
        states: dict[UUID, list[State]] = {}
        async for row in connection.cursor(_RESEALED_BY, [one.event_id for one in some], prefetch=_STATES_HELD):
            states.setdefault(row["resealed_by"], []).append(state_of(row))
        left = [(one, *places[one.event_id]) for one in some if one.event_id not in states]
        superseded = await _superseded(connection, left)
        for one in some:
            compare_resealing(one, states.get(one.event_id, []), result, later=one.event_id in superseded)
    return (rows[-1]["epoch"], rows[-1]["seq"]) if len(rows) == _PAGE else None


async def _superseded(connection: Connection, left: Sequence[tuple[Told, int, int]]) -> set[UUID]:
    """Return those of these entries whose state was sealed anew once more, by an entry behind it."""
    asked = [
        (one.event_id, one.records[0], one.revision, epoch, seq) for one, epoch, seq in left if len(one.records) == 1
    ]
    if not asked:
        return set()
    columns = [list(column) for column in zip(*asked, strict=True)]
    return {row["event_id"] for row in await connection.fetch(_LATER, *columns, RESEALED)}


def _by_states(rows: Sequence[Record], result: Replayed) -> Iterator[list[Told]]:
    """Return the entries that can be read, so many at a time that few records are named, or one that names many."""
    some: list[Told] = []
    named = 0
    for row in rows:
        entry = told(row, result)
        if entry is None:
            continue
        if some and named + len(entry.records) > _STATES_COMPARED:
            yield some
            some, named = [], 0
        some.append(entry)
        named += len(entry.records)
    yield some


async def records(connection: Connection, after: tuple[int, UUID], result: Replayed) -> tuple[int, UUID] | None:
    """Look for records that no entry knows, out of their order or place, of nobody who is there, or without a tag."""
    rows = await connection.fetch(_RECORDS, *after, CHANGES, _PAGE, RESEALED)
    result.states += len(rows)
    _add(rows, ("unknown", "older", "moved", "orphaned", "untagged"), result)
    return (rows[-1]["collection_id"], rows[-1]["id"]) if len(rows) == _PAGE else None


async def history(
    connection: Connection, after: tuple[int, UUID, int], result: Replayed
) -> tuple[int, UUID, int] | None:
    """Look for states in history that no entry knows."""
    rows = await connection.fetch(_HISTORY, *after, CHANGES, _PAGE, RESEALED)
    _add(rows, ("unknown",), result)
    return (rows[-1]["collection_id"], rows[-1]["id"], rows[-1]["revision"]) if len(rows) == _PAGE else None


async def tags(
    connection: Connection, after: tuple[int, int, bytes, UUID], result: Replayed
) -> tuple[int, int, bytes, UUID] | None:
    """Look for tags that no record has, or that stand in a slot of another kind."""
    rows = await connection.fetch(_TAGS, *after, _PAGE)
    _add(rows, ("stray",), result)
    if len(rows) < _PAGE:
        return None
    last = rows[-1]
    return last["collection_id"], last["field_id"], last["tag"], last["slot"]


async def mergers(connection: Connection, result: Replayed) -> None:
    """Hold each merged patient against the mergers that were entered, or wait to be."""
    rows = await connection.fetch(_MERGERS, MERGE)
    entered = dict(filter(None, (merger(row, result) for row in rows if row["id"] is None)))
    ends = _ends(entered)
    stored = {row["id"]: row["merged_into"] for row in rows if row["id"] is not None}
    for subject in sorted(ends.keys() | stored.keys()):
        if ends.get(subject) != stored.get(subject):
            result.add(Difference("merged", subject=subject))


def _ends(entered: Mapping[UUID, UUID]) -> dict[UUID, UUID]:
    """Return whom each subject was merged into in the end, looking at each merger once.

    Whoever stands in a ring, or leads to one, ends nowhere (NIL), which is never what is stored: none of it is ours,
    and however long somebody made it, it costs no more.
    """
    ends: dict[UUID, UUID] = {}
    for subject in entered:
        passed: dict[UUID, None] = {}
        last = subject
        while last in entered and last not in ends and last not in passed:
            passed[last] = None
            last = entered[last]
        ends |= dict.fromkeys(passed, NIL if last in passed else ends.get(last, last))
    return ends


def _add(rows: Sequence[Record], questions: Sequence[str], result: Replayed) -> None:
    """Add a difference for each question that a row answers with yes."""
    for row in rows:
        for what in questions:
            if row[what]:
                revision = row.get("revision")
                result.add(Difference(what, collection=row["collection_id"], record=row["id"], revision=revision))
