"""Replay: what the ledger says was stored, against what is stored.

An older envelope that is put back opens without complaint: it is authentic, only not the newest. The ledger knows
better. The entry of every change carries the digest of the state that it stored (`vault.fingerprint`), and every stored
state names the event that made it. So walks find what no key can: over the entries (a state that is gone, altered,
hidden or undeleted), over the states and their history (one that no entry knows, one out of its order, a record moved
to another patient, a tag that is missing), over the tags (one that no record has), over the patients (a merger that
nobody entered). Findings name places alone. The job `replay` runs it for every tenant, once a day.

Streaming: a page at a time, each of one snapshot. A change commits with its outbox row, so a state or a merger is
either in the ledger or waits there; nothing is passed over for being young. What is not covered: times, and the keyed
MAC by which an import sees that nothing changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from uuid import UUID

from wellkeep.db.connection import Connection, Record
from wellkeep.db.pool import Pool
from wellkeep.db.queue import Interrupted, Stopping
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.vault.calls import NIL
from wellkeep.vault.context import Context
from wellkeep.vault.replay_entries import CHANGES, MERGE, compare_entry, merger
from wellkeep.vault.replay_result import Difference, Replayed

__all__ = ["Difference", "Replay", "Replayed"]

Place = TypeVar("Place", bound=tuple[object, ...])

_PAGE = 200
_ENTRIES = """
SELECT e.epoch, e.seq, e.event_id, e.action, e.entry FROM ledger.entry e
WHERE (e.epoch, e.seq) > ($1, $2) AND e.outcome = 'done' AND e.action = ANY($3::text[])
ORDER BY e.epoch, e.seq LIMIT $4
"""
_STATES_OF = """
SELECT r.event_id, r.collection_id, r.id, r.revision, r.sealed_for, r.field_ids, r.sealed::bytea[] AS sealed,
       r.plain::text AS plain, r.tags_digest::bytea AS tags_digest, r.tag_fields, r.tags,
       r.deleted_at IS NOT NULL AS deleted
FROM vault.record r WHERE r.event_id = ANY($1::uuid[])
UNION ALL
SELECT v.event_id, v.collection_id, v.record_id, v.revision, v.sealed_for, v.field_ids, v.sealed::bytea[],
       v.plain::text, v.tags_digest::bytea, NULL, NULL, NULL
FROM vault.revision v WHERE v.event_id = ANY($1::uuid[])
"""
_RECORDS = """
SELECT s.collection_id, s.id, s.revision,
       NOT EXISTS (SELECT FROM ledger.entry e WHERE e.tenant_id = s.tenant_id AND e.event_id = s.event_id
                     AND e.outcome = 'done' AND e.action = ANY($3::text[]))
         AND NOT EXISTS (SELECT FROM ledger.outbox o WHERE o.tenant_id = s.tenant_id AND o.event_id = s.event_id)
         AS unknown,
       EXISTS (SELECT FROM vault.revision v WHERE v.tenant_id = s.tenant_id AND v.collection_id = s.collection_id
                 AND v.record_id = s.id AND v.revision >= s.revision) AS older,
       s.subject_id IS DISTINCT FROM coalesce(p.merged_into, s.sealed_for) AS moved,
       EXISTS (SELECT FROM unnest(s.tag_fields, s.tags) AS u(field_id, tag)
               WHERE NOT EXISTS (SELECT FROM vault.tag t WHERE t.tenant_id = s.tenant_id
                                   AND t.collection_id = s.collection_id AND t.field_id = u.field_id AND t.tag = u.tag
                                   AND t.slot IN ('00000000-0000-0000-0000-000000000000', s.id)
                                   AND t.record_id = s.id)) AS untagged
FROM (
  SELECT r.tenant_id, r.collection_id, r.id, r.event_id, r.revision, r.subject_id, r.sealed_for, r.tag_fields, r.tags
  FROM vault.record r WHERE (r.collection_id, r.id) > ($1, $2) ORDER BY r.collection_id, r.id LIMIT $4
) s
LEFT JOIN vault.subject p ON p.tenant_id = s.tenant_id AND p.id = s.sealed_for
ORDER BY s.collection_id, s.id
"""
_HISTORY = """
SELECT s.collection_id, s.record_id AS id, s.revision,
       NOT EXISTS (SELECT FROM ledger.entry e WHERE e.tenant_id = s.tenant_id AND e.event_id = s.event_id
                     AND e.outcome = 'done' AND e.action = ANY($4::text[]))
         AND NOT EXISTS (SELECT FROM ledger.outbox o WHERE o.tenant_id = s.tenant_id AND o.event_id = s.event_id)
         AS unknown
FROM (
  SELECT v.tenant_id, v.collection_id, v.record_id, v.revision, v.event_id FROM vault.revision v
  WHERE (v.collection_id, v.record_id, v.revision) > ($1, $2, $3)
  ORDER BY v.collection_id, v.record_id, v.revision LIMIT $5
) s
ORDER BY s.collection_id, s.record_id, s.revision
"""
_TAGS = """
SELECT s.collection_id, s.field_id, s.tag::bytea AS tag, s.slot, s.record_id AS id,
       NOT EXISTS (SELECT FROM vault.record r, unnest(r.tag_fields, r.tags) AS u(field_id, tag)
                   WHERE r.tenant_id = s.tenant_id AND r.collection_id = s.collection_id AND r.id = s.record_id
                     AND u.field_id = s.field_id AND u.tag = s.tag) AS stray
