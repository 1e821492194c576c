"""Promise: what takes two people is done by no one alone: not by asking twice, by a second key, or too late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from database import Database
from vault.stack import Stack, open_stack
from wellkeep.access.approvals import Approvals, Needing, name_of
from wellkeep.access.operators import operator
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import ApprovalNeeded, Conflict, Forbidden, NotFound, Unauthenticated, WellkeepError
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.principal import ActorType, AuthMethod, Principal
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.ledger.event import Action

_KEY = """
INSERT INTO access.api_key (tenant_id, id, name, prefix, digest, roles, created_at, expires_at)
VALUES ($1, $2::uuid, 'key-' || right($2::uuid::text, 12), 'wk_live_' || replace($2::uuid::text, '-', ''),
        sha256('x'::bytea), '{administrator}', $3, now() + interval '1 day')
"""


class _Late(SystemClock):
    """A clock that can be set forward."""

    ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


@pytest.fixture
async def stack(database: Database, tenant: UUID, other_tenant: UUID) -> AsyncIterator[Stack]:
    async with open_stack(database, tenant, other_tenant) as opened:
        yield opened


@pytest.fixture
def clock() -> _Late:
    return _Late()


@pytest.fixture
def approvals(stack: Stack, clock: _Late) -> Approvals:
    return Approvals(gate=stack.gate, clock=clock)


def person(name: str) -> Caller:
    """Return an operator of that account."""
    return Caller(operator(name), None, uuid7())


async def asking(stack: Stack, caller: Caller, tenant: UUID | None = None) -> Decision:
    """Return the decision that permits an act that takes two."""
    act = Act(Permission.TENANT_ERASE, Action.TENANT_ERASED, "tenant", str(stack.tenant), tenant=tenant)
    return await stack.gate.decide(caller, act)


async def use(stack: Stack, approvals: Approvals, decision: Decision, target: str = "t") -> UUID:
    """Use the approval in a transaction, as an act does."""
    async with stack.gate.transaction(decision) as work:
        used = await approvals.use(work.connection, decision, Needing.TENANT_ERASE, target=target)
        work.record()
    return used


async def test_one_asks_another_approves_and_the_act_is_done_once(stack: Stack, approvals: Approvals) -> None:
    decision = await asking(stack, person("ada"), stack.tenant)
    with pytest.raises(ApprovalNeeded):
        await use(stack, approvals, decision)
    wanted = await approvals.request(decision, Needing.TENANT_ERASE, target="t")
    assert await approvals.request(decision, Needing.TENANT_ERASE, target="t") == wanted
    with pytest.raises(ApprovalNeeded):
        await use(stack, approvals, decision)
    with pytest.raises(Forbidden, match="yourself"):
        await approvals.decide(person("ada"), wanted, give=True)
    given = await approvals.decide(person("grace"), wanted, give=True)
    assert (given.state, given.decided_by, given.requested_by) == ("given", "operator:grace", "operator:ada")
    with pytest.raises(ApprovalNeeded):
        await use(stack, approvals, decision, target="another")
    with pytest.raises(ApprovalNeeded):  # whoever approved does not act upon it
        await use(stack, approvals, await asking(stack, person("grace"), stack.tenant))
    assert await use(stack, approvals, decision) == wanted
    with pytest.raises(ApprovalNeeded):
        await use(stack, approvals, decision)
    for give in (True, False):
        with pytest.raises(Conflict):
            await approvals.decide(person("grace"), wanted, give=give)
    assert [one.state for one in await approvals.listed(person("ada"))] == ["used"]
    assert [row["outcome"] for row in await stack.entries("approval.given")].count("done") == 1


async def test_an_act_that_fails_gives_its_approval_back(stack: Stack, approvals: Approvals) -> None:
    decision = await asking(stack, person("ada"), stack.tenant)
    wanted = await approvals.request(decision, Needing.TENANT_ERASE, target="t")
    await approvals.decide(person("grace"), wanted, give=True)

    async def failing() -> None:
        async with stack.gate.transaction(decision) as work:
            await approvals.use(work.connection, decision, Needing.TENANT_ERASE, target="t")
            raise Conflict

    with pytest.raises(Conflict):
        await failing()
    assert await use(stack, approvals, decision) == wanted


async def test_twins_use_it_once_and_two_decisions_at_once_are_one(stack: Stack, approvals: Approvals) -> None:
    decision = await asking(stack, person("ada"), stack.tenant)
    wanted = await approvals.request(decision, Needing.TENANT_ERASE, target="t")
    deciding = [approvals.decide(person(name), wanted, give=name != "eve") for name in ("grace", "eve", "bob")]
    results = await asyncio.gather(*deciding, return_exceptions=True)
    assert sum(isinstance(one, Conflict) for one in results) == 2
    if (await approvals.listed(person("ada")))[0].state == "refused":
        wanted = await approvals.request(decision, Needing.TENANT_ERASE, target="t")
        await approvals.decide(person("grace"), wanted, give=True)
    used = await asyncio.gather(*(use(stack, approvals, decision) for _ in range(3)), return_exceptions=True)
    assert [one for one in used if not isinstance(one, BaseException)] == [wanted]
    assert sum(isinstance(one, ApprovalNeeded) for one in used) == 2


async def test_a_refusal_ends_it_and_another_can_not_ask_beside_it(stack: Stack, approvals: Approvals) -> None:
    decision = await asking(stack, person("ada"), stack.tenant)
    wanted = await approvals.request(decision, Needing.TENANT_ERASE, target="t")
    with pytest.raises(Conflict):
        await approvals.request(await asking(stack, person("grace"), stack.tenant), Needing.TENANT_ERASE, target="t")
    assert (await approvals.decide(person("grace"), wanted, give=False)).state == "refused"
    with pytest.raises(ApprovalNeeded):
        await use(stack, approvals, decision)
    assert await approvals.request(decision, Needing.TENANT_ERASE, target="t") != wanted


async def test_seven_days_and_no_longer(stack: Stack, approvals: Approvals, clock: _Late) -> None:
    decision = await asking(stack, person("ada"), stack.tenant)
    waiting = await approvals.request(decision, Needing.TENANT_ERASE, target="waits")
    given = await approvals.request(decision, Needing.TENANT_ERASE, target="given")
    await approvals.decide(person("grace"), given, give=True)
    clock.ahead = timedelta(days=7, seconds=5)
    with pytest.raises(Conflict, match="seven days"):
        await approvals.decide(person("grace"), waiting, give=True)
    with pytest.raises(ApprovalNeeded):
        await use(stack, approvals, decision, target="given")
    assert {one.state for one in await approvals.listed(person("ada"))} == {"expired"}
    assert await approvals.request(decision, Needing.TENANT_ERASE, target="given") != given


def key(tenant: UUID, credential: UUID, role: str) -> Caller:
    """Return a caller with a key that is stored."""
    principal = Principal(
        type=ActorType.API_KEY,
        id=str(credential),
        tenant=tenant,
        roles=(role,),
        method=AuthMethod.API_KEY,
        credential=credential,
    )
    return Caller(principal, None, uuid7())


async def test_a_key_made_for_the_occasion_decides_nothing(stack: Stack, approvals: Approvals) -> None:
    old, new = uuid7(), uuid7()
    now = stack.clock.now()
    await stack.as_superuser(_KEY, PLATFORM_TENANT, old, now - timedelta(hours=1))
    wanted = await approvals.request(await asking(stack, person("ada"), stack.tenant), Needing.TENANT_ERASE, target="t")
    await stack.as_superuser(_KEY, PLATFORM_TENANT, new, stack.clock.now())
    with pytest.raises(Forbidden, match="came after"):
        await approvals.decide(key(PLATFORM_TENANT, new, "administrator"), wanted, give=True)
    given = await approvals.decide(key(PLATFORM_TENANT, old, "administrator"), wanted, give=True)
    assert given.decided_by == f"api_key:{old}"


async def test_a_requester_whose_key_is_revoked_does_nothing_with_it(stack: Stack, approvals: Approvals) -> None:
    asked = uuid7()
    await stack.as_superuser(_KEY, PLATFORM_TENANT, asked, stack.clock.now() - timedelta(hours=1))
    decision = await asking(stack, key(PLATFORM_TENANT, asked, "administrator"), stack.tenant)
    wanted = await approvals.request(decision, Needing.TENANT_ERASE, target="t")
    await approvals.decide(person("grace"), wanted, give=True)
    await stack.as_superuser("UPDATE access.api_key SET revoked_at = now() WHERE id = $1", asked)
    with pytest.raises(Unauthenticated):
        await use(stack, approvals, decision)


async def test_what_a_key_approved_that_is_revoked_is_asked_for_anew(stack: Stack, approvals: Approvals) -> None:
    stolen = uuid7()
    await stack.as_superuser(_KEY, PLATFORM_TENANT, stolen, stack.clock.now() - timedelta(hours=1))
    decision = await asking(stack, person("ada"), stack.tenant)
    first = await approvals.request(decision, Needing.TENANT_ERASE, target="t")
    await approvals.decide(key(PLATFORM_TENANT, stolen, "administrator"), first, give=True)
    await stack.as_superuser("UPDATE access.api_key SET revoked_at = now() WHERE id = $1", stolen)
    with pytest.raises(ApprovalNeeded):
        await use(stack, approvals, decision)
    again = await approvals.request(decision, Needing.TENANT_ERASE, target="t")
    assert again != first
    await approvals.decide(person("grace"), again, give=True)
    assert await use(stack, approvals, decision) == again


async def test_a_tenants_officer_decides_upon_its_own_tenant_alone(stack: Stack, approvals: Approvals) -> None:
    wanted = await approvals.request(await asking(stack, person("ada"), stack.tenant), Needing.TENANT_ERASE, target="t")
    with pytest.raises(NotFound):
        await approvals.decide(stack.caller("privacy_officer", tenant=stack.other), wanted, give=True)
    with pytest.raises(Forbidden):
        await approvals.decide(stack.caller("clinician"), wanted, give=True)
    assert (await approvals.listed(stack.caller("privacy_officer", tenant=stack.other))) == []
    assert (await approvals.decide(stack.caller("privacy_officer"), wanted, give=True)).state == "given"


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE access.approval SET decided_by = requested_by",
        "UPDATE access.approval SET state = 'waiting'",
        "UPDATE access.approval SET expires_at = expires_at + interval '30 days'",
    ],
)
async def test_not_even_sql_of_ours_decides_alone(stack: Stack, approvals: Approvals, tampering: str) -> None:
    wanted = await approvals.request(await asking(stack, person("ada"), stack.tenant), Needing.TENANT_ERASE, target="t")
    await approvals.decide(person("grace"), wanted, give=False)
    with pytest.raises(WellkeepError) as refused:
        async with stack.pool.tenant_transaction(tenant=stack.tenant) as connection:
            await connection.execute(tampering)
    assert any(code in note for note in refused.value.__notes__ for code in ("23514", "42501"))


def test_the_system_approves_nothing() -> None:
    system = Principal(
        type=ActorType.SYSTEM, id="jobs", tenant=PLATFORM_TENANT, roles=("operator",), method=AuthMethod.LOCAL
    )
    with pytest.raises(Forbidden):
        name_of(system)
