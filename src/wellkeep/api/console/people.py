"""The pages of a tenant's people, for its own administrators."""

from __future__ import annotations

from typing import Final

from wellkeep.api.answers import Answer
from wellkeep.api.console import shown
from wellkeep.api.routes import Call, Route
from wellkeep.base.errors import NotFound
from wellkeep.base.permissions import Permission
from wellkeep.web import console_people
from wellkeep.web.console import Frame

_HERE: Final = "People"


async def everybody(call: Call) -> Answer:
    """Show the people of the caller's tenant."""
    frame = await shown.inside(call, _HERE)
    tenant = call.caller.principal.tenant
    people = await call.runtime.accounts.people.list(call.caller, tenant=tenant)
    at = call.runtime.publishing.clock.now()
    return shown.answer(console_people.everybody(frame, people, await _roles(call, frame), at=at), frame)


async def somebody(call: Call) -> Answer:
    """Show one of them."""
    frame = await shown.inside(call, _HERE)
    tenant, person = call.caller.principal.tenant, call.identifier("user_id")
    found = await call.runtime.accounts.people.get(call.caller, tenant=tenant, person=person)
    at = call.runtime.publishing.clock.now()
    oneself = str(found.id) == call.caller.principal.id
    page = console_people.somebody(frame, found, await _roles(call, frame), at=at, oneself=oneself)
    return shown.answer(page, frame)


async def _roles(call: Call, frame: Frame) -> list[str]:
    """Return the names of the roles that can be given, where the reader may know them and give one."""
    if not {Permission.ROLE_READ, Permission.USER_CREATE} <= frame.offers:
        return []
    return [one.name for one in await call.runtime.policies.roles.list(call.caller) if one.issuable]


PEOPLE: Final = (
    Route(
        method="GET",
        path="/console/people",
        name="console_people",
        summary="The people of your tenant, to read",
        tag="console",
        serve=everybody,
        permission=Permission.USER_READ,
        answer_media="text/html",
        refuse=shown.refused,
    ),
    Route(
        method="GET",
        path="/console/people/{user_id}",
        name="console_person",
        summary="A person of your tenant, to read",
        tag="console",
        serve=somebody,
        permission=Permission.USER_READ,
        answer_media="text/html",
        problems=(NotFound,),
        refuse=shown.refused,
    ),
)
