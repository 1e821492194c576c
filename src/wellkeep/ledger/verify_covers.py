"""Verifying covers in the database: the pairs beside each entry of the root log that vouches for other logs.

That a pair is true is seen where its log is walked. Here: that the pairs are those which the entry's digest was made
of, that none stands there without an entry, and that no log is left out for long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Final
from uuid import UUID

from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db.connection import Connection
from wellkeep.ledger.accounts import Walked
from wellkeep.ledger.actions import Action
from wellkeep.ledger.checkpoint import Checkpoint
from wellkeep.ledger.cover import cover_root
from wellkeep.ledger.report import Bad, What
from wellkeep.ledger.seal import origin
from wellkeep.ledger.told import Told

UNCOVERED_AFTER: Final = timedelta(minutes=3)
"""A log that grew has its turn once a minute; who missed three while others had theirs was left out."""

_AT_ONCE = 64
_PAIRS = """
SELECT c.cover, c.tenant_id, c.epoch, c.size, c.root FROM ledger.covered AS c
WHERE c.cover = ANY ($1::uuid[]) ORDER BY c.cover, c.place
"""
# A cover commits with its outbox row and is chained a moment later.
_WITHOUT_ENTRY = """
SELECT l.origin, min(c.size) AS size FROM ledger.covered AS c JOIN ledger.log AS l USING (tenant_id, epoch)
WHERE ($1::uuid IS NULL OR c.tenant_id = $1)
  AND NOT EXISTS (SELECT FROM ledger.entry AS e
                  WHERE e.tenant_id = $2 AND e.event_id = c.cover AND e.action = 'ledger.covered')
  AND NOT EXISTS (SELECT FROM ledger.outbox AS o WHERE o.tenant_id = $2 AND o.event_id = c.cover)
GROUP BY l.origin ORDER BY l.origin
"""
# Both sides are times of entries: a deployment at rest has covered nothing since, and is not late.
_LEFT_OUT = """
SELECT l.origin, v.size FROM ledger.log AS l
CROSS JOIN LATERAL (
    SELECT coalesce(max(c.size), 0) AS size FROM ledger.covered AS c
    WHERE c.tenant_id = l.tenant_id AND c.epoch = l.epoch
) AS v
JOIN ledger.entry AS e ON e.tenant_id = l.tenant_id AND e.epoch = l.epoch AND e.seq = v.size
WHERE l.tenant_id <> $2 AND ($1::uuid IS NULL OR l.tenant_id = $1)
  AND e."time" + $3 < (SELECT r."time" FROM ledger.entry AS r WHERE r.tenant_id = $2 AND r.action = 'ledger.covered'
                       ORDER BY r.epoch DESC, r.seq DESC LIMIT 1)
ORDER BY l.origin
"""


async def check_covers(connection: Connection, walked: Walked) -> None:
    """Hold the covers that the walk of the root log came by against their pairs, and take them out."""
    walk = walked.walk
    covers = [told for told in walk.told if told.action == Action.LEDGER_COVERED]
    walk.told = [told for told in walk.told if told.action != Action.LEDGER_COVERED]
    host = walk.head.origin.partition("/ledger/")[0]
    for at in range(0, len(covers), _AT_ONCE):
        some = covers[at : at + _AT_ONCE]
        pairs: dict[UUID, list[Checkpoint]] = {each.id: [] for each in some}
        for cover, tenant, epoch, size, root in await connection.fetch(_PAIRS, list(pairs)):
            pairs[cover].append(Checkpoint(origin(host, tenant, epoch), size, root))
        walked.misfits += [(seq, What.COVER) for seq in unlike(some, pairs)]
    walked.covers += len(covers)


def unlike(covers: Sequence[Told], pairs: Mapping[UUID, Sequence[Checkpoint]]) -> list[int]:
    """Return the seqs of the entries whose pairs are not those that they were made of."""
    return [each.seq for each in covers if not _alike(each, pairs[each.id])]


def _alike(cover: Told, pairs: Sequence[Checkpoint]) -> bool:
    in_order = all(left.origin < right.origin for left, right in pairwise(pairs))
    counted = cover.counted is None or cover.counted == len(pairs)
    return in_order and counted and bool(pairs) and cover_root(pairs) == cover.digest


async def stray_pairs(connection: Connection, tenant: UUID | None) -> list[Bad]:
    """Return the logs of which a pair has no entry in the root log."""
    rows = await connection.fetch(_WITHOUT_ENTRY, tenant, PLATFORM_TENANT)
    return [Bad(row["origin"], row["size"] - 1, What.COVER) for row in rows]


async def left_out(connection: Connection, tenant: UUID | None) -> list[Bad]:
    """Return the logs that grew and were not covered, although others were minutes later."""
    rows = await connection.fetch(_LEFT_OUT, tenant, PLATFORM_TENANT, UNCOVERED_AFTER)
    return [Bad(row["origin"], row["size"], What.UNCOVERED) for row in rows]
