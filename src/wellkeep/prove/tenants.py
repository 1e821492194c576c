"""The two synthetic tenants that live probes act on, and keys to them that end with the run.

They are marked synthetic, hold nothing but what probes put there, and are made by the operator, on record. They stay
for the next run; their keys are revoked at the end of this one and expire within a day at worst.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from wellkeep.access.operators import this_operator
from wellkeep.assembly.announcing import announcing
from wellkeep.assembly.runtime import Runtime, open_runtime
from wellkeep.prove.deployment import Deployment, Tenant, Unseen
from wellkeep.prove.sample import NOTES_DEFINITION, PEOPLE_DEFINITION

NAMES = ("wk-prove-a", "wk-prove-b")
ROLES = ("administrator", "privacy_officer", "clinician", "coach", "billing", "auditor", "support", "integration")

_CONFLICT = 409
_KEY_DAYS = 1


@asynccontextmanager
async def prepared(deployment: Deployment) -> AsyncIterator[tuple[Runtime, Tenant, Tenant]]:
    """Lend the operator's runtime and both tenants, with the probes' collections; the keys are revoked afterwards."""
    async with open_runtime(deployment.home, deployment.settings, deployment.database) as runtime:
        issued: list[tuple[UUID, UUID]] = []
        deployment.database.announce = announcing(runtime.core)
        try:
            first, second = [await _prepare(runtime, deployment, name, issued) for name in NAMES]
            yield runtime, first, second
        finally:
            deployment.database.announce = None
            for tenant, key in issued:
                await runtime.api_keys.revoke(this_operator(), tenant=tenant, key_id=key)


async def _prepare(runtime: Runtime, deployment: Deployment, name: str, issued: list[tuple[UUID, UUID]]) -> Tenant:
    operator = this_operator()
    tenant = await _tenant(runtime, name)
    keys = {}
    for role in ROLES:
        made = await runtime.api_keys.create(
            operator, tenant=tenant, name=f"prove-{role}", roles=(role,), days=_KEY_DAYS
        )
        issued.append((tenant, made.about.id))
        keys[role] = made.key
    client = await deployment.client(keys["administrator"])
    for definition in (PEOPLE_DEFINITION, NOTES_DEFINITION):
        answer = await client.post("/v1/collections", json=definition)
        if not (answer.is_success or answer.status_code == _CONFLICT):
            raise Unseen(f"the probes' collections could not be made (HTTP {answer.status_code})")
    return Tenant(id=tenant, name=name, keys=keys)


async def _tenant(runtime: Runtime, name: str) -> UUID:
    operator = this_operator()
    for known in await runtime.tenants.list(operator):
        if known.name == name:
            if known.kind != "synthetic":
                raise Unseen("a tenant of the probes' name is not marked synthetic")
            return known.id
    return await runtime.tenants.create(operator, name=name, kind="synthetic")
