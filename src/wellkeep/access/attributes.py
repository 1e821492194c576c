"""Relationships of persons to patients, as the policy asks for them: read from the database each time, never kept.

Rule: what is not there now does not count: whoever was taken out of a care team, or whose glass is mended, is out with
the next question. Two patients that were merged are one.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from wellkeep.db.pool import Pool

_TREATS = "SELECT t.subject FROM access.treats($1, $2) AS t(subject)"
_GLASSES = "SELECT g.subject FROM access.glasses($1) AS g(subject) WHERE g.subject IS NOT NULL"


class StoredAttributes:
    """The port of `base.attributes` over the tables of `access`."""

    def __init__(self, *, pool: Pool) -> None:
        """Read over connections of `pool`, wk_app's."""
        self._pool = pool

    async def care_team(self, *, tenant: UUID, person: UUID, subjects: Collection[UUID]) -> frozenset[UUID]:
        """Return those of `subjects` whose care team `person` belongs to. Raises DatabaseUnavailable."""
        async with self._pool.tenant_transaction(tenant=tenant) as connection:
            rows = await connection.fetch(_TREATS, person, list(subjects))
        return frozenset(row["subject"] for row in rows)

    async def broken_glass(self, *, tenant: UUID, person: UUID) -> frozenset[UUID]:
        """Return the patients whose glass `person` broke, while it is open. Raises DatabaseUnavailable."""
        async with self._pool.tenant_transaction(tenant=tenant) as connection:
            rows = await connection.fetch(_GLASSES, person)
        return frozenset(row["subject"] for row in rows)
