"""Verifying the ledger in the database: every log from its first entry to its head, and what must agree with it.

Read in one REPEATABLE READ transaction, in chunks, as `wk_owner`: what is verified is one state. The threat is
everybody who can write to the database, its owner included. What chain and seals can't show is said in the
specification (`docs/spec/ledger.md`): a
log cut off at the end of a batch, its later seals too, and an old state put back as a whole.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final
from uuid import UUID

from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db.connection import Connection
from wellkeep.ledger.bulk import Bulk
from wellkeep.ledger.report import Bad, Report, What
from wellkeep.ledger.seal import Seal, SealKey
from wellkeep.ledger.splice import Head
from wellkeep.ledger.walk import LogWalk

CHUNK: Final = 512
"""Entries read at once: few enough that what PostgreSQL and Python make of them stays in memory that is warm."""
_END = 2**63 - 1

Progress = Callable[[str, int, int], None]
"""Told the log's origin, how many entries were verified and how many its head says there are."""

_BECOME_OWNER = "SET LOCAL ROLE wk_owner; SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL jit = off"
_LOGS = """
SELECT tenant_id, epoch, origin, size, leaf, "time", frontier FROM ledger.log
WHERE $1::uuid IS NULL OR tenant_id = $1 ORDER BY tenant_id, epoch
"""
_FIRST_SINCE = """
SELECT coalesce((SELECT max(seq) + 1 FROM ledger.entry WHERE tenant_id = $1 AND epoch = $2 AND "time" < $3), 0)
"""
_LEAVES = """
SELECT seq, leaf FROM ledger.entry
WHERE tenant_id = $1 AND epoch = $2 AND seq >= $3 AND seq < $4 ORDER BY seq LIMIT $5
"""
_BULK = r"""
SELECT string_agg(int8send(e.seq), ''), string_agg(int4send(length(e.entry)), ''), string_agg(e.entry, '\x00'),
       string_agg(e.leaf, ''), string_agg(timestamptz_send(e."time"), ''),
       sum(num_nulls(e.purpose, e.resource_type, e.resource_id, e.subject)),
       string_agg(e.event_id || E'\x1f' || e.actor || E'\x1f' || e.action || E'\x1f' || coalesce(e.purpose, E'\x1e')
           || E'\x1f' || coalesce(e.resource_type, E'\x1e') || E'\x1f' || coalesce(e.resource_id, E'\x1e')
           || E'\x1f' || coalesce(e.subject::text, E'\x1e') || E'\x1f' || e.outcome || E'\x1f' || e.request, E'\x1f')
FROM (SELECT * FROM ledger.entry WHERE tenant_id = $1 AND epoch = $2 AND seq >= $3 ORDER BY seq LIMIT $4) AS e
"""
_ENTRIES = """
SELECT seq, leaf, entry, "time", event_id::text, actor, action, purpose, resource_type, resource_id, subject::text,
       outcome, request::text
FROM ledger.entry WHERE tenant_id = $1 AND epoch = $2 AND seq >= $3 ORDER BY seq LIMIT $4
"""
_SEALS = """
SELECT size, key_id, leaf, root, mac FROM ledger.seal
WHERE tenant_id = $1 AND epoch = $2 AND size > $3 AND size <= $4 ORDER BY size
"""
_BESIDE = """
SELECT (SELECT row(count(*), coalesce(sum(hashint8extended(s.seq, uuid_hash_extended(s.subject, $5))), 0)) =
               (SELECT count(*), coalesce(sum(hashint8extended(f.seq, uuid_hash_extended(f.subject, $5))), 0)
                FROM unnest($6::bigint[], $7::uuid[]) AS f (seq, subject))
        FROM ledger.entry_subject AS s
        WHERE s.tenant_id = $1 AND s.epoch = $2 AND s.seq >= $3 AND s.seq < $4) AS same_subjects,
       (SELECT bool_and(EXISTS (SELECT FROM pg_index AS i
                                WHERE i.indrelid = p.inhrelid AND i.indisunique AND i.indisvalid
                                  AND pg_get_indexdef(i.indexrelid) LIKE '%(tenant_id, event_id)'))
        FROM pg_inherits AS p WHERE p.inhparent = 'ledger.entry'::regclass) AS ids_stand_once,
       EXISTS (SELECT FROM ledger.seal AS l WHERE l.tenant_id = $1 AND l.epoch = $2 AND l.size > $8) AS sealed_on
"""
_SUBJECTS = """
SELECT s.seq, s.subject::text FROM ledger.entry_subject AS s
WHERE s.tenant_id = $1 AND s.epoch = $2 AND s.seq >= $3 AND s.seq < $4
"""
# Of the months, each with the entries in it whose ids are older: an event of an earlier month can only be among those.
# A version other than 7 tells no time; of those there is one or two a log.
_OLD_ID_AGAIN = """
SELECT min(e.seq)
FROM (SELECT make_timestamptz(left(right(c.relname, 7), 4)::integer, right(c.relname, 2)::integer, 1, 0, 0, 0, 'UTC')
      FROM pg_inherits AS p JOIN pg_class AS c ON c.oid = p.inhrelid WHERE p.inhparent = 'ledger.entry'::regclass
     ) AS month (begins)
CROSS JOIN LATERAL (
    SELECT i.epoch, i.seq, i.tenant_id, i.event_id FROM ledger.entry AS i
    WHERE i.tenant_id = $1 AND i.event_id < ledger.id_floor(month.begins)
      AND i."time" >= month.begins AND i."time" < month.begins + interval '31 days'
    UNION ALL
    SELECT i.epoch, i.seq, i.tenant_id, i.event_id FROM ledger.entry AS i
    WHERE i.tenant_id = $1 AND i.epoch = $2 AND i.action = 'log.opened'
) AS e
WHERE e.epoch = $2 AND e.seq >= $3 AND e.seq < $4 AND EXISTS (
    SELECT FROM ledger.entry AS o
    WHERE o.tenant_id = e.tenant_id AND o.event_id = e.event_id AND (o.epoch, o.seq) < (e.epoch, e.seq))
"""
_ID_AGAIN = """
SELECT min(e.seq) FROM ledger.entry AS e
WHERE e.tenant_id = $1 AND e.epoch = $2 AND e.seq >= $3 AND e.seq < $4 AND EXISTS (
    SELECT FROM ledger.entry AS o
    WHERE o.tenant_id = e.tenant_id AND o.event_id = e.event_id AND (o.epoch, o.seq) < (e.epoch, e.seq))
"""
_ORPHANS = """
SELECT found.tenant_id, found.epoch, min(found.seq) AS seq FROM (
    SELECT tenant_id, epoch, seq FROM ledger.entry
    UNION ALL SELECT tenant_id, epoch, size FROM ledger.seal
    UNION ALL SELECT tenant_id, epoch, seq FROM ledger.entry_subject
) AS found
WHERE ($1::uuid IS NULL OR found.tenant_id = $1)
  AND NOT EXISTS (SELECT FROM ledger.log AS l WHERE l.tenant_id = found.tenant_id AND l.epoch = found.epoch)
GROUP BY found.tenant_id, found.epoch ORDER BY found.tenant_id, found.epoch
"""
_OUTBOX_AGE = "SELECT max(seconds) FROM ledger.outbox_ages()"
_QUARANTINED = """
SELECT tenant_id, count(*) FROM ledger.quarantine WHERE $1::uuid IS NULL OR tenant_id = $1
GROUP BY tenant_id ORDER BY tenant_id
"""


