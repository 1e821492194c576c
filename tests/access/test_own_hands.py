"""Promise: what nobody does for themselves nobody does by a key of theirs, nor by a key that this one made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from access.conftest import Door
from access.signed_in import person
from gate.trial import caller
from wellkeep.access.care_team import CareTeams
from wellkeep.access.custom_roles import CustomRoles, own_role
from wellkeep.access.leaving import Leaving
from wellkeep.access.people import People
from wellkeep.access.reviews import Reviews
from wellkeep.access.tenant_rules import TenantRules
from wellkeep.base.errors import Forbidden
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.purpose import Purpose
from wellkeep.gate.acts import Caller

_SUBJECT = "INSERT INTO vault.subject (tenant_id, id, created_at) VALUES (wk.tenant(), $1, clock_timestamp())"
_GRANTED_BY = "UPDATE access.role_grant SET granted_by = $2 WHERE person_id = $1"
AUDITS = own_role(
    "audits",
    permissions=[Permission.LEDGER_READ],
    groups=[],
    purposes=[Purpose.OPERATIONS],
    default_purpose=Purpose.OPERATIONS,
)
WIDER = own_role(
    "audits",
    permissions=[Permission.LEDGER_READ, Permission.LEDGER_VERIFY],
    groups=[],
    purposes=[Purpose.OPERATIONS],
    default_purpose=Purpose.OPERATIONS,
)


@dataclass
class Scene:
    """An administrator who also treats patients and has a role of the tenant's own, and keys of theirs."""

    door: Door
    tenant: UUID
    ada: Caller
    ben: Caller
    hands: dict[str, Caller]

    @property
    def me(self) -> UUID:
        return UUID(self.ada.principal.id)

    async def key(self, maker: Caller) -> Caller:
        made = await self.door.keys.create(maker, tenant=self.tenant, name=uuid7().hex, roles=["administrator"])
        return caller(self.tenant, "administrator", credential=made.about.id)

    async def heir(self, maker: Caller, old: Caller) -> Caller:
        key = UUID(old.principal.id)
        made = await self.door.keys.rotate(maker, tenant=self.tenant, key_id=key, overlap=timedelta(hours=1))
        return caller(self.tenant, "administrator", credential=made.about.id)


@pytest.fixture
async def scene(door: Door, tenant: UUID) -> Scene:
    ben = await person(door.home, tenant, "administrator")
    await CustomRoles(gate=door.home.gate, clock=door.clock).put(ben, AUDITS)
    ada = await person(door.home, tenant, "administrator", "audits", "clinician")
    made = Scene(door, tenant, ada, ben, {})
    key = await made.key(ada)
    made.hands = {"in person": ada, "by key": key, "by its key": await made.key(key)}
    made.hands["by its heir"] = await made.heir(ben, key)
    return made


HANDS = ["in person", "by key", "by its key", "by its heir"]


async def refused(doing: Awaitable[object]) -> None:
    with pytest.raises(Forbidden, match=r"(?i)nobody"):
        await doing


@pytest.mark.parametrize("by", HANDS)
async def test_people_do_nothing_to_themselves(scene: Scene, by: str) -> None:
    people, who = People(gate=scene.door.home.gate), scene.hands[by]
    on: dict[str, Any] = {"tenant": scene.tenant, "person": scene.me}
    await refused(people.grant(who, role="privacy_officer", **on))
    await refused(people.revoke(who, role="clinician", **on))
    await refused(people.disable(who, **on))
    await refused(people.enable(who, **on))
    await refused(people.reset(who, factors=True, **on))
    await refused(Leaving(gate=scene.door.home.gate).leave(who, **on))
    assert (await people.get(scene.ben, **on)).roles == ("administrator", "audits", "clinician")
    bens = await scene.key(scene.ben)
    await people.grant(bens, role="privacy_officer", **on)
    failed = [event for event in await scene.door.home.events(scene.tenant) if event["outcome"] == "failed"]
    assert {event["error"] for event in failed if who.principal.id in str(event["actor"])} == {"forbidden"}


