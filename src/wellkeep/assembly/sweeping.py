"""The sweep behind an erased tenant: rows that nothing opens any more, some at a time, resumed where it was cut off.

Rule: the database takes rows of those tenants alone whose tombstone says that the whole tenant was erased. The people
went with the keys; whoever came in beside the erasure goes with the sweep.
"""

from __future__ import annotations

from uuid import UUID

from wellkeep.db.pool import Pool
from wellkeep.vault.calls import NIL

_SWEEP = "SELECT vault.sweep($1) OR access.forget_erased() > 0"
_UNSWEPT = "SELECT t.tenant_id FROM vault.tombstones() AS t WHERE t.subject_id = $1 AND t.swept_at IS NULL"
_AT_ONCE = 5_000


class Sweeper:
    """Takes away what erased tenants left."""

    def __init__(self, pool: Pool) -> None:
        """`pool` is wk_app's."""
        self._pool = pool

    async def some(self, tenant: UUID) -> bool:
        """Take away some of what an erased tenant left; returns whether there may be more. May be cut off anywhere."""
        async with self._pool.tenant_transaction(tenant=tenant) as connection:
            return bool(await connection.fetchval(_SWEEP, _AT_ONCE))

    async def all(self, tenant: UUID) -> None:
        """Take away everything that an erased tenant left."""
        more = True
        while more:
            more = await self.some(tenant)

    async def unswept(self) -> list[UUID]:
        """Return the erased tenants whose sweep has not ended."""
        async with self._pool.connection() as connection:
            return [UUID(int=row["tenant_id"].int) for row in await connection.fetch(_UNSWEPT, NIL)]
