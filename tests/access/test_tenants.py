"""Tenants are made and closed by the platform alone, on record in both logs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import UUID

import pytest

from access.conftest import Door
from gate.trial import ReadNote, WriteNote, caller, reading, writing
from wellkeep.access.operators import operator, this_operator
from wellkeep.access.tenants import Tenants
from wellkeep.base.errors import (
    Conflict,
    Forbidden,
    KeysUnavailable,
    LedgerUnavailable,
    NotFound,
    PurposeRequired,
)
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.permissions import Permission
from wellkeep.gate.acts import Act, Decision, TenantSettings
from wellkeep.gate.transaction import GateTransaction
from wellkeep.ledger.event import Action


def unchained(door: Door) -> Callable[[Decision], AbstractAsyncContextManager[GateTransaction]]:
    """Return the gate's transaction as it is when chaining fails after the commit."""
    real = door.home.gate.transaction

    @asynccontextmanager
    async def transaction(decision: Decision) -> AsyncIterator[GateTransaction]:
        async with real(decision) as work:
            yield work
        raise LedgerUnavailable

    return transaction


@pytest.fixture
def provisioned() -> list[UUID]:
    return []


@pytest.fixture
def tenants(door: Door, provisioned: list[UUID]) -> Tenants:
    async def provision(tenant: UUID) -> None:
        provisioned.append(tenant)

    return Tenants(gate=door.home.gate, provision=provision, environment="test")


async def test_a_tenant_is_made_with_keys_and_a_log_and_both_logs_say_so(
    door: Door, tenants: Tenants, provisioned: list[UUID]
) -> None:
    made = await tenants.create(door.operator, name="lakeside", kind="synthetic")
    assert provisioned == [made]
    for log in (PLATFORM_TENANT, made):
        event = [event for event in await door.home.events(log) if event["action"] == "tenant.create"][-1]
        assert event["resource"] == {"id": str(made), "type": "tenant"}
    listed = {tenant.id: tenant for tenant in await tenants.list(door.operator)}
    assert (listed[made].name, listed[made].kind, listed[made].state) == ("lakeside", "synthetic", "active")
    with pytest.raises(Conflict):
        await tenants.create(door.operator, name="lakeside")


async def test_a_creation_that_was_cut_off_can_be_completed(door: Door, provisioned: list[UUID]) -> None:
    async def refuse(_: UUID) -> None:
        raise KeysUnavailable

    broken = Tenants(gate=door.home.gate, provision=refuse, environment="test")
    with pytest.raises(KeysUnavailable):
        await broken.create(door.operator, name="half-way")

    async def provision(tenant: UUID) -> None:
        provisioned.append(tenant)

    whole = Tenants(gate=door.home.gate, provision=provision, environment="test")
    found = next(tenant.id for tenant in await whole.list(door.operator) if tenant.name == "half-way")
    assert await whole.create(door.operator, name="half-way") == found
    assert set(provisioned) == {found}
    assert [event["action"] for event in await door.home.events(found)][-1] == "tenant.create"
    with pytest.raises(Conflict):
        await whole.create(door.operator, name="half-way")


