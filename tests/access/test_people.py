"""People: invited, given roles, disabled; what nobody may do to themselves, and what no other tenant may know."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from access.conftest import Door
from access.signed_in import joined, person
from gate.trial import caller
from wellkeep.access.people import People
from wellkeep.base.errors import Conflict, Forbidden, NotFound, StepUpRequired, Validation
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.permissions import Permission
from wellkeep.gate.acts import Caller


async def another_tenant(door: Door) -> UUID:
    other = uuid7()
    database = door.home.database
    async with database.connect("wk_app") as connection, connection.transaction():
        await connection.execute("SELECT wk.enter($1)", database.token(connection, PLATFORM_TENANT))
        await connection.execute("SELECT wk.create_tenant($1, $2, 'live', 'test')", other, f"other-{other.hex[-8:]}")
    return other


async def test_an_invitation_makes_a_person_and_its_entry_names_neither_mail_nor_name(door: Door, tenant: UUID) -> None:
    people = People(gate=door.home.gate)
    admin = await person(door.home, tenant, "administrator")
    invited = await people.invite(
        admin, tenant=tenant, email="  Robin.Doe@Example.ORG ", name="Robin  Doe", roles=["coach"]
    )
    assert invited.invitation.token is not None
    assert (invited.invitation.link("w.example") or "").startswith("https://w.example/invitation#")
    found = await people.get(admin, tenant=tenant, person=invited.person)
    assert (found.email, found.name) == ("robin.doe@example.org", "Robin Doe")
    assert (found.state, found.roles) == ("invited", ("coach",))
    assert "robin" not in repr(found).lower()
    told = str(await door.home.events(tenant)).lower()
    assert "robin" not in told
    assert "example.org" not in told
    entry = [event for event in await door.home.events(tenant) if event["action"] == "user.invited"][-1]
    assert (entry["resource"], entry["fields"]) == ({"id": str(invited.person), "type": "person"}, ["coach"])
    with pytest.raises(Conflict):
        await people.invite(admin, tenant=tenant, email="robin.doe@example.org", name="R", roles=[])


@pytest.mark.parametrize(
    ("email", "name", "roles", "path"),
    [
        ("nobody", "Robin", [], "/email"),
        ("a@b@c", "Robin", [], "/email"),
        ("a b@example.org", "Robin", [], "/email"),
        ("a@example..org", "Robin", [], "/email"),
        ("a@example.org\n", "", [], "/name"),
        ("a@example.org", "x" * 101, [], "/name"),
        ("a@example.org", "Rob\u202ein", [], "/name"),
        ("a@example.org", "Robin", ["nobody"], "/roles/0"),
        ("a@example.org", "Robin", ["coach", "operator"], "/roles/1"),
        ("a@example.org", "Robin", ["keeper"], "/roles/0"),
        ("a@example.org", "Robin", ["support"], "/roles/0"),
        ("a@example.org", "Robin", ["coach", "coach"], "/roles"),
    ],
)
async def test_what_does_not_fit_names_its_place(
    door: Door, tenant: UUID, email: str, name: str, roles: list[str], path: str
) -> None:
    with pytest.raises(Validation) as refused:
        await People(gate=door.home.gate).invite(door.operator, tenant=tenant, email=email, name=name, roles=roles)
    assert [problem.path for problem in refused.value.fields] == [path]


async def test_staff_roles_are_the_platforms(door: Door) -> None:
    people = People(gate=door.home.gate)
    made = await people.invite(
        door.operator, tenant=PLATFORM_TENANT, email="help@example.org", name="Sam", roles=["support"]
    )
    assert (await people.get(door.operator, tenant=PLATFORM_TENANT, person=made.person)).roles == ("support",)


async def test_nobody_does_it_to_themselves(door: Door, tenant: UUID) -> None:
    people = People(gate=door.home.gate)
    admin = await person(door.home, tenant, "administrator")
    me = UUID(admin.principal.id)
    for attempt in (
        people.grant(admin, tenant=tenant, person=me, role="clinician"),
        people.revoke(admin, tenant=tenant, person=me, role="administrator"),
        people.disable(admin, tenant=tenant, person=me),
        people.enable(admin, tenant=tenant, person=me),
        people.reset(admin, tenant=tenant, person=me),
    ):
        with pytest.raises(Forbidden):
            await attempt
    assert (await people.get(admin, tenant=tenant, person=me)).roles == ("administrator",)
    failed = [event["action"] for event in await door.home.events(tenant) if event["outcome"] == "failed"]
    assert failed == ["role.granted", "role.revoked", "user.disabled", "user.enabled", "user.changed"]


async def test_roles_come_and_go_and_a_narrowed_key_gives_none(door: Door, tenant: UUID) -> None:
    people = People(gate=door.home.gate)
    admin = await person(door.home, tenant, "administrator")
    who = await joined(door.home, tenant, "coach")
    await people.grant(admin, tenant=tenant, person=who, role="billing")
    with pytest.raises(Conflict):
        await people.grant(admin, tenant=tenant, person=who, role="billing")
    await people.revoke(admin, tenant=tenant, person=who, role="coach")
    with pytest.raises(NotFound):
        await people.revoke(admin, tenant=tenant, person=who, role="coach")
    await people.grant(admin, tenant=tenant, person=who, role="coach", until=door.clock.now() + timedelta(days=1))
    assert (await people.get(admin, tenant=tenant, person=who)).roles == ("billing", "coach")
    with pytest.raises(Validation):
        await people.grant(admin, tenant=tenant, person=who, role="auditor", until=door.clock.now())
    narrowed = caller(tenant, "administrator", scopes=frozenset({Permission.USER_CHANGE, Permission.USER_CREATE}))
    with pytest.raises(Forbidden):
        await people.grant(narrowed, tenant=tenant, person=who, role="auditor")
    with pytest.raises(Forbidden):
        await people.invite(narrowed, tenant=tenant, email="x@example.org", name="X", roles=["administrator"])


async def test_a_stale_second_factor_changes_nobody(door: Door, tenant: UUID) -> None:
    people = People(gate=door.home.gate)
    stale = await person(door.home, tenant, "administrator", fresh=False)
    who = await joined(door.home, tenant)
    with pytest.raises(StepUpRequired):
        await people.grant(stale, tenant=tenant, person=who, role="coach")
    assert len(await people.list(stale, tenant=tenant)) == 2


async def test_a_person_of_another_tenant_is_not_there(door: Door, tenant: UUID) -> None:
    people = People(gate=door.home.gate)
    other = await another_tenant(door)
    admin = await person(door.home, tenant, "administrator")
    stranger = await joined(door.home, other, "coach", email="same@example.org")
    await joined(door.home, tenant, "coach", email="same@example.org")
    for attempt in (
        people.get(admin, tenant=tenant, person=stranger),
        people.change(admin, tenant=tenant, person=stranger, name="Mine"),
        people.grant(admin, tenant=tenant, person=stranger, role="billing"),
        people.revoke(admin, tenant=tenant, person=stranger, role="coach"),
        people.disable(admin, tenant=tenant, person=stranger),
        people.enable(admin, tenant=tenant, person=stranger),
        people.reset(admin, tenant=tenant, person=stranger),
    ):
        with pytest.raises(NotFound):
            await attempt
    with pytest.raises(Forbidden):
        await people.list(admin, tenant=other)
    assert stranger not in {one.id for one in await people.list(admin, tenant=tenant)}
    staff = await person(door.home, PLATFORM_TENANT, "administrator")
    assert [one.id for one in await people.list(staff, tenant=other)] == [stranger]
    with pytest.raises(NotFound):
        await people.list(staff, tenant=uuid7())


async def test_disabled_and_back_with_what_is_still_held(door: Door, tenant: UUID) -> None:
    people = People(gate=door.home.gate)
    who = await joined(door.home, tenant, "coach")
    await people.disable(door.operator, tenant=tenant, person=who)
    with pytest.raises(NotFound):
        await people.disable(door.operator, tenant=tenant, person=who)
    for attempt in (
        people.grant(door.operator, tenant=tenant, person=who, role="billing"),
        people.reset(door.operator, tenant=tenant, person=who),
    ):
        with pytest.raises(Conflict):
            await attempt
    await people.enable(door.operator, tenant=tenant, person=who)
    found = await people.get(door.operator, tenant=tenant, person=who)
    assert (found.state, found.roles) == ("active", ("coach",))
    await people.change(door.operator, tenant=tenant, person=who, name="Kim", email="Kim@example.org")
    found = await people.get(door.operator, tenant=tenant, person=who)
    assert (found.name, found.email) == ("Kim", "kim@example.org")


async def test_inside_an_impersonation_nobody_is_looked_at(door: Door, tenant: UUID) -> None:
    admin = await person(door.home, tenant, "administrator")
    within = replace(admin.principal, impersonation=uuid7(), on_behalf_of=str(uuid7()))
    with pytest.raises(Forbidden):
        await People(gate=door.home.gate).list(Caller(within, None, uuid7()), tenant=tenant)