@pytest.mark.parametrize("by", HANDS)
async def test_nobody_widens_a_role_of_their_own_or_unbinds_it(scene: Scene, by: str) -> None:
    home, who = scene.door.home, scene.hands[by]
    roles = CustomRoles(gate=home.gate, clock=scene.door.clock)
    rules = TenantRules(gate=home.gate, clock=scene.door.clock)
    await rules.change(who, care_team=("clinician", "coach"))
    await refused(roles.put(who, WIDER))
    await refused(rules.change(who, care_team=("coach",)))
    assert (await rules.change(who, care_team=("clinician",), review_days=30)).care_team == ("clinician",)
    bens = await scene.key(scene.ben)
    assert (await roles.put(bens, WIDER)).revision == 2
    assert (await rules.change(bens, care_team=())).care_team == ()


@pytest.mark.parametrize("by", HANDS)
async def test_nobody_takes_themselves_into_a_care_team(scene: Scene, by: str) -> None:
    teams = CareTeams(gate=scene.door.home.gate, clock=scene.door.clock)
    subject = uuid7()
    async with scene.door.home.database.entered(scene.tenant) as connection:
        await connection.execute(_SUBJECT, subject)
    await refused(teams.add(scene.hands[by], subject, person=scene.me))
    bens = await scene.key(scene.ben)
    assert (await teams.add(bens, subject, person=scene.me)).person == scene.me
    eve = await person(scene.door.home, scene.tenant, "clinician")
    assert (await teams.add(scene.hands[by], subject, person=UUID(eve.principal.id))).until is None


async def test_staff_decide_nothing_about_what_a_key_of_theirs_granted_in_a_customers_tenant(scene: Scene) -> None:
    staff = await person(scene.door.home, PLATFORM_TENANT, "administrator")
    key = await scene.door.keys.create(staff, tenant=PLATFORM_TENANT, name="desk", roles=["administrator"])
    async with scene.door.home.database.connect() as connection:
        await connection.execute(_GRANTED_BY, UUID(scene.ben.principal.id), str(key.about.id))
    reviews = Reviews(gate=scene.door.home.gate, findings=scene.door.home.findings, clock=scene.door.clock)
    review = await reviews.open(scene.ada, tenant=scene.tenant)
    items = (await reviews.shown(scene.ada, tenant=scene.tenant, review=review)).items
    bens = next(one for one in items if one.person == UUID(scene.ben.principal.id))
    with pytest.raises(Forbidden, match="granted this yourself"):
        await reviews.decide(staff, tenant=scene.tenant, review=review, item=bens.id, keep=True)
    other = await person(scene.door.home, PLATFORM_TENANT, "administrator")
    with pytest.raises(Forbidden, match="came after"):
        await reviews.decide(other, tenant=scene.tenant, review=review, item=bens.id, keep=True)
    assert (await reviews.decide(scene.ada, tenant=scene.tenant, review=review, item=bens.id, keep=True)).kept == 1


async def test_a_narrowed_key_opens_nobodys_account(scene: Scene) -> None:
    """A link to an administrator's account, or that account's address, is more than its scopes."""
    people = People(gate=scene.door.home.gate)
    narrowed = caller(scene.tenant, "administrator", scopes=frozenset({Permission.USER_CHANGE, Permission.USER_READ}))
    who, on = UUID(scene.ben.principal.id), scene.tenant
    ways: list[Callable[[], Awaitable[object]]] = [
        lambda: people.reset(narrowed, tenant=on, person=who),
        lambda: people.change(narrowed, tenant=on, person=who, email="mine@example.org"),
        lambda: people.enable(narrowed, tenant=on, person=who),
    ]
    for way in ways:
        with pytest.raises(Forbidden, match="narrowed"):
            await way()
    await people.change(narrowed, tenant=on, person=who, name="Ben")
