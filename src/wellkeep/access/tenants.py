"""Tenants: made, listed, changed, closed by the platform, each of them an entry of the root log.

A new tenant is a row, its keys, and an open log whose first entry says who made it. Making one again under the same
name is a conflict, unless the first time was cut off half-way: then it is completed and its id returned.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from wellkeep.base.errors import Conflict, LedgerUnavailable, NotFound
from wellkeep.base.ids import uuid7
from wellkeep.base.permissions import Permission
from wellkeep.db.connection import Record
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.gate.events import event
from wellkeep.gate.gate import Gate
from wellkeep.ledger.event import Action, Outcome

_CREATE = "SELECT wk.create_tenant($1, $2, $3, $4)"
_LIST = "SELECT id, name, kind, environment, state, settings::text AS settings, created_at FROM wk.list_tenants()"
_HAS_LOG = "SELECT EXISTS (SELECT FROM ledger.log)"
_CLOSE = "SELECT wk.close_tenant($1)"
_DEMAND_PURPOSE = "SELECT access.demand_purpose($1, $2)"
_PURPOSE_REQUIRED = "purpose_required"

Provision = Callable[[UUID], Awaitable[object]]
"""Makes the keys of a tenant, or does nothing where it has them (`KeyRing.provision`)."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant as the platform knows it."""

    id: UUID
    name: str
    kind: str
    environment: str
    state: str
    settings: dict[str, Any]
    created_at: datetime


class Tenants:
    """Manages the tenants of a deployment."""

    def __init__(self, *, gate: Gate, provision: Provision, environment: str) -> None:
        """Make tenants of `environment`, their keys by `provision`."""
        self._gate = gate
        self._provision = provision
        self._environment = environment

    async def create(self, caller: Caller, *, name: str, kind: Literal["live", "synthetic"] = "live") -> UUID:
        """Make a tenant with keys and an open log, and return its id.

        Raises Forbidden, Conflict where the name is taken, KeysUnavailable, LedgerUnavailable.
        """
        tenant = uuid7()
        decision = await self._gate.decide(
            caller, Act(Permission.TENANT_CREATE, Action.TENANT_CREATE, "tenant", resource_id=str(tenant))
        )
        try:
            async with self._gate.transaction(decision) as work:
                await work.connection.execute(_CREATE, tenant, name, kind, self._environment)
                work.record()
        except Conflict:
            return await self._complete(caller, name=name, kind=kind)
        except LedgerUnavailable:
            await self._provision(tenant)  # the row is there: what it needs must be there too, whoever asks next
            raise
        await self._provide(decision, tenant)
        return tenant

    async def _complete(self, caller: Caller, *, name: str, kind: str) -> UUID:
        """Return the tenant of this name whose creation was cut off, completed; raises Conflict where it is whole."""
        for known in await self.list(caller):
            if (known.name, known.kind, known.state) == (name, kind, "active"):
                await self._provision(known.id)
                if await self._has_no_log(caller, known.id):
                    await self.provide(caller, tenant=known.id)
                    return known.id
        raise Conflict("There is a tenant of this name already")

    async def _has_no_log(self, caller: Caller, tenant: UUID) -> bool:
        act = Act(Permission.TENANT_READ, Action.TENANT_LIST, "tenant", resource_id=str(tenant), tenant=tenant)
        decision = await self._gate.decide(caller, act)
        async with self._gate.transaction(decision) as work:
            work.record()
            return not await work.connection.fetchval(_HAS_LOG)

    async def provide(self, caller: Caller, *, tenant: UUID) -> None:
        """Make what a tenant lacks after a creation that was cut off: its keys, its log. Raises as `create` does."""
        decision = await self._gate.decide(
            caller, Act(Permission.TENANT_CREATE, Action.TENANT_CREATE, "tenant", resource_id=str(tenant))
        )
        await self._provide(decision, tenant)

    async def list(self, caller: Caller) -> list[Tenant]:
        """Return all tenants, the platform's own included."""
        decision = await self._gate.decide(caller, Act(Permission.TENANT_READ, Action.TENANT_LIST, "tenant"))
        async with self._gate.transaction(decision) as work:
            rows = await work.connection.fetch(_LIST)
            work.record(count=len(rows))
        return [_tenant(row) for row in rows]

    async def close(self, caller: Caller, *, tenant: UUID) -> None:
        """Close a tenant: nothing of its own acts any more; its data and log stay. Raises NotFound."""
        decision = await self._gate.decide(
            caller, Act(Permission.TENANT_CHANGE, Action.TENANT_CLOSE, "tenant", resource_id=str(tenant))
        )
        async with self._gate.transaction(decision) as work:
            if not await work.connection.fetchval(_CLOSE, tenant):
                raise NotFound("There is no such tenant, or it is closed already")
            work.record()
            work.record_elsewhere(tenant)
        self._gate.tenants.forget(tenant)

    async def demand_purpose(self, caller: Caller, *, tenant: UUID, demanded: bool) -> None:
        """Say whether reads in a tenant must declare a purpose of use; it holds everywhere within five seconds.

        The entry's `count` is 1 where it is demanded, else 0. Raises NotFound for one that is closed or not there.
        """
        decision = await self._gate.decide(
            caller, Act(Permission.TENANT_CHANGE, Action.TENANT_CHANGE, "tenant", resource_id=str(tenant))
        )
        async with self._gate.transaction(decision) as work:
            if not await work.connection.fetchval(_DEMAND_PURPOSE, tenant, demanded):
                raise NotFound("There is no such tenant, or it is closed")
            work.record(fields=(_PURPOSE_REQUIRED,), count=int(demanded))
            work.record_elsewhere(tenant, fields=(_PURPOSE_REQUIRED,), count=int(demanded))
        self._gate.tenants.forget(tenant)

    async def _provide(self, decision: Decision, tenant: UUID) -> None:
        await self._provision(tenant)
        await self._gate.enter(event(decision, outcome=Outcome.DONE), tenant=tenant)


def _tenant(row: Record) -> Tenant:
    return Tenant(
        id=row["id"],
        name=row["name"],
        kind=row["kind"],
        environment=row["environment"],
        state=row["state"],
        settings=json.loads(row["settings"]),
        created_at=row["created_at"],
    )
