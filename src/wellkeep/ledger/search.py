"""Searching a tenant's entries, for whoever may read its ledger.

Rules: under the tenant's signed context, so no other tenant's entry can come out; the newest first; a keyset cursor, so
a page costs the same wherever it is. What comes out are the stored entries themselves. The filters are columns that
repeat what the entries say; `verify` is what says that they do.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from wellkeep.db.connection import Connection
from wellkeep.ledger.actions import Action

LIMIT: Final = 200
"""The longest page."""

_NEWEST = (2**31 - 1, 2**63 - 1)
_OLDEST = (0, 0)

# $1, $2: before this place; $3, $4: from this place on; $5: how many.
_ALL = """
SELECT e.epoch, e.seq, e.leaf, e.entry FROM ledger.entry AS e
WHERE (e.epoch, e.seq) < ($1, $2) AND (e.epoch, e.seq) >= ($3, $4)
ORDER BY e.epoch DESC, e.seq DESC LIMIT $5
"""
_BY_ACTOR = """
SELECT e.epoch, e.seq, e.leaf, e.entry FROM ledger.entry AS e
WHERE e.actor = $6 AND ($7::text IS NULL OR e.action = $7)
  AND (e.epoch, e.seq) < ($1, $2) AND (e.epoch, e.seq) >= ($3, $4)
ORDER BY e.epoch DESC, e.seq DESC LIMIT $5
"""
_BY_ACTION = """
SELECT e.epoch, e.seq, e.leaf, e.entry FROM ledger.entry AS e
WHERE e.action = $6 AND (e.epoch, e.seq) < ($1, $2) AND (e.epoch, e.seq) >= ($3, $4)
ORDER BY e.epoch DESC, e.seq DESC LIMIT $5
"""
_BY_SUBJECT = """
(SELECT e.epoch, e.seq, e.leaf, e.entry FROM ledger.entry AS e
 WHERE e.subject = $6 AND (e.epoch, e.seq) < ($1, $2) AND (e.epoch, e.seq) >= ($3, $4)
   AND ($7::text IS NULL OR e.actor = $7) AND ($8::text IS NULL OR e.action = $8)
 ORDER BY e.epoch DESC, e.seq DESC LIMIT $5)
UNION ALL
(SELECT s.epoch, s.seq, e.leaf, e.entry FROM ledger.entry_subject AS s
 JOIN ledger.entry AS e ON e.tenant_id = s.tenant_id AND e.epoch = s.epoch AND e.seq = s.seq
 WHERE s.subject = $6 AND (s.epoch, s.seq) < ($1, $2) AND (s.epoch, s.seq) >= ($3, $4)
   AND ($7::text IS NULL OR e.actor = $7) AND ($8::text IS NULL OR e.action = $8)
 ORDER BY s.epoch DESC, s.seq DESC LIMIT $5)
ORDER BY epoch DESC, seq DESC LIMIT $5
"""
_SINCE = "SELECT l.epoch, ledger.seq_since(l.epoch, $1) AS seq, l.size FROM ledger.log AS l ORDER BY l.epoch"


class Place(NamedTuple):
    """An entry's place in its tenant's logs; a page goes on before the last one's."""

    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class Found:
    """An entry as it is stored: its place, its leaf hash and its bytes."""

    place: Place
    leaf: bytes
    entry: bytes


async def search(
    connection: Connection,
    *,
    actor: str | None = None,
    subject: UUID | None = None,
    action: Action | None = None,
    since: datetime | None = None,
    before: Place | None = None,
    limit: int = LIMIT,
) -> list[Found]:
    """Return up to `limit` (at most 200) entries that fit all filters, the newest first.

    `connection` is wk_app's, inside a transaction under the tenant's context. `before` is the place of the last entry
    of the page before. Raises what the connection raises.
    """
    window = (*(before or _NEWEST), *await _from(connection, since), max(1, min(limit, LIMIT)))
    if subject is not None:
        rows = await connection.fetch(_BY_SUBJECT, *window, subject, actor, action)
    elif actor is not None:
        rows = await connection.fetch(_BY_ACTOR, *window, actor, action)
    elif action is not None:
        rows = await connection.fetch(_BY_ACTION, *window, action)
    else:
        rows = await connection.fetch(_ALL, *window)
    return [Found(Place(row["epoch"], row["seq"]), row["leaf"], row["entry"]) for row in rows]


async def _from(connection: Connection, since: datetime | None) -> tuple[int, int]:
    """Return the first place at or after `since`; past the end where nothing is."""
    if since is None:
        return _OLDEST
    for row in await connection.fetch(_SINCE, since):
        if row["seq"] < row["size"]:
            return row["epoch"], row["seq"]
    return _NEWEST
