"""A deployment with what probes need on it: two synthetic tenants, their keys, and the operator's own services."""

from __future__ import annotations

from uuid import UUID

from wellkeep.assembly.runtime import Runtime
from wellkeep.db.connection import Connection
from wellkeep.prove.deployment import Deployment, Tenant


class Stage(Deployment):
    """A served deployment that holds the tenants `a` and `b`; `operator` acts at the machine itself, on record."""

    operator: Runtime
    a: Tenant
    b: Tenant

    def context_token(self, tenant: UUID, connection: Connection, *, seconds_ago: int = 0) -> str:
        """Return a context of `tenant` for `connection`, signed `seconds_ago`.

        What SQL injected into a request of the tenant's would ride on.
        """
        core = self.operator.core
        now = core.clock.seconds() - seconds_ago
        return core.context_key.mint(tenant=tenant, pid=connection.get_server_pid(), now=now)
