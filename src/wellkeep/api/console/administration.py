"""The pages of the administration listener: tenants, their API keys, people and providers, and how all of it stands."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from wellkeep.access.tenants import Tenant
from wellkeep.api.answers import Answer
from wellkeep.api.console import shown
from wellkeep.api.routes import Call, Route
from wellkeep.base.errors import NotFound
from wellkeep.base.permissions import Permission
from wellkeep.web import console_administration as pages
from wellkeep.web.console import Frame

_TENANTS: Final = "Tenants"
_SETTINGS: Final = "Settings"


async def tenants(call: Call) -> Answer:
    """Show every tenant of the deployment."""
    frame = await shown.inside(call, _TENANTS)
    found = await call.runtime.tenants.list(call.caller)
    return shown.answer(pages.tenants(frame, found, at=call.runtime.publishing.clock.now()), frame)


async def tenant(call: Call) -> Answer:
    """Show one tenant: its API keys, people and identity providers, each to whom it may be shown."""
    frame = await shown.inside(call, _TENANTS)
    found = await _tenant(call, call.identifier("tenant_id"))
    runtime, caller = call.runtime, call.caller
    keys = people = providers = None
    if Permission.APIKEY_READ in frame.offers:
        keys = await runtime.api_keys.list(caller, tenant=found.id)
    if Permission.USER_READ in frame.offers:
        people = await runtime.accounts.people.list(caller, tenant=found.id)
    if Permission.PROVIDER_READ in frame.offers:
        providers = await runtime.single_sign_on.providers.list(caller, tenant=found.id)
    at = runtime.publishing.clock.now()
    return shown.answer(pages.tenant(frame, found, keys=keys, people=people, providers=providers, at=at), frame)


async def api_keys(call: Call) -> Answer:
    """Show the API keys of the caller's own tenant."""
    frame = await shown.inside(call, "API keys")
    tenant = call.caller.principal.tenant
    keys = await call.runtime.api_keys.list(call.caller, tenant=tenant)
    at = call.runtime.publishing.clock.now()
    page = pages.api_keys(frame, tenant, keys=keys, roles=await _roles(call, frame), at=at)
    return shown.answer(page, frame)


async def settings(call: Call) -> Answer:
    """Show how the deployment stands."""
    frame = await shown.inside(call, _SETTINGS)
    condition = await call.runtime.conditions.read(call.caller)
    places = await call.runtime.egress_list.listed(call.caller) if Permission.EGRESS_READ in frame.offers else None
    public = await call.runtime.publishing.shown()
    at = call.runtime.publishing.clock.now()
    return shown.answer(pages.settings(frame, condition, public.anchors, places, at=at), frame)


async def doctor(call: Call) -> Answer:
    """Show what stands between the deployment and production."""
    frame = await shown.inside(call, _SETTINGS)
    return shown.answer(pages.doctor(frame, await call.runtime.conditions.examine(call.caller)), frame)


async def _tenant(call: Call, wanted: UUID) -> Tenant:
    """Return a tenant. Raises NotFound."""
    for one in await call.runtime.tenants.list(call.caller):
        if one.id == wanted:
            return one
    raise NotFound


async def _roles(call: Call, frame: Frame) -> list[str]:
    """Return the names of the roles that can be given, where the reader may know them."""
    if Permission.ROLE_READ not in frame.offers:
        return []
    return [one.name for one in await call.runtime.policies.roles.list(call.caller) if one.issuable]


ADMINISTRATION: Final = (
    Route(
        method="GET",
        path="/console/tenants",
        name="console_tenants",
        summary="The tenants of the deployment, to read",
        tag="console",
        serve=tenants,
        permission=Permission.TENANT_READ,
        answer_media="text/html",
        refuse=shown.refused,
    ),
    Route(
        method="GET",
        path="/console/tenants/{tenant_id}",
        name="console_tenant",
        summary="A tenant with its API keys, people and identity providers, to read",
        tag="console",
        serve=tenant,
        permission=Permission.TENANT_READ,
        answer_media="text/html",
        problems=(NotFound,),
        refuse=shown.refused,
    ),
    Route(
        method="GET",
        path="/console/apikeys",
        name="console_apikeys",
        summary="The API keys of your tenant, to read",
        tag="console",
        serve=api_keys,
        permission=Permission.APIKEY_READ,
        answer_media="text/html",
        refuse=shown.refused,
    ),
    Route(
        method="GET",
        path="/console/settings",
        name="console_settings",
        summary="How the deployment stands, to read",
        tag="console",
        serve=settings,
        permission=Permission.DEPLOYMENT_READ,
        answer_media="text/html",
        refuse=shown.refused,
    ),
    Route(
        method="GET",
        path="/console/settings/doctor",
        name="console_doctor",
        summary="What stands between the deployment and production, to read",
        tag="console",
        serve=doctor,
        permission=Permission.DEPLOYMENT_READ,
        answer_media="text/html",
        weight=5,
        refuse=shown.refused,
    ),
)
