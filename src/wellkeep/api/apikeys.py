"""API keys over HTTP, on the administration listener alone. A key itself is shown once, in the answer that makes it."""

from __future__ import annotations

from wellkeep.api import answers, shapes
from wellkeep.api.answers import Answer, location
from wellkeep.api.routes import Call, Route
from wellkeep.base.permissions import Permission

_ALL = "/v1/tenants/{tenant_id}/apikeys"
_ONE = _ALL + "/{apikey_id}"


async def create(call: Call) -> Answer:
    """Make a key."""
    body: shapes.KeyInput = call.body
    tenant = call.identifier("tenant_id")
    issued = await call.runtime.api_keys.create(
        call.caller, tenant=tenant, name=body.name, roles=body.roles, scopes=body.scopes, days=body.days
    )
    made = shapes.KeyIssued(about=shapes.key(issued.about), key=issued.key.reveal())
    where = location(f"/v1/tenants/{tenant}/apikeys", issued.about.id)
    return answers.json(made, status=201, headers=(where,))


async def list_all(call: Call) -> Answer:
    """Return the keys of a tenant."""
    found = await call.runtime.api_keys.list(call.caller, tenant=call.identifier("tenant_id"))
    return answers.json(shapes.Keys([shapes.key(about) for about in found]))


async def revoke(call: Call) -> Answer:
    """Revoke a key; every worker refuses it from the next request on."""
    await call.runtime.api_keys.revoke(
        call.caller, tenant=call.identifier("tenant_id"), key_id=call.identifier("apikey_id")
    )
    return Answer(204)


APIKEYS = (
    Route(
        method="POST",
        path=_ALL,
        name="apikey_create",
        summary="Make an API key; it is shown this once",
        tag="apikeys",
        serve=create,
        permission=Permission.APIKEY_CREATE,
        body=shapes.KeyInput,
        returns=shapes.KeyIssued,
        status=201,
        answer_headers=("Location",),
        example={"name": "front-desk", "roles": ["clinician"]},
    ),
    Route(
        method="GET",
        path=_ALL,
        name="apikey_list",
        summary="The API keys of a tenant, without their secrets",
        tag="apikeys",
        serve=list_all,
        permission=Permission.APIKEY_READ,
        returns=shapes.Keys,
    ),
    Route(
        method="DELETE",
        path=_ONE,
        name="apikey_revoke",
        summary="Revoke an API key; it is refused from the next request on",
        tag="apikeys",
        serve=revoke,
        permission=Permission.APIKEY_REVOKE,
        status=204,
    ),
)
