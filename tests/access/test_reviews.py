"""Promise: every permission is reviewed by somebody else, and what they revoke is gone for every worker at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from uuid import UUID

import pytest

from access.conftest import Door
from access.signed_in import joined, person, session
from gate.trial import caller
from wellkeep.access.operators import operator
from wellkeep.access.people import People
from wellkeep.access.review_hands import hands_behind
from wellkeep.access.review_shapes import Item
from wellkeep.access.reviews import Reviews
from wellkeep.base.errors import Conflict, Forbidden, NotFound, Unauthenticated, Validation, WellkeepError
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.gate.acts import Caller

_STANDS = "SELECT access.stands($1)"
_ROTATED = """
UPDATE access.api_key SET replaced_by = $2, created_at = created_at - interval '1 day', expires_at = clock_timestamp()
WHERE id = $1
"""


@dataclass
class Scene:
    """A tenant with two administrators, a clinician and a key that the first administrator made."""

    door: Door
    reviews: Reviews
    tenant: UUID
    ada: Caller
    ben: Caller
    clinician: UUID
    key: UUID

    async def items(self, review: UUID) -> dict[UUID, Item]:
        """Return the items of a review by whose they are: a person, or a key."""
        shown = await self.reviews.shown(self.ada, tenant=self.tenant, review=review)
        return {one.person or one.id: one for one in shown.items}

    async def stands(self, credential: UUID) -> bool:
        async with self.door.home.database.entered(self.tenant) as connection:
            return bool(await connection.fetchval(_STANDS, credential))

    async def decide(self, who: Caller, review: UUID, item: UUID, *, keep: bool = True) -> str:
        """Decide, and return how many wait still, or the code of the refusal."""
        try:
            stands = await self.reviews.decide(who, tenant=self.tenant, review=review, item=item, keep=keep)
        except WellkeepError as refused:
            return refused.code
        return str(stands.undecided)


@pytest.fixture
async def scene(door: Door, tenant: UUID) -> Scene:
    ada = await person(door.home, tenant, "administrator")
    ben = await person(door.home, tenant, "administrator")
    clinician = await joined(door.home, tenant, "clinician", email="=cmd@example.org")
    issued = await door.keys.create(ada, tenant=tenant, name="front-desk", roles=["administrator"])
    reviews = Reviews(gate=door.home.gate, findings=door.home.findings, clock=door.clock)
    return Scene(door, reviews, tenant, ada, ben, clinician, issued.about.id)


def of_key(scene: Scene, key: UUID) -> Caller:
    return caller(scene.tenant, "administrator", credential=key)


async def test_all_that_stands_is_frozen_and_closes_when_somebody_else_has_decided(scene: Scene) -> None:
    review = await scene.reviews.open(scene.ada, tenant=scene.tenant)
    items = await scene.items(review)
    ada, ben = UUID(scene.ada.principal.id), UUID(scene.ben.principal.id)
    assert set(items) == {ada, ben, scene.clinician, scene.key}
    assert items[scene.clinician].roles == ("clinician",)
    assert items[scene.clinician].email == "=cmd@example.org"
    assert items[scene.key].granted_by == str(ada)
    assert items[scene.key].name == "front-desk"
    assert items[ada].last_used_at is not None, "who is signed in uses what they were granted"
    assert items[scene.clinician].last_used_at is None
    assert not any(one.stuck for one in items.values())
    assert await scene.decide(scene.ada, review, items[ada].id) == "forbidden"
    assert await scene.decide(scene.ada, review, scene.key) == "forbidden", "she made it"
    assert await scene.decide(of_key(scene, scene.key), review, scene.key) == "forbidden", "its own"
    assert await scene.decide(of_key(scene, scene.key), review, items[ada].id) == "forbidden", "its maker's"
    assert await scene.decide(scene.ben, review, items[ada].id) == "3"
    assert await scene.decide(scene.ada, review, items[ben].id) == "2"
    assert await scene.decide(scene.ada, review, items[scene.clinician].id) == "1"
    assert await scene.decide(scene.ada, review, items[ben].id) == "conflict", "once"
    assert await scene.decide(scene.ben, review, scene.key) == "0"
    (listed,) = await scene.reviews.listed(scene.ada, tenant=scene.tenant)
    assert (listed.closed_at is not None, listed.items, listed.kept, listed.revoked) == (True, 4, 4, 0)
    assert await scene.decide(scene.ben, review, scene.key) == "conflict"
    told = [event for event in await scene.door.home.events(scene.tenant) if str(event["action"]).startswith("review.")]
    done = [event["action"] for event in told if event["outcome"] == "done" and event["action"] != "review.read"]
    assert done == ["review.opened", *["review.decided"] * 4, "review.closed"]
    assert not any("example.org" in str(event) or "Robin" in str(event) for event in told)


async def test_what_is_revoked_is_gone_with_the_decision(scene: Scene) -> None:
    signed_in = await session(scene.door.home, scene.tenant, scene.clinician)
    assert await scene.stands(signed_in.id)
    review = await scene.reviews.open(scene.ada, tenant=scene.tenant)
    items = await scene.items(review)
    await scene.decide(scene.ben, review, items[scene.clinician].id, keep=False)
    assert not await scene.stands(signed_in.id)
    await scene.decide(scene.ben, review, scene.key, keep=False)
    assert not await scene.stands(scene.key)
    with pytest.raises(Unauthenticated):
        await scene.reviews.listed(of_key(scene, scene.key), tenant=scene.tenant)
    actions = [event["action"] for event in await scene.door.home.events(scene.tenant) if event["outcome"] == "done"]
    assert {"role.revoked", "apikey.revoke"} <= set(actions)
    shown = await scene.items(review)
    assert (shown[scene.key].outcome, shown[scene.key].decided_by) == ("revoke", f"person:{scene.ben.principal.id}")


async def test_two_decide_at_once_and_one_of_them_is_late(scene: Scene) -> None:
    third = await person(scene.door.home, scene.tenant, "privacy_officer")
    review = await scene.reviews.open(scene.ada, tenant=scene.tenant)
    item = (await scene.items(review))[scene.clinician].id
    answers = await asyncio.gather(
        scene.decide(scene.ada, review, item, keep=True),
        scene.decide(scene.ben, review, item, keep=False),
        scene.decide(third, review, item, keep=False),
    )
    assert sorted(answers)[-2:] == ["conflict", "conflict"]


async def test_the_last_two_decisions_at_once_close_it(scene: Scene) -> None:
    review = await scene.reviews.open(scene.ada, tenant=scene.tenant)
    items = await scene.items(review)
    ada, ben = UUID(scene.ada.principal.id), UUID(scene.ben.principal.id)
    await scene.decide(scene.ben, review, scene.key)
    await scene.decide(scene.ben, review, items[scene.clinician].id)
    await asyncio.gather(scene.decide(scene.ben, review, items[ada].id), scene.decide(scene.ada, review, items[ben].id))
    (listed,) = await scene.reviews.listed(scene.ada, tenant=scene.tenant)
    assert listed.closed_at is not None


async def test_a_lone_administrator_is_told_that_it_takes_another_and_the_operator_may(
    door: Door, other_tenant: UUID
) -> None:
    reviews = Reviews(gate=door.home.gate, findings=door.home.findings, clock=door.clock)
    alone = await person(door.home, other_tenant, "administrator")
    review = await reviews.open(alone, tenant=other_tenant)
    (item,) = (await reviews.shown(alone, tenant=other_tenant, review=review)).items
    assert item.stuck
    with pytest.raises(Forbidden, match="own access"):
        await reviews.decide(alone, tenant=other_tenant, review=review, item=item.id, keep=True)
    puppet = await door.keys.create(alone, tenant=other_tenant, name="puppet", roles=["administrator"])
    friend = await person(door.home, other_tenant, "administrator")
    for second in (caller(other_tenant, "administrator", credential=puppet.about.id), friend):
        with pytest.raises(Forbidden, match="came after"):
            await reviews.decide(second, tenant=other_tenant, review=review, item=item.id, keep=True)
    with pytest.raises(Forbidden, match="granted this yourself"):  # root invited her
        await reviews.decide(door.operator, tenant=other_tenant, review=review, item=item.id, keep=True)
    grace = Caller(operator("grace"), None, uuid7())
    decided = await reviews.decide(grace, tenant=other_tenant, review=review, item=item.id, keep=True)
    assert decided.closed_at is not None


async def test_a_platforms_key_that_came_later_decides_nothing_in_a_customers_review(scene: Scene) -> None:
    review = await scene.reviews.open(scene.ada, tenant=scene.tenant)
    late = await scene.door.keys.create(
        scene.door.operator, tenant=PLATFORM_TENANT, name="late", roles=["administrator"]
    )
    staff = caller(PLATFORM_TENANT, "administrator", credential=late.about.id)
    assert await scene.decide(staff, review, scene.key) == "forbidden"


async def test_one_is_open_at_a_time_and_nothing_is_reviewed_where_nobody_is(scene: Scene, other_tenant: UUID) -> None:
    attempts = [scene.reviews.open(who, tenant=scene.tenant) for who in (scene.ada, scene.ben, scene.ada)]
    opened = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(isinstance(one, UUID) for one in opened) == 1
    assert sum(isinstance(one, Conflict) for one in opened) == 2
    with pytest.raises(Conflict, match="Nobody"):
        await scene.reviews.open(scene.door.operator, tenant=other_tenant)
    for days in (0, 91):
        with pytest.raises(Validation):
            await scene.reviews.open(scene.door.operator, tenant=other_tenant, days=days)


async def test_what_ended_meanwhile_needs_no_decision(scene: Scene) -> None:
    review = await scene.reviews.open(scene.ada, tenant=scene.tenant)
    item = (await scene.items(review))[scene.clinician].id
    people = People(gate=scene.door.home.gate)
    await people.revoke(scene.ada, tenant=scene.tenant, person=scene.clinician, role="clinician")
    assert (await scene.items(review))[scene.clinician].outcome == "ended"
    assert await scene.decide(scene.ben, review, item) == "conflict"
    with pytest.raises(Conflict):
        await scene.reviews.close(tenant=scene.tenant, review=review)


async def test_a_key_that_was_rotated_meanwhile_is_decided_in_the_one_that_took_over(scene: Scene) -> None:
    review = await scene.reviews.open(scene.ada, tenant=scene.tenant)
    heir = (await scene.door.keys.create(scene.ada, tenant=scene.tenant, name="heir", roles=["administrator"])).about.id
    async with scene.door.home.database.connect() as connection:
        await connection.execute(_ROTATED, scene.key, heir)
    assert (await scene.items(review))[scene.key].outcome is None, "it goes on under another id"
    async with scene.door.home.database.entered(scene.tenant) as connection:
        behind = await hands_behind(connection, str(heir))
    assert behind == {str(heir), str(scene.key), scene.ada.principal.id}
    await scene.decide(scene.ben, review, scene.key, keep=False)
    assert not await scene.stands(heir)


async def test_another_tenants_review_is_not_there(scene: Scene, other_tenant: UUID) -> None:
    review = await scene.reviews.open(scene.ada, tenant=scene.tenant)
    stranger = await person(scene.door.home, other_tenant, "administrator")
    with pytest.raises(NotFound):
        await scene.reviews.shown(stranger, tenant=other_tenant, review=review)
    with pytest.raises(NotFound):
        await scene.reviews.decide(stranger, tenant=other_tenant, review=review, item=scene.key, keep=False)
    with pytest.raises(Forbidden):
        await scene.reviews.decide(stranger, tenant=scene.tenant, review=review, item=scene.key, keep=False)
    with pytest.raises(NotFound):
        await scene.reviews.decide(scene.ben, tenant=scene.tenant, review=review, item=uuid7(), keep=False)
    with pytest.raises(NotFound):
        await scene.reviews.listed(scene.door.operator, tenant=uuid7())
    clinician = await person(scene.door.home, scene.tenant, "clinician")
    with pytest.raises(Forbidden):
        await scene.reviews.listed(clinician, tenant=scene.tenant)
    assert await scene.stands(scene.key)


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE access.review_item SET outcome = 'keep', decided_by = 'person:' || person_id, decided_at = now()",
        "UPDATE access.review_item SET outcome = 'keep', decided_by = 'api_key:' || id, decided_at = now()",
        "UPDATE access.review_item SET outcome = 'keep', decided_at = now()",
        "UPDATE access.review_item SET person_id = gen_random_uuid()",
        "DELETE FROM access.review_item",
    ],
)
async def test_not_even_sql_of_ours_reviews_itself(scene: Scene, tampering: str) -> None:
    await scene.reviews.open(scene.ada, tenant=scene.tenant)
    with pytest.raises(WellkeepError) as refused:
        async with scene.door.home.pool.tenant_transaction(tenant=scene.tenant) as connection:
            await connection.execute(tampering)
    assert any(code in note for note in refused.value.__notes__ for code in ("23514", "42501"))


async def test_what_was_decided_stays_decided(scene: Scene) -> None:
    review = await scene.reviews.open(scene.ada, tenant=scene.tenant)
    await scene.decide(scene.ben, review, scene.key, keep=True)
    with pytest.raises(WellkeepError) as refused:
        async with scene.door.home.pool.tenant_transaction(tenant=scene.tenant) as connection:
            await connection.execute("UPDATE access.review_item SET outcome = 'revoke' WHERE outcome IS NOT NULL")
    assert any("23514" in note for note in refused.value.__notes__)
