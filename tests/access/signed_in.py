"""People of a tenant, signed in without the steps that lead there: for tests of what they may do once they are."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from database import Database
from wellkeep.access.operators import operator
from wellkeep.access.people import People
from wellkeep.access.sessions import Begun, Sessions, Via, Visitor
from wellkeep.base.ids import uuid7
from wellkeep.base.principal import ActorType, AuthMethod, Principal
from wellkeep.base.purpose import Purpose
from wellkeep.gate.acts import Caller
from wellkeep.gate.gate import Gate

IP, AGENT = "192.0.2.7", "0123456789abcdef"
_JOIN = "UPDATE access.person SET state = 'active', joined_at = clock_timestamp() WHERE id = $1"
_STALE = "UPDATE access.session SET proved_at = proved_at - interval '11 minutes' WHERE id = $1"


class House(Protocol):
    """What both `api.stack.Stack` and `gate.trial.House` are."""

    @property
    def gate(self) -> Gate: ...
    @property
    def database(self) -> Database: ...


async def joined(house: House, tenant: UUID, *roles: str, email: str | None = None) -> UUID:
    """Return a new person of `tenant` with these roles, who has taken the invitation."""
    by = Caller(operator("root"), None, uuid7())
    address = email or f"{uuid7().hex}@example.org"
    invited = await People(gate=house.gate).invite(by, tenant=tenant, email=address, name="Robin Doe", roles=roles)
    async with house.database.entered(tenant) as connection:
        await connection.execute(_JOIN, invited.person)
    return invited.person


async def session(
    house: House, tenant: UUID, person: UUID, *, mfa: bool = True, fresh: bool = True, ip: str | None = IP
) -> Begun:
    """Return a new session of `person`; without `fresh` the second factor was shown eleven minutes ago."""
    visitor = Visitor(request=uuid7(), ip=ip, agent=AGENT)
    begun = await Sessions(gate=house.gate).begin(
        tenant=tenant, person=person, via=Via(method="password"), mfa=mfa, visitor=visitor
    )
    if mfa and not fresh:
        async with house.database.connect() as connection:
            await connection.execute(_STALE, begun.id)
    return begun


async def person(
    house: House,
    tenant: UUID,
    *roles: str,
    mfa: bool = True,
    fresh: bool = True,
    purpose: Purpose | None = None,
) -> Caller:
    """Return a new person of `tenant` with these roles, signed in: for calls of services."""
    begun = await session(house, tenant, await joined(house, tenant, *roles), mfa=mfa, fresh=fresh)
    principal = Principal(
        type=ActorType.PERSON,
        id=str(begun.person),
        tenant=tenant,
        roles=tuple(sorted(roles)),
        method=AuthMethod.SESSION,
        credential=begun.id,
        mfa=mfa,
        fresh=mfa and fresh,
    )
    return Caller(principal, purpose, uuid7(), IP, AGENT)


def sent_by(begun: Begun) -> dict[str, str]:
    """Return the headers that a browser with this session sends from our own pages: for calls of the API."""
    cookie = f"__Host-wk_session={begun.cookie.reveal()}"
    return {"Cookie": cookie, "X-CSRF-Token": begun.csrf, "Sec-Fetch-Site": "same-origin"}


async def browser(house: House, tenant: UUID, *roles: str, mfa: bool = True, fresh: bool = True) -> dict[str, str]:
    """Return the headers of a new person with these roles who is signed in: for calls of the API.

    The session was begun from no address: the test's client has one of its own.
    """
    begun = await session(house, tenant, await joined(house, tenant, *roles), mfa=mfa, fresh=fresh, ip=None)
    return sent_by(begun)
