"""Tenants over HTTP, on the administration listener alone."""

from __future__ import annotations

from wellkeep.api import answers, shapes
from wellkeep.api.answers import Answer, location
from wellkeep.api.routes import Call, Route
from wellkeep.base.errors import Conflict
from wellkeep.base.permissions import Permission

_ALL = "/v1/tenants"
_ONE = "/v1/tenants/{tenant_id}"


async def create(call: Call) -> Answer:
    """Make a tenant with keys and a log of its own."""
    body: shapes.TenantInput = call.body
    made = await call.runtime.tenants.create(call.caller, name=body.name, kind=body.kind)
    return answers.json(shapes.TenantMade(id=made, name=body.name), status=201, headers=(location(_ALL, made),))


async def list_all(call: Call) -> Answer:
    """Return all tenants."""
    found = await call.runtime.tenants.list(call.caller)
    return answers.json(shapes.Tenants([shapes.tenant(one) for one in found]))


async def close(call: Call) -> Answer:
    """Close a tenant: no act but the platform's from now on."""
    await call.runtime.tenants.close(call.caller, tenant=call.identifier("tenant_id"))
    return Answer(204)


TENANTS = (
    Route(
        method="POST",
        path=_ALL,
        name="tenant_create",
        summary="Make a tenant with keys and a log of its own",
        tag="tenants",
        serve=create,
        permission=Permission.TENANT_CREATE,
        body=shapes.TenantInput,
        returns=shapes.TenantMade,
        status=201,
        answer_headers=("Location",),
        problems=(Conflict,),
        example={"name": "northside-clinic"},
    ),
    Route(
        method="GET",
        path=_ALL,
        name="tenant_list",
        summary="All tenants of the deployment",
        tag="tenants",
        serve=list_all,
        permission=Permission.TENANT_READ,
        returns=shapes.Tenants,
    ),
    Route(
        method="POST",
        path=_ONE + "/close",
        name="tenant_close",
        summary="Close a tenant: no act but the platform's from now on",
        tag="tenants",
        serve=close,
        permission=Permission.TENANT_CHANGE,
        status=204,
    ),
)
