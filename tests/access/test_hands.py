"""Promise: one person is one person, whichever keys they made, and whoever was shut out has no say any more."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import pytest

from access.conftest import Door
from access.signed_in import person
from gate.trial import caller
from wellkeep.access.approvals import Approvals, Needing
from wellkeep.access.leaving import Leaving
from wellkeep.access.people import People
from wellkeep.base.errors import ApprovalNeeded, Conflict, Forbidden, WellkeepError
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.permissions import Permission
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.ledger.actions import Action

_ASKED = Act(Permission.APPROVAL_GIVE, Action.APPROVAL_REQUESTED, "approval")
_RESET = """
INSERT INTO access.invitation (tenant_id, id, person_id, kind, digest, created_at, expires_at, used_at)
SELECT $1, $2, $3, 'reset', sha256('x'), now, now + interval '1 hour', now FROM (SELECT clock_timestamp() AS now) AS at
"""
_DISABLE = "UPDATE access.person SET state = 'disabled', disabled_at = now() WHERE id = $1"
_REVOKE = "UPDATE access.api_key SET revoked_at = clock_timestamp() WHERE id = $1"
_ERASE = "DELETE FROM access.person WHERE id = $1"
_GIVE = """
UPDATE access.approval SET state = 'given', decided_by = $2, decided_at = clock_timestamp() WHERE id = $1
"""


@dataclass
class Two:
    """Two administrators of a customer, two of the platform's staff, and what waits for approval."""

    door: Door
    approvals: Approvals
    tenant: UUID
    ada: Caller
    ben: Caller
    staff: Caller
    mate: Caller

    async def key(self, maker: Caller, *, tenant: UUID | None = None) -> Caller:
        """Return a key that `maker` made in their own tenant."""
        home = tenant or maker.principal.tenant
        made = await self.door.keys.create(maker, tenant=home, name=uuid7().hex, roles=["administrator"])
        return caller(home, "administrator", credential=made.about.id)

    async def heir(self, maker: Caller, old: Caller) -> Caller:
        """Return the key that took over from another."""
        key = old.principal.credential
        assert key is not None
        made = await self.door.keys.rotate(maker, tenant=old.principal.tenant, key_id=key, overlap=timedelta(hours=1))
        return caller(old.principal.tenant, "administrator", credential=made.about.id)

    async def decided(self, who: Caller) -> Decision:
        """Return the decision under which `who` asks in the customer's tenant."""
        away = None if who.principal.tenant == self.tenant else self.tenant
        act = Act(_ASKED.permission, _ASKED.action, _ASKED.resource_type, tenant=away)
        return await self.door.home.gate.decide(who, act)

    async def ask(self, who: Caller) -> UUID:
        """Ask as `who` for an act in the customer's tenant."""
        return await self.approvals.request(await self.decided(who), Needing.HOLD_LIFT, target="t")

    async def use(self, who: Caller, *, as_decider: bool = False) -> UUID:
        """Use what was given, as an act does."""
        decision = await self.decided(who)
        async with self.door.home.gate.transaction(decision) as work:
            method = self.approvals.use_as_decider if as_decider else self.approvals.use
            used = await method(work.connection, decision, Needing.HOLD_LIFT, target="t")
            work.record()
        return used

    async def owner(self, sql: str, *arguments: object) -> None:
        async with self.door.home.database.connect() as connection:
            await connection.execute(sql, *arguments)


@pytest.fixture
async def two(door: Door, tenant: UUID) -> Two:
    people = [await person(door.home, place, "administrator") for place in (tenant, tenant, *[PLATFORM_TENANT] * 2)]
    return Two(door, Approvals(gate=door.home.gate, clock=door.clock), tenant, *people)


async def test_a_person_and_a_key_of_theirs_are_not_two(two: Two) -> None:
    mine = await two.key(two.ada)
    childs = await two.key(mine)
    second = await two.key(two.ada)
    heir = await two.heir(two.ben, await two.key(two.ada))
    pairs = [(two.ada, mine), (mine, two.ada), (two.ada, childs), (childs, mine), (mine, second), (second, heir)]
    for asks, decides in pairs:
        wanted = await two.ask(asks)
        with pytest.raises(Forbidden):
            await two.approvals.decide(decides, wanted, give=True)
        with pytest.raises(ApprovalNeeded):
            await two.use(asks)
        assert (await two.approvals.decide(two.ben, wanted, give=False)).state == "refused"
    bens = await two.key(two.ben)
    wanted = await two.ask(mine)
    assert (await two.approvals.decide(bens, wanted, give=True)).state == "given"
    assert await two.use(mine) == wanted


async def test_staff_and_a_key_of_theirs_in_another_tenant_are_not_two(two: Two) -> None:
    """Hands are followed from the platform's tenant into a customer's, and back."""
    theirs = await two.key(two.ben)
    staffs = await two.key(two.staff)
    await two.owner(
        "UPDATE access.api_key SET created_by = $2 WHERE id = $1", theirs.principal.credential, staffs.principal.id
    )
    for asks, decides in ((two.staff, theirs), (theirs, two.staff), (theirs, staffs)):
        wanted = await two.ask(asks)
        with pytest.raises(Forbidden, match="behind"):
            await two.approvals.decide(decides, wanted, give=True)
        await two.approvals.decide(two.mate, wanted, give=False)
    wanted = await two.ask(theirs)
    assert (await two.approvals.decide(two.mate, wanted, give=True)).state == "given"