FROM (
  SELECT t.tenant_id, t.collection_id, t.field_id, t.tag, t.slot, t.record_id FROM vault.tag t
  WHERE (t.collection_id, t.field_id, t.tag, t.slot) > ($1, $2, $3::bytea, $4)
  ORDER BY t.collection_id, t.field_id, t.tag, t.slot LIMIT $5
) s
ORDER BY s.collection_id, s.field_id, s.tag, s.slot
"""
_MERGERS = """
SELECT s.id, s.merged_into, NULL::bytea AS entry, NULL::bytea AS waiting
FROM vault.subject s WHERE s.merged_into IS NOT NULL
UNION ALL
SELECT NULL, NULL, e.entry, NULL FROM ledger.entry e WHERE e.outcome = 'done' AND e.action = $1
UNION ALL
SELECT NULL, NULL, NULL, o.event FROM ledger.outbox o
"""


def never() -> bool:
    """Return False: nobody asks this replay to stop."""
    return False


class Replay:
    """Compares one tenant's records with its ledger; nobody is shown anything that was sealed."""

    def __init__(self, context: Context, *, pool: Pool) -> None:
        """Read over `pool` (wk_app's), report through the context's findings."""
        self._findings: Findings = context.findings
        self._pool = pool

    async def run(self, tenant: UUID, *, stopping: Stopping = never) -> Replayed:
        """Walk everything, report each difference, and return what was seen.

        Raises DatabaseUnavailable, and Interrupted where `stopping` says so between two pages.
        """
        result = Replayed()
        await self._walk(tenant, _entries, (-1, -1), result, stopping)
        await self._walk(tenant, _records, (0, NIL), result, stopping)
        await self._walk(tenant, _history, (0, NIL, 0), result, stopping)
        await self._walk(tenant, _tags, (0, -1, b"", NIL), result, stopping)
        async with self._pool.tenant_transaction(tenant=tenant) as connection:
            await _mergers(connection, result)
        for difference in result.differences:
            self._report(tenant, difference)
        return result

    async def _walk(
        self,
        tenant: UUID,
        page: Callable[[Connection, Place, Replayed], Awaitable[Place | None]],
        first: Place,
        result: Replayed,
        stopping: Stopping,
    ) -> None:
        place: Place | None = first
        while place is not None:
            if stopping():
                raise Interrupted
            async with self._pool.tenant_transaction(tenant=tenant) as connection:
                place = await page(connection, place, result)

    def _report(self, tenant: UUID, difference: Difference) -> None:
        parts = [part for part in (difference.collection, difference.record, difference.event) if part is not None]
        self._findings.note(
            tenant,
            kind=Kind.REVISION_REPLAYED,
            severity=Severity.CRITICAL,
            key=finding_key(Kind.REVISION_REPLAYED, *parts, difference.what),
            detail=difference.detail(),
        )


async def _entries(connection: Connection, after: tuple[int, int], result: Replayed) -> tuple[int, int] | None:
    rows = await connection.fetch(_ENTRIES, *after, CHANGES, _PAGE)
    stored = await connection.fetch(_STATES_OF, [row["event_id"] for row in rows])
    states: dict[UUID, list[Record]] = {}
    for state in stored:
        states.setdefault(state["event_id"], []).append(state)
    for row in rows:
        result.entries += 1
        compare_entry(row, states.get(row["event_id"], []), result)
    return (rows[-1]["epoch"], rows[-1]["seq"]) if len(rows) == _PAGE else None


async def _records(connection: Connection, after: tuple[int, UUID], result: Replayed) -> tuple[int, UUID] | None:
    rows = await connection.fetch(_RECORDS, *after, CHANGES, _PAGE)
    result.states += len(rows)
    _add(rows, ("unknown", "older", "moved", "untagged"), result)
    return (rows[-1]["collection_id"], rows[-1]["id"]) if len(rows) == _PAGE else None


async def _history(
    connection: Connection, after: tuple[int, UUID, int], result: Replayed
) -> tuple[int, UUID, int] | None:
    rows = await connection.fetch(_HISTORY, *after, CHANGES, _PAGE)
    _add(rows, ("unknown",), result)
    return (rows[-1]["collection_id"], rows[-1]["id"], rows[-1]["revision"]) if len(rows) == _PAGE else None


async def _tags(
    connection: Connection, after: tuple[int, int, bytes, UUID], result: Replayed
) -> tuple[int, int, bytes, UUID] | None:
    rows = await connection.fetch(_TAGS, *after, _PAGE)
    _add(rows, ("stray",), result)
    if len(rows) < _PAGE:
        return None
    last = rows[-1]
    return last["collection_id"], last["field_id"], last["tag"], last["slot"]


async def _mergers(connection: Connection, result: Replayed) -> None:
    """Hold each merged patient against the mergers that were entered, or wait to be."""
    rows = await connection.fetch(_MERGERS, MERGE)
    entered = dict(filter(None, (merger(entry=row["entry"], waiting=row["waiting"]) for row in rows)))
    ends = {subject: _end(entered, subject) for subject in entered}
    stored = {row["id"]: row["merged_into"] for row in rows if row["id"] is not None}
    for subject in sorted(ends.keys() | stored.keys()):
        if ends.get(subject) != stored.get(subject):
            result.add(Difference("merged", subject=subject))


def _end(mergers: dict[UUID, UUID], subject: UUID) -> UUID:
    """Return whom `subject` was merged into in the end; a ring, which can't have been entered by us, ends somewhere."""
    for _ in mergers:
        if subject not in mergers:
            break
        subject = mergers[subject]
    return subject


def _add(rows: Sequence[Record], questions: Sequence[str], result: Replayed) -> None:
    """Add a difference for each question that a row answers with yes."""
    for row in rows:
        for what in questions:
            if row[what]:
                revision = row.get("revision")
                result.add(Difference(what, collection=row["collection_id"], record=row["id"], revision=revision))
