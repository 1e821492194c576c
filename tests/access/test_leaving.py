"""Promise: whoever leaves can do nothing here any more, not by a key they made, nor by what they had asked for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from access.conftest import Door
from access.signed_in import joined, person, session
from gate.trial import caller
from wellkeep.access.approvals import Approvals, Needing
from wellkeep.access.leaving import Leaving
from wellkeep.access.unused import Unused
from wellkeep.base.errors import Forbidden, NotFound, Unavailable, WellkeepError
from wellkeep.base.ids import uuid7
from wellkeep.base.permissions import Permission
from wellkeep.gate.acts import Act, Caller
from wellkeep.ledger.actions import Action

_STANDS = "SELECT access.stands($1)"
_DISABLE = "UPDATE access.person SET state = 'disabled', disabled_at = now() WHERE id = $1"
_BREAK = """
INSERT INTO access.break_glass (tenant_id, id, person_id, subject_id, again, reason, reason_digest, broken_at, ends_at)
VALUES (wk.tenant(), $1, $2, $1, false, convert_to('WK' || repeat('x', 60), 'UTF8'), sha256('x'), now(),
  now() + interval '1 hour')
"""


async def stands(door: Door, tenant: UUID, credential: UUID | None) -> bool:
    async with door.home.database.entered(tenant) as connection:
        return bool(await connection.fetchval(_STANDS, credential))


async def made(door: Door, by: Caller, tenant: UUID, name: str) -> UUID:
    return (await door.keys.create(by, tenant=tenant, name=name, roles=["administrator"])).about.id


async def test_everything_ends_at_once_and_is_told(door: Door, tenant: UUID) -> None:
    ada = await person(door.home, tenant, "administrator")
    leaver = await person(door.home, tenant, "administrator", "clinician")
    gone = UUID(leaver.principal.id)
    second = await session(door.home, tenant, gone)
    mine = await made(door, leaver, tenant, "mine")
    childs = await made(door, caller(tenant, "administrator", credential=mine), tenant, "childs")
    others = await made(door, ada, tenant, "others")
    approvals = Approvals(gate=door.home.gate, clock=door.clock)
    act = Act(Permission.APPROVAL_GIVE, Action.APPROVAL_REQUESTED, "approval")
    asked = await approvals.request(await door.home.gate.decide(leaver, act), Needing.HOLD_LIFT, target="one")
    granted = await approvals.request(await door.home.gate.decide(ada, act), Needing.HOLD_LIFT, target="two")
    await approvals.decide(leaver, granted, give=True)
    glass = uuid7()
    async with door.home.database.entered(tenant) as connection:
        await connection.execute(_BREAK, glass, gone)
    left = await Leaving(gate=door.home.gate).leave(ada, tenant=tenant, person=gone)
    assert left.disabled
    assert set(left.sessions) == {leaver.principal.credential, second.id}
    assert left.roles == ["administrator", "clinician"]
    assert set(left.keys) == {mine, childs}
    assert set(left.approvals) == {asked, granted}
    assert (left.glasses, left.impersonations, left.care_teams) == ([glass], [], 0)
    for credential in (leaver.principal.credential, second.id, mine, childs):
        assert not await stands(door, tenant, credential)
    assert await stands(door, tenant, others)
    assert {one.state for one in await approvals.listed(ada)} == {"expired"}
    told = [event for event in await door.home.events(tenant) if event["request"] == str(ada.request)]
    actions = [event["action"] for event in told if event["outcome"] == "done"]
    sought = ("user.disabled", "role.revoked", "apikey.revoke", "glass.ended")
    assert [actions.count(one) for one in sought] == [1, 1, 2, 1]
    again = await Leaving(gate=door.home.gate).leave(ada, tenant=tenant, person=gone)
    assert not again.disabled
    assert [*again.sessions, *again.roles, *again.keys, *again.approvals, *again.glasses] == []


async def test_nobody_leaves_by_themselves_and_nobody_elsewhere(door: Door, tenant: UUID, other_tenant: UUID) -> None:
    leaving = Leaving(gate=door.home.gate)
    ada = await person(door.home, tenant, "administrator")
    stranger = await person(door.home, other_tenant, "administrator")
    with pytest.raises(Forbidden, match="themselves"):
        await leaving.leave(ada, tenant=tenant, person=UUID(ada.principal.id))
    with pytest.raises(Forbidden):
        await leaving.leave(stranger, tenant=tenant, person=UUID(ada.principal.id))
    with pytest.raises(NotFound):
        await leaving.leave(stranger, tenant=other_tenant, person=UUID(ada.principal.id))
    with pytest.raises(NotFound):
        await leaving.leave(door.operator, tenant=uuid7(), person=UUID(ada.principal.id))
    clinician = await person(door.home, tenant, "clinician")
    with pytest.raises(Forbidden):
        await leaving.leave(clinician, tenant=tenant, person=UUID(ada.principal.id))
    assert await stands(door, tenant, ada.principal.credential)


async def test_a_key_made_beside_the_leaving_does_not_outlive_it(door: Door, tenant: UUID) -> None:
    """Whichever of the two comes first: the key is not made, or it is revoked with the others."""
    ada = await person(door.home, tenant, "administrator")
    leaver = await person(door.home, tenant, "administrator")
    first = await made(door, leaver, tenant, "first")
    by_key = caller(tenant, "administrator", credential=first)
    racing = [made(door, who, tenant, f"racing-{number}") for number in range(4) for who in (leaver, by_key)]
    leave = Leaving(gate=door.home.gate).leave(ada, tenant=tenant, person=UUID(leaver.principal.id))
    results = await asyncio.gather(*racing, leave, return_exceptions=True)
    assert not isinstance(results[-1], BaseException)
    for result in results[:-1]:
        if isinstance(result, UUID):
            assert not await stands(door, tenant, result)
        else:
            assert isinstance(result, WellkeepError)
            assert result.status in {401, 503}


async def test_a_key_of_somebody_who_was_shut_out_is_not_made(door: Door, tenant: UUID) -> None:
    leaver = await joined(door.home, tenant, "administrator")
    async with door.home.database.entered(tenant) as connection:
        await connection.execute(_DISABLE, leaver)
    stale = Caller(replace(caller(tenant, "administrator").principal, id=str(leaver)), None, uuid7())
    with pytest.raises(Unavailable):
        await made(door, stale, tenant, "late")


async def test_unused_access_is_listed_the_longest_unused_first(door: Door, tenant: UUID, other_tenant: UUID) -> None:
    unused = Unused(gate=door.home.gate, clock=door.clock)
    ada = await person(door.home, tenant, "administrator")
    idle = await joined(door.home, tenant, "coach")
    key = await made(door, ada, tenant, "forgotten")
    assert await unused.listed(ada, tenant=tenant) == []
    door.clock.by = timedelta(days=31)
    assert [one.id for one in await unused.listed(ada, tenant=tenant)] == [key], "never used"
    door.clock.by = timedelta(days=91)
    listed = await unused.listed(ada, tenant=tenant)
    assert {one.person or one.id for one in listed} == {idle, key, UUID(ada.principal.id)}
    assert [one.granted_at for one in listed] != []
    stranger = await person(door.home, other_tenant, "administrator")
    assert {one.person for one in await unused.listed(stranger, tenant=other_tenant)} == {UUID(stranger.principal.id)}
    with pytest.raises(Forbidden):
        await unused.listed(stranger, tenant=tenant)
    with pytest.raises(NotFound):
        await unused.listed(door.operator, tenant=uuid7())
