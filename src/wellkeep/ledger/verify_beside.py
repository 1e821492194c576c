"""Verifying what stands beside the entries of one log: further subjects, event ids, seals beyond its end."""

from __future__ import annotations

import secrets
from collections import Counter
from typing import Final

from wellkeep.db.connection import Connection
from wellkeep.ledger.report import Bad, What
from wellkeep.ledger.walk import LogWalk

_END: Final = 2**63 - 1

# OFFSET keeps the entries' side apart: each is looked up by its place and time, in the one month that it lies in.
_BESIDE = """
SELECT (SELECT count(*) = count(e.found) AND row(coalesce(sum(t.rows), 0), coalesce(sum(t.hashes), 0)) =
               (SELECT count(*), coalesce(sum(hashint8extended(f.seq, uuid_hash_extended(f.subject, $5))), 0)
                FROM unnest($6::bigint[], $7::uuid[]) AS f (seq, subject))
        FROM (SELECT s.seq, s."time", count(*) AS rows,
                     sum(hashint8extended(s.seq, uuid_hash_extended(s.subject, $5))) AS hashes
              FROM ledger.entry_subject AS s
              WHERE s.tenant_id = $1 AND s.epoch = $2 AND s.seq >= $3 AND s.seq < $4
              GROUP BY s.seq, s."time") AS t
        LEFT JOIN LATERAL (
            SELECT true AS found FROM ledger.entry AS n
            WHERE n.tenant_id = $1 AND n.epoch = $2 AND n.seq = t.seq AND n."time" = t."time" OFFSET 0
        ) AS e ON true) AS same_subjects,
       EXISTS (SELECT FROM ledger.seal AS l WHERE l.tenant_id = $1 AND l.epoch = $2 AND l.size > $8) AS sealed_on
"""
_IDS_STAND_ONCE = """
SELECT bool_and(EXISTS (SELECT FROM pg_index AS i
                        WHERE i.indrelid = p.inhrelid AND i.indisunique AND i.indisvalid
                          AND pg_get_indexdef(i.indexrelid) LIKE '%(tenant_id, event_id)'))
FROM pg_inherits AS p WHERE p.inhparent = 'ledger.entry'::regclass
"""
_SUBJECTS = """
SELECT s.seq, s.subject::text, e.found IS NOT NULL AS in_time FROM ledger.entry_subject AS s
LEFT JOIN LATERAL (
    SELECT true AS found FROM ledger.entry AS n
    WHERE n.tenant_id = s.tenant_id AND n.epoch = s.epoch AND n.seq = s.seq AND n."time" = s."time" OFFSET 0
) AS e ON true
WHERE s.tenant_id = $1 AND s.epoch = $2 AND s.seq >= $3 AND s.seq < $4
"""
# Of the months, each with the entries in it whose ids are older: an event of an earlier month can only be among those.
# A version other than 7 tells no time; of those there is one or two a log. What looks needless keeps the planner from
# walking the whole month in place of the few old ids: the first OFFSET has each month's floor worked out once and not
# for every entry, the second keeps the seqs outside, the least of all ids makes of the old ones a range like the times.
_OLD_ID_AGAIN = """
SELECT min(e.seq) FROM (
    SELECT old.* FROM (
        SELECT m.begins, ledger.id_floor(m.begins) FROM pg_inherits AS p JOIN pg_class AS c ON c.oid = p.inhrelid
        CROSS JOIN LATERAL (SELECT make_timestamptz(left(right(c.relname, 7), 4)::integer,
                                                    right(c.relname, 2)::integer, 1, 0, 0, 0, 'UTC')) AS m (begins)
        WHERE p.inhparent = 'ledger.entry'::regclass OFFSET 0
    ) AS month (begins, floor)
    CROSS JOIN LATERAL (
        SELECT i.epoch, i.seq, i.tenant_id, i.event_id FROM ledger.entry AS i
        WHERE i.tenant_id = $1 AND i.event_id >= '00000000-0000-0000-0000-000000000000' AND i.event_id < month.floor
          AND i."time" >= month.begins AND i."time" < month.begins + interval '31 days' OFFSET 0
    ) AS old
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


async def ids_stand_once(connection: Connection) -> bool:
    """Say whether an index of each month says that no event stands in it twice: asked once a transaction."""
    return bool(await connection.fetchval(_IDS_STAND_ONCE))


async def beside(connection: Connection, walk: LogWalk, *, begin: int, once: bool, whole: bool = True) -> None:
    """Note in `walk` the first seq where what stands beside its entries does not follow from them.

    From `begin` on, to where the entries were good; `whole` where the walk came to the log's end. Of the subjects
    counts and sums of hashes are compared, under a seed that nobody knew when the rows were written, and their times
    with those of their entries, which the walk has read; only where something differs are the rows fetched, to find the
    place. Whether an event stands twice is looked up where no index says that none does: of each entry unless `once`
    (`ids_stand_once`), else of those that could stand in an earlier month too. Seals beyond the entries are bad where
    the entries end.
    """
    until = walk.bad.seq if walk.bad is not None else _END if whole else walk.size
    start, span = begin, (walk.head.tenant, walk.head.epoch, begin, until)
    named = {(seq, subject) for seq, subject in walk.further_subjects if start <= seq < until}
    seqs, subjects = [seq for seq, _ in named], [subject for _, subject in named]
    row = (await connection.fetch(_BESIDE, *span, secrets.randbits(63), seqs, subjects, walk.size))[0]
    found = []
    if not row["same_subjects"]:
        rows = await connection.fetch(_SUBJECTS, *span)
        # Counted, for without its primary key the table could hold a row twice.
        stored = Counter((seq, subject) for seq, subject, in_time in rows if in_time)
        stored.subtract(named)
        wrong = [seq for (seq, _), surplus in stored.items() if surplus]
        wrong += [seq for seq, _, in_time in rows if not in_time]
        found.append((min(wrong), What.ENTRY_SUBJECT))
    again = await connection.fetchval(_OLD_ID_AGAIN if once else _ID_AGAIN, *span)
    if again is not None:
        found.append((again, What.EVENT_ID))
    if row["sealed_on"] and whole and walk.bad is None:
        found.append((walk.size, What.SEQ))
    if found:
        walk.bad = Bad(walk.head.origin, *min(found))
