"""Whose records a decision covers: settled before a door of the gate opens, refused where nobody asked."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

import msgspec
import pytest

from gate.trial import House, WriteNote, caller, reading, writing
from wellkeep.base.attributes import NoAttributes
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import Forbidden, Internal, SecondFactorRequired, StepUpRequired
from wellkeep.base.ids import uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.principal import ActorType, AuthMethod, Principal
from wellkeep.base.purpose import Purpose
from wellkeep.gate.acts import Act, Caller, Decision, Reach, Sight
from wellkeep.ledger.event import Action

MINE, OTHERS = uuid7(), uuid7()


class Known(NoAttributes):
    """One person treats one patient, and broke the glass of another."""

    def __init__(self, person: UUID, *, team: UUID, glass: UUID) -> None:
        self.person, self.team, self.glass = person, team, glass

    async def care_team(self, *, tenant: UUID, person: UUID, subjects: Collection[UUID]) -> frozenset[UUID]:  # noqa: ARG002
        return frozenset({self.team}) & frozenset(subjects) if person == self.person else frozenset()

    async def broken_glass(self, *, tenant: UUID, person: UUID) -> frozenset[UUID]:  # noqa: ARG002
        return frozenset({self.glass}) if person == self.person else frozenset()


def someone(tenant: UUID, *roles: str, person: UUID | None = None, **more: object) -> Caller:
    principal = Principal(
        type=ActorType.PERSON,
        id=str(person or uuid7()),
        tenant=tenant,
        roles=roles,
        method=AuthMethod.LOCAL,
        **more,  # type: ignore[arg-type]
    )
    return Caller(principal, None, uuid7(), "192.0.2.7", "0123456789abcdef")


async def bound(home: House, asked: Caller, reach: Reach = Reach.CARE_TEAM, beyond: Sight | None = None) -> Decision:
    home.gate._attributes = Known(UUID(asked.principal.id), team=MINE, glass=OTHERS)
    decision = await home.gate.decide(asked, reading())
    return msgspec.structs.replace(decision, reach=reach, beyond=beyond)


async def test_a_decision_for_all_is_settled_as_it_is(home: House, tenant: UUID) -> None:
    decision = await home.gate.decide(caller(tenant), reading())
    assert await home.gate.must_reach(decision, MINE) is decision
    assert await home.gate.must_reach_all(decision) is decision
    assert await home.gate.reached(decision, [MINE, OTHERS]) == {MINE, OTHERS}


async def test_the_care_team_covers_its_patients_and_what_is_nobodys(home: House, tenant: UUID) -> None:
    decision = await bound(home, someone(tenant, "clinician"))
    settled = await home.gate.must_reach(decision, MINE)
    assert (settled.reach, settled.groups) == (Reach.ALL, decision.groups)
    assert (await home.gate.must_reach(decision, None)).reach is Reach.ALL
    assert await home.gate.reached(decision, []) == frozenset()
    for asked in ((OTHERS,), (MINE, OTHERS)):
        with pytest.raises(Forbidden, match="not one of yours"):
            await home.gate.must_reach(decision, *asked)
        entered = (await home.events(tenant))[-1]
        assert (entered["rule"], entered["subject"]) == ("deny:care-team/record:read", str(OTHERS))
    with pytest.raises(Forbidden):
        await home.gate.must_reach_all(decision)


async def test_a_broken_glass_covers_its_patient_alone(home: House, tenant: UUID) -> None:
    decision = await bound(home, someone(tenant, "clinician"), Reach.BREAK_GLASS)
    assert (await home.gate.must_reach(decision, OTHERS)).reach is Reach.ALL
    for asked in (MINE, None):
        with pytest.raises(Forbidden, match="glass"):
            await home.gate.must_reach(decision, asked)
        assert (await home.events(tenant))[-1]["rule"] == "deny:no-break-glass/record:read"


async def test_out_of_reach_what_other_roles_show_is_left(home: House, tenant: UUID) -> None:
    beyond = Sight("role:coach/record:read", frozenset({"contact"}), frozenset({"contact:notes.text"}))
    decision = await bound(home, someone(tenant, "clinician"), beyond=beyond)
    near = await home.gate.must_reach(decision, MINE)
    assert (near.groups, near.beyond) == (decision.groups, None)
    for far in (await home.gate.must_reach(decision, OTHERS), await home.gate.must_reach_all(decision)):
        assert (far.rule, far.groups, far.hidden) == (beyond.rule, beyond.groups, beyond.hidden)
        assert far.reach is Reach.ALL


async def test_a_key_treats_nobody(home: House, tenant: UUID) -> None:
    home.gate._attributes = Known(uuid7(), team=MINE, glass=OTHERS)
    decision = msgspec.structs.replace(await home.gate.decide(caller(tenant), reading()), reach=Reach.CARE_TEAM)
    for asked in (MINE, OTHERS, None):
        with pytest.raises(Forbidden):
            await home.gate.must_reach(decision, asked)


async def test_who_stepped_in_reaches_what_the_other_person_reaches(home: House, tenant: UUID) -> None:
    target = uuid7()
    asked = someone(tenant, "clinician", impersonation=uuid7(), on_behalf_of=str(target))
    decision = await bound(home, asked)
    home.gate._attributes = Known(target, team=MINE, glass=OTHERS)
    assert await home.gate.reached(decision, [MINE, OTHERS]) == {MINE}


async def test_a_decision_that_nobody_settled_opens_no_door(home: House, tenant: UUID) -> None:
    asked = someone(tenant, "clinician")
    decision = await bound(home, asked)
    with pytest.raises(Forbidden):
        await home.gate.disclose(decision, records=(uuid7(),))
    note = uuid7()
    writes = msgspec.structs.replace(await home.gate.decide(asked, writing(note)), reach=Reach.CARE_TEAM)
    with pytest.raises(Forbidden):
        await home.gate.change(writes, WriteNote(note))
    with pytest.raises(Forbidden):
        async with home.gate.transaction(writes):
            pass
    assert await home.notes(tenant) == {}
    assert {event["rule"] for event in (await home.events(tenant))} == {
        "deny:care-team/record:read",
        "deny:care-team/record:create",
    }


async def test_a_denied_decision_reaches_nobody(home: House, tenant: UUID) -> None:
    settings = await home.gate.tenants.load(tenant)
    denied = home.gate.policy.decide(caller(tenant, "auditor"), reading(), settings=settings)
    with pytest.raises(Internal):
        await home.gate.reached(denied, [MINE])


async def test_a_second_factor_and_a_step_up_are_asked_for_by_name(home: House, tenant: UUID) -> None:
    act = Act(Permission.USER_CHANGE, Action.USER_CHANGED, "person")
    with pytest.raises(SecondFactorRequired):
        await home.gate.decide(someone(tenant, "administrator"), act)
    with pytest.raises(StepUpRequired):
        await home.gate.decide(someone(tenant, "administrator", mfa=True), act)
    assert [event["rule"] for event in await home.events(tenant)] == [
        "deny:second-factor/user:change",
        "deny:step-up/user:change",
    ]


class Ahead(SystemClock):
    """A worker's clock that can be set ahead."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


