"""Verifying that every row of the ledger belongs to a log that has a head.

Rule: looked for in all that is stored, whatever part of it is verified: from one log to the next by the index, a step
for each log and never a scan. The threat is a head that was deleted: without it nobody walks what is left of its log.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from wellkeep.db.connection import Connection

_FIRST: Final = UUID(int=0)
_LAST: Final = UUID(int=2**128 - 1)

# $1 and $2: the first tenant and the last.
_ORPHANS = """
WITH RECURSIVE place (tenant_id, epoch) AS (
    (SELECT t.tenant_id, t.epoch FROM ledger.<table> AS t
     WHERE t.tenant_id >= $1 AND t.tenant_id <= $2 ORDER BY t.tenant_id, t.epoch LIMIT 1)
    UNION ALL
    SELECT n.tenant_id, n.epoch FROM place AS p CROSS JOIN LATERAL (
        SELECT t.tenant_id, t.epoch FROM ledger.<table> AS t
        WHERE (t.tenant_id, t.epoch) > (p.tenant_id, p.epoch) AND t.tenant_id <= $2
        ORDER BY t.tenant_id, t.epoch LIMIT 1
    ) AS n
)
SELECT p.tenant_id, p.epoch, (
    SELECT min(<seq>) FROM ledger.<table> AS t WHERE t.tenant_id = p.tenant_id AND t.epoch = p.epoch) AS seq
FROM place AS p
WHERE NOT EXISTS (SELECT FROM ledger.log AS l WHERE l.tenant_id = p.tenant_id AND l.epoch = p.epoch)
"""


def _of(table: str, seq: str) -> str:
    return _ORPHANS.replace("<table>", table).replace("<seq>", seq)


_STATEMENTS: Final = (
    _of("entry", "t.seq"),
    _of("entry_subject", "t.seq"),
    _of("seal", "t.size - 1"),
    _of("checkpoint", "t.size - 1"),
    _of("covered", "t.size - 1"),
    _of("tile", "0::bigint"),
)


async def orphans(connection: Connection, tenant: UUID | None) -> list[tuple[UUID, int, int]]:
    """Return tenant, epoch and lowest seq of what has no head, of all tenants or of one; a log may come several times.

    `connection` is the owner's, inside the transaction of a verification.
    """
    first, last = (_FIRST, _LAST) if tenant is None else (tenant, tenant)
    return [tuple(row) for statement in _STATEMENTS for row in await connection.fetch(statement, first, last)]
