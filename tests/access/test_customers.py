"""Promise: staff of the platform let nobody in to a customer's patients: they found a tenant, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import pytest

from access.conftest import Door
from access.signed_in import joined, person
from gate.trial import caller
from wellkeep.access.api_keys import Bounds
from wellkeep.access.leaving import Leaving
from wellkeep.access.people import Invited, People
from wellkeep.base.errors import Conflict, Forbidden
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.gate.acts import Caller

_OVER = "UPDATE access.invitation SET created_at = created_at - interval '1 day', expires_at = clock_timestamp()"
_JOIN = "UPDATE access.person SET state = 'active', joined_at = clock_timestamp() WHERE id = $1"


async def staff(door: Door, kind: str) -> Caller:
    """Return an administrator of the platform: a person, or a key."""
    ada = await person(door.home, PLATFORM_TENANT, "administrator")
    if kind == "person":
        return ada
    made = await door.keys.create(ada, tenant=PLATFORM_TENANT, name="desk", roles=["administrator"])
    return caller(PLATFORM_TENANT, "administrator", credential=made.about.id)


async def invited(door: Door, who: Caller, tenant: UUID, *roles: str) -> Invited:
    email = f"{uuid7().hex}@example.org"
    return await People(gate=door.home.gate).invite(who, tenant=tenant, email=email, name="Kim", roles=roles)


async def owner(door: Door, sql: str, *arguments: object) -> None:
    async with door.home.database.connect() as connection:
        await connection.execute(sql, *arguments)


@pytest.mark.parametrize("kind", ["person", "key"])
async def test_staff_let_nobody_in_and_take_away_what_must_be(door: Door, tenant: UUID, kind: str) -> None:
    who, people = await staff(door, kind), People(gate=door.home.gate)
    theirs = await joined(door.home, tenant, "administrator")
    key = (await door.keys.create(door.operator, tenant=tenant, name="theirs", roles=["coach"])).about.id
    ways: list[Callable[[], Awaitable[object]]] = [
        lambda: door.keys.create(who, tenant=tenant, name="mine", roles=["integration"]),
        lambda: door.keys.create(who, tenant=tenant, name="mine", roles=["administrator"]),
        lambda: door.keys.rotate(who, tenant=tenant, key_id=key, overlap=timedelta()),
        lambda: door.keys.change(who, tenant=tenant, key_id=key, bounds=Bounds()),
        lambda: invited(door, who, tenant, "clinician"),
        lambda: invited(door, who, tenant, "administrator"),
        lambda: invited(door, who, tenant),
        lambda: people.grant(who, tenant=tenant, person=theirs, role="clinician"),
        lambda: people.change(who, tenant=tenant, person=theirs, email="mine@example.org"),
        lambda: people.reset(who, tenant=tenant, person=theirs, factors=True),
        lambda: people.enable(who, tenant=tenant, person=theirs),
    ]
    for way in ways:
        with pytest.raises(Forbidden, match="customer's own administrator"):
            await way()
    told = [event for event in await door.home.events(tenant) if who.principal.id in str(event["actor"])]
    assert [(event["outcome"], event["error"]) for event in told] == [("failed", "forbidden")] * len(ways)
    await people.change(who, tenant=tenant, person=theirs, name="Robin")
    await door.keys.revoke(who, tenant=tenant, key_id=key)
    await people.disable(who, tenant=tenant, person=theirs)
    await Leaving(gate=door.home.gate).leave(who, tenant=tenant, person=theirs)
    for way in ways:  # whoever takes the last administrator away does not found the tenant anew
        with pytest.raises((Forbidden, Conflict)):
            await way()
    assert (await invited(door, door.operator, tenant, "administrator")).invitation.token is not None


@pytest.mark.parametrize("kind", ["person", "key"])
async def test_staff_found_a_tenant_by_one_invitation_that_opens_nothing(door: Door, tenant: UUID, kind: str) -> None:
    who, people = await staff(door, kind), People(gate=door.home.gate)
    wrong = [("clinician",), ("administrator", "clinician"), ("privacy_officer",), ("auditor",), ()]
    for roles in wrong:
        with pytest.raises(Forbidden, match="first administrator"):
            await invited(door, who, tenant, *roles)
    first = await invited(door, who, tenant, "administrator")
    with pytest.raises(Forbidden, match="invitation is open"):
        await invited(door, who, tenant, "administrator")
    again = await people.reset(who, tenant=tenant, person=first.person)
    assert again.invitation.id != first.invitation.id, "the link that was lost is worth nothing"
    await owner(door, _OVER)
    second = await invited(door, who, tenant, "administrator")
    with pytest.raises(Forbidden, match="invitation is open"):
        await people.reset(who, tenant=tenant, person=first.person)
    await owner(door, _JOIN, second.person)
    await owner(door, _OVER)
    with pytest.raises(Forbidden):
        await invited(door, who, tenant, "administrator")
    with pytest.raises(Forbidden):
        await people.reset(who, tenant=tenant, person=first.person)
    actions = [event["action"] for event in await door.home.events(tenant) if event["outcome"] == "done"]
    assert actions == ["user.invited", "user.changed", "user.invited"], "in the customer's own log"


async def test_two_invitations_at_once_found_it_once(door: Door, tenant: UUID) -> None:
    who = await staff(door, "person")
    tried = await asyncio.gather(
        *(invited(door, who, tenant, "administrator") for _ in range(4)), return_exceptions=True
    )
    assert sum(isinstance(one, Invited) for one in tried) == 1
    assert sum(isinstance(one, Forbidden) for one in tried) == 3


@pytest.mark.parametrize("role", ["administrator", "integration"])
async def test_where_a_key_ever_was_there_are_patients_and_nothing_to_found(
    door: Door, tenant: UUID, role: str
) -> None:
    who = await staff(door, "person")
    key = (await door.keys.create(door.operator, tenant=tenant, name="root", roles=[role])).about.id
    await door.keys.revoke(who, tenant=tenant, key_id=key)
    with pytest.raises(Forbidden, match="let in already"):
        await invited(door, who, tenant, "administrator")


async def test_in_their_own_tenant_staff_are_administrators_as_any(door: Door) -> None:
    who, people = await staff(door, "person"), People(gate=door.home.gate)
    made = await invited(door, who, PLATFORM_TENANT, "support")
    await people.grant(who, tenant=PLATFORM_TENANT, person=made.person, role="auditor")
    await people.reset(who, tenant=PLATFORM_TENANT, person=made.person)
