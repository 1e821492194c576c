"""People of a tenant over HTTP: their own administrators' on the public listener, the platform's on its own."""

from __future__ import annotations

from uuid import UUID

from wellkeep.api import account_shapes as shapes
from wellkeep.api import answers
from wellkeep.api.answers import Answer, location
from wellkeep.api.routes import Call, Route
from wellkeep.base.errors import Conflict
from wellkeep.base.permissions import Permission

_OWN = "/v1/users"
_OF_TENANT = "/v1/tenants/{tenant_id}/users"


def _tenant(call: Call) -> UUID:
    """Return whose people the address is about: a named tenant's, else the caller's own."""
    return call.identifier("tenant_id") if "tenant_id" in call.path else call.caller.principal.tenant


def _role(call: Call) -> str:
    """Return the role in the address; what can't be a role's name is one that nobody holds."""
    name = call.path["role"]
    return name if name.isascii() and name.isidentifier() else ""


async def invite(call: Call) -> Answer:
    """Make a person."""
    body: shapes.UserInput = call.body
    accounts = call.runtime.accounts
    made = await accounts.people.invite(
        call.caller, tenant=_tenant(call), email=body.email, name=body.name, roles=body.roles
    )
    where = location(call.raw_path.decode("ascii"), made.person)
    return answers.json(shapes.made(made, accounts.site.authority), status=201, headers=(where,))


async def list_all(call: Call) -> Answer:
    """Return all of them."""
    found = await call.runtime.accounts.people.list(call.caller, tenant=_tenant(call))
    return answers.json(shapes.Users([shapes.user(one) for one in found]))


async def get(call: Call) -> Answer:
    """Return one."""
    person = call.identifier("user_id")
    return answers.json(
        shapes.user(await call.runtime.accounts.people.get(call.caller, tenant=_tenant(call), person=person))
    )


async def change(call: Call) -> Answer:
    """Change one."""
    body: shapes.UserChange = call.body
    people, tenant, person = call.runtime.accounts.people, _tenant(call), call.identifier("user_id")
    await people.change(call.caller, tenant=tenant, person=person, name=body.name, email=body.email)
    return Answer(204)


async def grant(call: Call) -> Answer:
    """Give a role."""
    body: shapes.GrantInput = call.body
    people, tenant, person = call.runtime.accounts.people, _tenant(call), call.identifier("user_id")
    await people.grant(call.caller, tenant=tenant, person=person, role=body.role, until=body.until)
    return Answer(204)


async def revoke(call: Call) -> Answer:
    """Take a role."""
    people, tenant, person = call.runtime.accounts.people, _tenant(call), call.identifier("user_id")
    await people.revoke(call.caller, tenant=tenant, person=person, role=_role(call))
    return Answer(204)


async def disable(call: Call) -> Answer:
    """Let one in no more."""
    people, person = call.runtime.accounts.people, call.identifier("user_id")
    await people.disable(call.caller, tenant=_tenant(call), person=person)
    return Answer(204)


async def enable(call: Call) -> Answer:
    """Let one in again."""
    people, person = call.runtime.accounts.people, call.identifier("user_id")
    await people.enable(call.caller, tenant=_tenant(call), person=person)
    return Answer(204)


async def reset(call: Call) -> Answer:
    """Take the password."""
    body: shapes.ResetInput = call.body
    accounts, person = call.runtime.accounts, call.identifier("user_id")
    made = await accounts.people.reset(call.caller, tenant=_tenant(call), person=person, factors=body.factors)
    return answers.json(shapes.made(made, accounts.site.authority))


def _routes(base: str, prefix: str, whose: str) -> tuple[Route, ...]:
    one = base + "/{user_id}"
    return (
        Route(
            method="POST",
            path=base,
            name=f"{prefix}_create",
            summary=f"Invite a person of {whose}; the link is shown this once, or goes out by mail",
            tag="users",
            serve=invite,
            permission=Permission.USER_CREATE,
            body=shapes.UserInput,
            returns=shapes.UserMade,
            status=201,
            answer_headers=("Location",),
            problems=(Conflict,),
            example={"email": "robin@example.org", "name": "Robin Doe", "roles": ["clinician"]},
        ),
        Route(
            method="GET",
            path=base,
            name=f"{prefix}_list",
            summary=f"The people of {whose}",
            tag="users",
            serve=list_all,
            permission=Permission.USER_READ,
            returns=shapes.Users,
        ),
        *_one(one, prefix),
        *_roles(one, prefix),
        *_comings_and_goings(one, prefix),
    )


def _one(one: str, prefix: str) -> tuple[Route, ...]:
    return (
        Route(
            method="GET",
            path=one,
            name=f"{prefix}_get",
            summary="A person",
            tag="users",
            serve=get,
            permission=Permission.USER_READ,
            returns=shapes.User,
        ),
        Route(
            method="PATCH",
            path=one,
            name=f"{prefix}_change",
            summary="Change a person's name or e-mail",
            tag="users",
            serve=change,
            permission=Permission.USER_CHANGE,
            body=shapes.UserChange,
            status=204,
            problems=(Conflict,),
            example={"name": "Robin Doe"},
        ),
    )


def _roles(one: str, prefix: str) -> tuple[Route, ...]:
    return (
        Route(
            method="POST",
            path=one + "/roles",
            name=f"{prefix}_grant",
            summary="Give a person a role; never to oneself",
            tag="users",
            serve=grant,
            permission=Permission.USER_CHANGE,
            body=shapes.GrantInput,
            status=204,
            problems=(Conflict,),
            example={"role": "clinician"},
        ),
        Route(
            method="DELETE",
            path=one + "/roles/{role}",
            name=f"{prefix}_revoke",
            summary="Take a role from a person; their sessions end at once",
            tag="users",
            serve=revoke,
            permission=Permission.USER_CHANGE,
            status=204,
        ),
    )


def _comings_and_goings(one: str, prefix: str) -> tuple[Route, ...]:
    return (
        Route(
            method="POST",
            path=one + "/disable",
            name=f"{prefix}_disable",
            summary="Let a person in no more; their sessions end at once",
            tag="users",
            serve=disable,
            permission=Permission.USER_CHANGE,
            status=204,
        ),
        Route(
            method="POST",
            path=one + "/enable",
            name=f"{prefix}_enable",
            summary="Let a disabled person in again",
            tag="users",
            serve=enable,
            permission=Permission.USER_CHANGE,
            status=204,
        ),
        Route(
            method="POST",
            path=one + "/reset",
            name=f"{prefix}_reset",
            summary="Take a person's password, and the second factors if asked, and get a link for a new one",
            tag="users",
            serve=reset,
            permission=Permission.USER_CHANGE,
            body=shapes.ResetInput,
            returns=shapes.UserMade,
            problems=(Conflict,),
            example={"factors": False},
        ),
    )


USERS = _routes(_OWN, "user", "your tenant")
TENANT_USERS = _routes(_OF_TENANT, "tenant_user", "a tenant")