async def test_a_role_that_is_narrowed_or_deleted_elsewhere_holds_here_after_five_seconds(
    home: House, tenant: UUID
) -> None:
    clock = Ahead()
    home.gate.tenants._clock = clock
    async with home.database.entered(tenant) as connection:
        await connection.execute(
            "INSERT INTO access.custom_role (tenant_id, name, permissions, groups, purposes, default_purpose, "
            "revision, digest, changed_at, changed_by) VALUES ($1, 'nurse', '{record:read}', '{clinical,contact}', "
            "'{TREAT}', 'TREAT', 1, $2, now(), 'x')",
            *(tenant, bytes(32)),
        )
    asked = caller(tenant, "nurse")
    assert (await home.gate.decide(asked, reading())).groups == {"clinical", "contact"}
    async with home.database.entered(tenant) as connection:
        await connection.execute("UPDATE access.custom_role SET groups = '{contact}'")
    clock.ahead = 5.01
    assert (await home.gate.decide(asked, reading())).groups == {"contact"}
    async with home.database.entered(tenant) as connection:
        await connection.execute("UPDATE access.custom_role SET deleted_at = now()")
    clock.ahead = 10.02
    with pytest.raises(Forbidden):
        await home.gate.decide(asked, reading())


async def test_what_a_tenant_decided_about_roles_travels_with_its_settings(home: House, tenant: UUID) -> None:
    async with home.database.entered(tenant) as connection:
        await connection.execute(
            "INSERT INTO access.custom_role (tenant_id, name, permissions, groups, purposes, default_purpose, "
            "revision, digest, changed_at, changed_by) SELECT $1, name, '{record:read}', '{clinical}', '{TREAT}', "
            "'TREAT', 1, $2, now(), 'x' FROM unnest('{nurse,gone}'::text[]) AS name",
            tenant,
            bytes(32),
        )
        await connection.execute("UPDATE access.custom_role SET deleted_at = now() WHERE name = 'gone'")
        await connection.execute(
            "INSERT INTO access.tenant_rules (tenant_id, second_factor, care_team, changed_at, changed_by) "
            "VALUES ($1, true, '{nurse}', now(), 'x')",
            tenant,
        )
    settings = await home.gate.tenants.load(tenant)
    assert settings.second_factor
    assert settings.own is not None
    assert set(settings.own.roles) == settings.own.care_team == {"nurse"}
    decision = await home.gate.decide(caller(tenant, "nurse", purpose=Purpose.TREATMENT), reading())
    assert decision.reach is Reach.CARE_TEAM
    assert decision.groups == {"clinical"}
    with pytest.raises(Forbidden):
        await home.gate.decide(caller(tenant, "gone"), reading())
