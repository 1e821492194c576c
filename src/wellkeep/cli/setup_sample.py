"""The sample of a first run: one synthetic tenant with made-up patients, loaded through the API like anybody's."""

from __future__ import annotations

import asyncio

from wellkeep.access.operators import this_operator
from wellkeep.assembly.home import Home
from wellkeep.assembly.runtime import Runtime, open_runtime
from wellkeep.base.errors import Conflict
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.secrets import Secret
from wellkeep.cli.demo_tenants import COLLECTIONS, DemoTenant
from wellkeep.prove.deployment import Deployment, created
from wellkeep.prove.server import ServerProcess
from wellkeep.vault.templates import template

NAME = "sample-clinic"
_PATIENTS = 20
_ROLES = ("administrator", "integration")


async def load_sample(home: Home) -> None:
    """Serve the deployment for as long as it takes to load the sample. Raises Unseen where that does not work."""
    from wellkeep.cli.demo_data import fill  # noqa: PLC0415 -- faker takes its time

    deployment = Deployment(home)
    server = ServerProcess(home.path, f"{deployment.public_url}/healthz")
    await server.start()
    try:
        async with deployment, open_runtime(home, deployment.settings, deployment.database) as runtime:
            tenant = await _tenant(runtime)
            client = await deployment.client(tenant.keys["administrator"])
            there = {one["name"] for one in (await client.get("/v1/collections")).json()["collections"]}
            for collection in COLLECTIONS:
                if collection not in there:
                    await created(client, "/v1/collections", template(collection).definition())
            await fill(deployment, [tenant], _PATIENTS)
            await _revoke_keys(runtime, tenant)
    finally:
        await asyncio.to_thread(server.stop)


async def _tenant(runtime: Runtime) -> DemoTenant:
    """Return the sample's tenant, made now or by a run that was cut off, with keys for the length of this one."""
    operator = this_operator()
    try:
        made = await runtime.tenants.create(operator, name=NAME, kind="synthetic")
    except Conflict:
        known = await runtime.tenants.list(operator)
        made = next(one.id for one in known if one.name == NAME and one.id != PLATFORM_TENANT)
    tenant = DemoTenant(id=made, name=NAME, keys={})
    await _revoke_keys(runtime, tenant)
    keys: dict[str, Secret[str]] = tenant.keys
    for role in _ROLES:
        issued = await runtime.api_keys.create(operator, tenant=made, name=f"setup-{role}", roles=(role,))
        keys[role] = issued.key
    return tenant


async def _revoke_keys(runtime: Runtime, tenant: DemoTenant) -> None:
    for one in await runtime.api_keys.list(this_operator(), tenant=tenant.id):
        if one.revoked_at is None and one.name.startswith("setup-"):
            await runtime.api_keys.revoke(this_operator(), tenant=tenant.id, key_id=one.id)