async def test_who_came_after_the_request_or_was_given_a_password_decides_nothing(two: Two) -> None:
    before = await person(two.door.home, two.tenant, "privacy_officer")
    wanted = await two.ask(two.ada)
    late = await person(two.door.home, two.tenant, "privacy_officer")
    with pytest.raises(Forbidden, match="came after"):
        await two.approvals.decide(late, wanted, give=True)
    await two.owner(_RESET, two.tenant, uuid7(), UUID(two.ben.principal.id))
    with pytest.raises(Forbidden, match="came after"):  # whoever asked may have set it
        await two.approvals.decide(two.ben, wanted, give=True)
    assert (await two.approvals.decide(before, wanted, give=True)).state == "given"


@pytest.mark.parametrize("end", ["disabled", "left", "erased", "role", "key-of-disabled", "key", "maker"])
@pytest.mark.parametrize("whose", ["customers", "platforms"])
async def test_what_was_approved_by_whoever_was_shut_out_since_is_not_done(two: Two, end: str, whose: str) -> None:
    decider = two.mate if whose == "platforms" else two.ben
    home = decider.principal.tenant
    key = await two.key(decider)
    childs = await two.key(key)
    wanted = await two.ask(two.ada)
    deciding = {"key-of-disabled": key, "key": key, "maker": childs}.get(end, decider)
    await two.approvals.decide(deciding, wanted, give=True)
    who = UUID(decider.principal.id)
    people = People(gate=two.door.home.gate)
    if end in {"disabled", "key-of-disabled"}:
        await people.disable(two.door.operator, tenant=home, person=who)
    elif end == "left":
        await Leaving(gate=two.door.home.gate).leave(two.door.operator, tenant=home, person=who)
    elif end == "role":
        await people.revoke(two.door.operator, tenant=home, person=who, role="administrator")
    elif end == "erased":
        await two.owner(_ERASE, who)
    else:
        await two.owner(_REVOKE, key.principal.credential)
    with pytest.raises(ApprovalNeeded):
        await two.use(two.ada)
    again = await two.ask(two.ada)
    assert again != wanted
    await two.approvals.decide(two.staff, again, give=True)
    assert await two.use(two.ada) == again


async def test_what_somebody_asked_for_who_was_shut_out_since_is_not_approved_nor_done(two: Two) -> None:
    wanted = await two.ask(two.mate)
    await two.owner(_DISABLE, UUID(two.mate.principal.id))
    with pytest.raises(Conflict, match="shut out"):
        await two.approvals.decide(two.ben, wanted, give=True)
    anew = await two.ask(two.ada)  # nobody waits for a request that nobody can use
    assert anew != wanted
    await two.approvals.decide(two.ben, anew, give=True)
    await two.owner(_DISABLE, UUID(two.ada.principal.id))
    with pytest.raises(ApprovalNeeded):
        await two.use(two.ben, as_decider=True)


async def test_who_decided_does_it_where_the_decision_is_the_act(two: Two) -> None:
    wanted = await two.ask(two.ada)
    await two.approvals.decide(two.ben, wanted, give=True)
    with pytest.raises(ApprovalNeeded):
        await two.use(two.ada, as_decider=True)
    assert await two.use(two.ben, as_decider=True) == wanted


async def test_a_decider_who_is_shut_out_just_then_and_one_who_is_not(two: Two) -> None:
    """Either the act came first, or the approval was none: never both answers at once, and never used twice."""
    key = await two.key(two.ben)
    wanted = await two.ask(two.ada)
    await two.approvals.decide(key, wanted, give=True)
    assert key.principal.credential is not None
    used, _ = await asyncio.gather(
        two.use(two.ada),
        two.door.keys.revoke(two.ada, tenant=two.tenant, key_id=key.principal.credential),
        return_exceptions=True,
    )
    assert used == wanted or isinstance(used, ApprovalNeeded)
    with pytest.raises(ApprovalNeeded):
        await two.use(two.ada)


async def test_not_even_sql_of_ours_approves_by_a_key_of_who_asked(two: Two) -> None:
    mine = await two.key(two.ada)
    wanted = await two.ask(two.ada)
    with pytest.raises(WellkeepError) as refused:
        async with two.door.home.pool.tenant_transaction(tenant=two.tenant) as connection:
            await connection.execute(_GIVE, wanted, f"api_key:{mine.principal.id}")
    assert any("23514" in note for note in refused.value.__notes__)


async def test_an_operator_issues_keys_for_others(two: Two) -> None:
    """As with reviews: who issued a key at the machine is not taken for the hands behind it."""
    first, second = [await two.key(two.door.operator, tenant=two.tenant) for _ in range(2)]
    wanted = await two.ask(first)
    assert (await two.approvals.decide(second, wanted, give=True)).state == "given"
