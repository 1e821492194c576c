"""What of a tenant's settings bears on decisions, at hand without a query a request.

Rule: a tenant that is not there counts as closed. A change of the settings holds everywhere within `FRESH` seconds; a
closing with the next request, because the keys of a closed tenant do not stand (`access.stands`).
"""

from __future__ import annotations

import json
from uuid import UUID

from wellkeep.base.clock import Clock
from wellkeep.db.connection import Record
from wellkeep.db.pool import Pool
from wellkeep.gate.acts import TenantSettings
from wellkeep.gate.custom_roles import own_rules
from wellkeep.gate.policy import RoleSet

FRESH = 5.0
_KEPT = 10_000
_READ = """
SELECT state = 'closed' AS closed, coalesce((settings ->> 'purpose_required')::boolean, false) AS purpose_required,
  coalesce(r.second_factor, false) AS second_factor, coalesce(r.care_team, '{}') AS care_team,
  (SELECT json_agg(json_build_object('name', c.name, 'permissions', c.permissions, 'groups', c.groups,
     'purposes', c.purposes, 'default_purpose', c.default_purpose, 'hidden', c.hidden))::text
   FROM access.custom_role AS c WHERE c.deleted_at IS NULL) AS roles
FROM wk.tenants AS t LEFT JOIN access.tenant_rules AS r ON r.tenant_id = t.id
"""


class TenantDirectory:
    """Reads `wk.tenants` under each tenant's own context and remembers the answer for a few seconds."""

    def __init__(self, *, pool: Pool, clock: Clock, roles: RoleSet) -> None:
        """Read over connections of `pool`, wk_app's; `roles` are the package's, which bound a tenant's own."""
        self._pool = pool
        self._roles = roles
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
        settings = TenantSettings(closed=True, exists=False) if row is None else self._settings(tenant, row)
        if len(self._known) >= _KEPT:
            self._known.clear()
        self._known[tenant] = (self._clock.monotonic() + FRESH, settings)
        return settings

    def _settings(self, tenant: UUID, row: Record) -> TenantSettings:
        made = json.loads(row["roles"]) if row["roles"] else []
        return TenantSettings(
            purpose_required=row["purpose_required"],
            second_factor=row["second_factor"],
            closed=row["closed"],
            own=own_rules(tenant, made, care_team=row["care_team"], roles=self._roles),
        )

    def forget(self, tenant: UUID) -> None:
        """Read the settings anew at the next decision."""
        self._known.pop(tenant, None)
