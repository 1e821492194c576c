"""API keys over HTTP, on the administration listener alone. A key itself is shown once, in the answer that makes it."""

from __future__ import annotations

from datetime import timedelta

from wellkeep.access.api_keys import IssuedKey
from wellkeep.api import answers
from wellkeep.api import apikey_shapes as shapes
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
        call.caller,
        tenant=tenant,
        name=body.name,
        roles=body.roles,
        scopes=body.scopes,
        days=body.days,
        bounds=shapes.bounds(body),
    )
    return _issued(issued)


async def rotate(call: Call) -> Answer:
    """Make a key in the place of another, which works on for a while."""
    body: shapes.KeyRotation = call.body
    issued = await call.runtime.api_keys.rotate(
        call.caller,
        tenant=call.identifier("tenant_id"),
        key_id=call.identifier("apikey_id"),
        overlap=timedelta(hours=body.overlap_hours),
        days=body.days,
    )
    return _issued(issued)


async def read(call: Call) -> Answer:
    """Return one key."""
    about = await call.runtime.api_keys.read(
        call.caller, tenant=call.identifier("tenant_id"), key_id=call.identifier("apikey_id")
    )
    return answers.json(shapes.key(about))


async def change(call: Call) -> Answer:
    """Give a key other bounds."""
    about = await call.runtime.api_keys.change(
        call.caller,
        tenant=call.identifier("tenant_id"),
        key_id=call.identifier("apikey_id"),
        bounds=shapes.bounds(call.body),
    )
    return answers.json(shapes.key(about))


def _issued(issued: IssuedKey) -> Answer:
    about = issued.about
    made = shapes.KeyIssued(about=shapes.key(about), key=issued.key.reveal(), old_ends=issued.old_ends)
    return answers.json(made, status=201, headers=(location(f"/v1/tenants/{about.tenant}/apikeys", about.id),))


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
        method="GET",
        path=_ONE,
        name="apikey_read",
        summary="An API key, without its secret",
        tag="apikeys",
        serve=read,
        permission=Permission.APIKEY_READ,
        returns=shapes.Key,
    ),
    Route(
        method="PUT",
        path=_ONE + "/bounds",
        name="apikey_change",
        summary="Bind an API key to networks, requests a minute, records an hour",
        tag="apikeys",
        serve=change,
        permission=Permission.APIKEY_CREATE,
        body=shapes.KeyBounds,
        returns=shapes.Key,
        example={"networks": ["192.0.2.0/24"], "requests": 600, "records": 10000},
    ),
    Route(
        method="POST",
        path=_ONE + "/rotate",
        name="apikey_rotate",
        summary="Make an API key in the place of another, which works on for a while",
        tag="apikeys",
        serve=rotate,
        permission=Permission.APIKEY_CREATE,
        body=shapes.KeyRotation,
        returns=shapes.KeyIssued,
        status=201,
        answer_headers=("Location",),
        example={"overlap_hours": 24},
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