async def verify(
    connection: Connection,
    *,
    keys: Mapping[str, SealKey],
    tenant: UUID | None = None,
    since: datetime | None = None,
    progress: Progress | None = None,
) -> Report:
    """Verify all logs, or those of `tenant`; with `since`, read only the content of what came later.

    `connection` may become `wk_owner` (`wk_migrate`, an administrator). Older entries are still counted into the tree
    by their leaves, which the seals vouch for. Raises what the connection raises: then nothing is known (exit code 2).
    """
    bad: list[Bad] = []
    walks: dict[Head, LogWalk] = {}
    async with _one_state(connection):
        for row in await connection.fetch(_LOGS, tenant):
            head = Head(*row)._replace(frontier=tuple(row["frontier"]))
            walks[head] = await _walk(connection, head, keys, since, progress)
            if (found := walks[head].bad) is not None:
                bad.append(found)
        orphans = await connection.fetch(_ORPHANS, tenant)
        bad.extend(Bad(f"{log}/{epoch}", seq, What.ORPHAN) for log, epoch, seq in orphans)
        quarantined = await connection.fetch(_QUARANTINED, tenant)
        age: float | None = await connection.fetchval(_OUTBOX_AGE)
    bad.extend(_refused(walks, [row[0] for row in quarantined]))
    if tenant is None and since is None:
        bad.extend(_uncovered(walks))
    return Report(
        logs=len(walks),
        entries=sum(walk.size for walk in walks.values()),
        seals=sum(walk.seals for walk in walks.values()),
        bad=tuple(bad),
        outbox_seconds=age or 0.0,
        quarantined=sum(row[1] for row in quarantined),
    )