async def test_a_creation_whose_entry_could_not_be_chained_is_completed_by_repeating_it(
    door: Door, tenants: Tenants, provisioned: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(door.home.gate, "transaction", unchained(door))
        with pytest.raises(LedgerUnavailable):
            await tenants.create(door.operator, name="hiccup")
    assert len(provisioned) == 1
    assert await tenants.create(door.operator, name="hiccup") == provisioned[0]


async def test_a_closed_tenant_acts_no_more(door: Door, tenants: Tenants, tenant: UUID) -> None:
    await door.home.gate.decide(caller(tenant), reading())
    await tenants.close(door.operator, tenant=tenant)
    with pytest.raises(Forbidden):
        await door.home.gate.decide(caller(tenant), reading())
    with pytest.raises(NotFound):
        await tenants.close(door.operator, tenant=tenant)
    assert "tenant.close" in [event["action"] for event in await door.home.events(tenant)]


@pytest.mark.parametrize("what", ["close", "demand_purpose"])
async def test_what_is_done_to_a_tenant_is_owed_to_both_logs_once_it_is_committed(
    door: Door, tenants: Tenants, tenant: UUID, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is killed between the commit and the entries leaves them to the outbox, which is emptied at the start."""

    async def died(_: object) -> None:
        raise LedgerUnavailable

    monkeypatch.setattr(door.home.gate, "_chain", died)
    with pytest.raises(LedgerUnavailable):
        await (
            tenants.close(door.operator, tenant=tenant)
            if what == "close"
            else tenants.demand_purpose(door.operator, tenant=tenant, demanded=True)
        )
    async with door.home.database.connect() as connection:
        rows = await connection.fetch("SELECT tenant_id FROM ledger.outbox")
    assert {row["tenant_id"] for row in rows} == {PLATFORM_TENANT, tenant}


async def test_a_closing_holds_with_the_next_request_on_every_worker(
    door: Door, tenants: Tenants, tenant: UUID, other_tenant: UUID
) -> None:
    """The worker still remembers that the tenant is open; the database does not let its key read or change."""
    keys = {
        one: (await door.keys.create(door.operator, tenant=one, name="a", roles=["integration"])).about.id
        for one in (tenant, other_tenant)
    }
    gate = door.home.gate
    asking, beside = (caller(one, "integration", credential=keys[one]) for one in (tenant, other_tenant))
    read, write = await gate.decide(asking, reading()), await gate.decide(asking, writing())
    other = await gate.decide(beside, reading())
    async with door.home.database.entered(PLATFORM_TENANT) as connection:
        assert await connection.fetchval("SELECT wk.close_tenant($1)", tenant)
    assert gate.tenants.known(tenant) == TenantSettings()
    with pytest.raises(Forbidden, match="closed"):
        await gate.read(read, ReadNote(uuid7(), credential=keys[tenant]))
    with pytest.raises(Forbidden, match="closed"):
        await gate.change(write, WriteNote(uuid7(), credential=keys[tenant]))
    with pytest.raises(Forbidden, match="closed"):
        async with gate.reading(read):
            raise AssertionError
    rules = [event["rule"] for event in await door.home.events(tenant)][-3:]
    assert rules == ["deny:closed/record:read", "deny:closed/record:create", "deny:closed/record:read"]
    assert await gate.read(other, ReadNote(uuid7(), credential=keys[other_tenant])) == []


async def test_a_purpose_that_is_demanded_is_on_record_in_both_logs(door: Door, tenants: Tenants, tenant: UUID) -> None:
    assert await door.home.gate.decide(caller(tenant), reading())
    for demanded in (True, True, False):
        await tenants.demand_purpose(door.operator, tenant=tenant, demanded=demanded)
        if demanded:
            with pytest.raises(PurposeRequired):
                await door.home.gate.decide(caller(tenant), reading())
    assert await door.home.gate.decide(caller(tenant), reading())
    for log in (PLATFORM_TENANT, tenant):
        said = [event for event in await door.home.events(log) if event["action"] == "tenant.change"]
        assert [(event["fields"], event["count"]) for event in said] == [(["purpose_required"], n) for n in (1, 1, 0)]
    for other in (uuid7(), PLATFORM_TENANT):
        with pytest.raises(NotFound):
            await tenants.demand_purpose(door.operator, tenant=other, demanded=True)
    with pytest.raises(Forbidden):
        await tenants.demand_purpose(caller(tenant, "administrator"), tenant=tenant, demanded=True)


async def test_a_tenants_administrator_makes_no_tenant(tenants: Tenants, tenant: UUID) -> None:
    with pytest.raises(Forbidden):
        await tenants.create(caller(tenant, "administrator"), name="own")
    with pytest.raises(Forbidden):
        await tenants.list(caller(tenant, "administrator"))


def test_the_operator_is_the_account_that_runs_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "somebody-else")
    assert this_operator().principal.id != "somebody-else"
    assert this_operator().principal.tenant == PLATFORM_TENANT


@pytest.mark.parametrize("name", ["", "Root", "a b", "x" * 33, "jane.doe"])
def test_an_account_that_the_ledger_cant_name_operates_nothing(name: str) -> None:
    with pytest.raises(Forbidden):
        operator(name)


@pytest.mark.parametrize("permission", [p for p in Permission if p.value.startswith(("record:", "subject:"))])
async def test_an_operator_opens_no_record(door: Door, permission: Permission) -> None:
    with pytest.raises(Forbidden):
        await door.home.gate.decide(door.operator, Act(permission, Action.RECORD_READ, "record", str(uuid7())))
