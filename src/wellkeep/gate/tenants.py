"""What of a tenant's settings bears on decisions, at hand without a query a request.

Rule: a tenant that is not there counts as closed. A change of the settings holds everywhere within `FRESH` seconds; a
closing with the next request, because the keys of a closed tenant do not stand (`access.stands`).
"""

from __future__ import annotations

from uuid import UUID

from wellkeep.base.clock import Clock
from wellkeep.db.pool import Pool
from wellkeep.gate.acts import TenantSettings

FRESH = 5.0
_KEPT = 10_000
_READ = """
SELECT state = 'closed' AS closed, coalesce((settings ->> 'purpose_required')::boolean, false) AS purpose_required
FROM wk.tenants
"""


class TenantDirectory:
    """Reads `wk.tenants` under each tenant's own context and remembers the answer for a few seconds."""

    def __init__(self, *, pool: Pool, clock: Clock) -> None:
        """Read over connections of `pool`, wk_app's."""
        self._pool = pool
        self._clock = clock
        self._known: dict[UUID, tuple[float, TenantSettings]] = {}

    def known(self, tenant: UUID) -> TenantSettings | None:
        """Return the settings if they are fresh, without waiting."""
        entry = self._known.get(tenant)
        if entry is not None and self._clock.monotonic() < entry[0]:
            return entry[1]
        return None

    async def load(self, tenant: UUID) -> TenantSettings:
        """Read the settings; raises DatabaseUnavailable."""
        async with self._pool.tenant_transaction(tenant=tenant) as connection:
            row = await connection.fetchrow(_READ)
        if row is None:
            settings = TenantSettings(closed=True, exists=False)
        else:
            settings = TenantSettings(purpose_required=row["purpose_required"], closed=row["closed"])
        if len(self._known) >= _KEPT:
            self._known.clear()
        self._known[tenant] = (self._clock.monotonic() + FRESH, settings)
        return settings

    def forget(self, tenant: UUID) -> None:
        """Read the settings anew at the next decision."""
        self._known.pop(tenant, None)