@asynccontextmanager
async def _one_state(connection: Connection) -> AsyncIterator[None]:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(_BECOME_OWNER)
        yield


async def _walk(
    connection: Connection,
    head: Head,
    keys: Mapping[str, SealKey],
    since: datetime | None,
    progress: Progress | None,
) -> LogWalk:
    walk = LogWalk(head, keys=keys)
    place = (head.tenant, head.epoch)
    start = 0 if since is None else await connection.fetchval(_FIRST_SINCE, *place, since)
    while walk.bad is None:
        before = walk.size
        reach = before + CHUNK if before >= start else min(start, before + CHUNK)
        walk.expect(Seal(*row) for row in await connection.fetch(_SEALS, *place, before, reach))
        if before < start:
            walk.leaves(await connection.fetch(_LEAVES, *place, before, start, CHUNK))
        elif not walk.bulk(Bulk(*(await connection.fetch(_BULK, *place, before, CHUNK))[0])):
            walk.entries(await connection.fetch(_ENTRIES, *place, before, CHUNK))
        if progress is not None:
            progress(head.origin, walk.size, head.size)
        if walk.size == before or (before >= start and walk.size < before + CHUNK):
            break
    walk.finish()
    found = await _beside(connection, walk, (*place, start, _END if walk.bad is None else walk.bad.seq))
    if found is not None:
        walk.bad = Bad(head.origin, *found)
    return walk


async def _beside(connection: Connection, walk: LogWalk, span: tuple[UUID, int, int, int]) -> tuple[int, What] | None:
    """Return the first seq of `span` where what stands beside the entries does not follow from them, or None.

    `span` is a tenant, an epoch, and the seqs from and until which the entries were good. Of the subjects counts and
    sums of hashes are compared, under a seed that nobody knew when the rows were written; only where those differ are
    the rows fetched, to find the place. Whether an event stands twice is looked up where no index says that none does:
    of each entry where a month lacks its unique index, else of those that could stand in an earlier month too.
    Seals beyond the entries are bad where the entries end.
    """
    start, until = span[2:]
    named = {(seq, subject) for seq, subject in walk.further_subjects if start <= seq < until}
    seqs, subjects = [seq for seq, _ in named], [subject for _, subject in named]
    row = (await connection.fetch(_BESIDE, *span, secrets.randbits(63), seqs, subjects, walk.size))[0]
    found = []
    if not row["same_subjects"]:
        # Counted, for without its primary key the table could hold a row twice.
        stored = Counter((seq, subject) for seq, subject in await connection.fetch(_SUBJECTS, *span))
        stored.subtract(named)
        found.append((min(seq for (seq, _), surplus in stored.items() if surplus), What.ENTRY_SUBJECT))
    again = await connection.fetchval(_OLD_ID_AGAIN if row["ids_stand_once"] else _ID_AGAIN, *span)
    if again is not None:
        found.append((again, What.EVENT_ID))
    if row["sealed_on"] and walk.bad is None:
        found.append((walk.size, What.SEQ))
    return min(found, default=None)


def _refused(walks: Mapping[Head, LogWalk], tenants: Iterable[UUID]) -> list[Bad]:
    """Return the logs of `tenants`, whose changes lie in quarantine instead of in them, at the place where they end."""
    ends = {head.tenant: (head.origin, head.size) for head in walks}
    return [Bad(*ends.get(tenant, (str(tenant), 0)), What.QUARANTINE) for tenant in tenants]


def _uncovered(walks: Mapping[Head, LogWalk]) -> list[Bad]:
    """Return the logs that the root log announced and that are gone, and those that it never announced."""
    present = {str(head.tenant): head.origin for head in walks}
    announced: dict[str, int] = {}
    root = "root"
    for head, walk in walks.items():
        if head.tenant == PLATFORM_TENANT:
            root = head.origin
            announced.update(walk.announced)
            if walk.bad is not None:
                return []
    gone = [Bad(root, seq, What.LOG_MISSING) for log, seq in announced.items() if log not in present]
    unknown = [Bad(name, 0, What.LOG_UNANNOUNCED) for log, name in present.items() if log not in announced]
    return gone + unknown
