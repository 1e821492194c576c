"""Reviews open when they are due, close when nothing waits, and are told of each day that they are late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import pytest

from access.conftest import MovedClock
from access.signed_in import joined, person
from database import Database
from gate.trial import House, house
from wellkeep.access.operators import operator
from wellkeep.access.people import People
from wellkeep.access.reviews import Reviews
from wellkeep.base.errors import Conflict
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.db.queue import Interrupted, QueuedJob
from wellkeep.findings.findings import Finding
from wellkeep.gate.acts import Caller
from wellkeep.jobs.reviews import OVERDUE, PERIODIC, TEND, UNUSED, ReviewJobs

_OPERATOR = Caller(operator("root"), None, uuid7())
_RULES = """
INSERT INTO access.tenant_rules (tenant_id, review_days, changed_at, changed_by) VALUES (wk.tenant(), 7, now(), 'root')
"""


@dataclass
class Scene:
    """Jobs over a house, with a clock that can be set forward."""

    home: House
    reviews: Reviews
    jobs: ReviewJobs
    clock: MovedClock

    async def run(self, kind: str, *, stopping: bool = False) -> None:
        await self.jobs.handlers()[kind](QueuedJob(PLATFORM_TENANT, uuid7(), kind, None, 1), lambda: stopping)
        await self.home.findings.flush()

    async def open_ones(self, tenant: UUID) -> list[UUID]:
        listed = await self.reviews.listed(_OPERATOR, tenant=tenant)
        return [one.id for one in listed if one.closed_at is None]

    async def findings(self, tenant: UUID) -> list[Finding]:
        return await self.home.findings.list(tenant)


@pytest.fixture
async def scene(database: Database) -> AsyncIterator[Scene]:
    clock = MovedClock()
    async with house(database) as home:
        reviews = Reviews(gate=home.gate, findings=home.findings, clock=clock)
        jobs = ReviewJobs(app=home.pool, reviews=reviews, findings=home.findings, clock=clock)
        yield Scene(home, reviews, jobs, clock)


async def test_one_opens_after_the_days_that_the_tenant_chose_and_again_after_it_closed(
    scene: Scene, tenant: UUID, other_tenant: UUID
) -> None:
    await joined(scene.home, tenant, "clinician")
    await joined(scene.home, PLATFORM_TENANT, "support")
    async with scene.home.database.entered(tenant) as connection:
        await connection.execute(_RULES)
    await scene.run(TEND)
    assert await scene.open_ones(tenant) == []
    scene.clock.by = timedelta(days=8)
    await asyncio.gather(scene.run(TEND), scene.run(TEND), scene.run(TEND))
    (first,) = await scene.open_ones(tenant)
    assert await scene.open_ones(PLATFORM_TENANT) == [], "after 90 days"
    (item,) = (await scene.reviews.shown(_OPERATOR, tenant=tenant, review=first)).items
    second = Caller(operator("grace"), None, uuid7())
    closed = await scene.reviews.decide(second, tenant=tenant, review=first, item=item.id, keep=True)
    assert closed.closed_at is not None
    await scene.run(TEND)
    assert await scene.open_ones(tenant) == []
    scene.clock.by = timedelta(days=91)
    await scene.run(TEND)
    assert len(await scene.open_ones(tenant)) == 1
    assert len(await scene.open_ones(PLATFORM_TENANT)) == 1, "the deployment's own people"
    assert await scene.open_ones(other_tenant) == [], "nobody is there"


async def test_made_up_data_is_reviewed_by_hand_alone(scene: Scene, database: Database) -> None:
    probes = await database.create_tenant(kind="synthetic")
    await joined(scene.home, probes, "clinician")
    scene.clock.by = timedelta(days=100)
    await scene.run(TEND)
    await scene.run(UNUSED)
    assert await scene.open_ones(probes) == []
    assert await scene.findings(probes) == []
    await scene.reviews.open(_OPERATOR, tenant=probes)
    assert len(await scene.open_ones(probes)) == 1


async def test_late_is_told_each_day_louder_after_twice_the_time_and_ends_with_the_last_decision(
    scene: Scene, tenant: UUID
) -> None:
    who = await joined(scene.home, tenant, "clinician")
    review = await scene.reviews.open(_OPERATOR, tenant=tenant, days=10)
    scene.clock.by = timedelta(days=9)
    await scene.run(OVERDUE)
    assert await scene.findings(tenant) == []
    for days in (11, 12):
        scene.clock.by = timedelta(days=days)
        await scene.run(OVERDUE)
    (late,) = await scene.findings(tenant)
    assert (late.kind, late.severity, late.count) == ("review.overdue", "high", 2)
    assert late.detail == {"review": str(review), "count": 1}
    scene.clock.by = timedelta(days=21)
    await scene.run(OVERDUE)
    (late,) = await scene.findings(tenant)
    assert (late.severity, late.count) == ("critical", 3)
    ada = await person(scene.home, tenant, "administrator")
    held = await People(gate=scene.home.gate).get(ada, tenant=tenant, person=who)
    assert held.roles == ("clinician",), "nothing is revoked by itself"
    (item,) = (await scene.reviews.shown(_OPERATOR, tenant=tenant, review=review)).items
    second = Caller(operator("grace"), None, uuid7())
    await scene.reviews.decide(second, tenant=tenant, review=review, item=item.id, keep=True)
    assert await scene.findings(tenant) == []


async def test_a_review_of_access_that_all_ended_closes_by_itself(scene: Scene, tenant: UUID) -> None:
    who = await joined(scene.home, tenant, "clinician")
    review = await scene.reviews.open(_OPERATOR, tenant=tenant, days=1)
    with pytest.raises(Conflict):
        await scene.reviews.close(tenant=tenant, review=review)
    scene.clock.by = timedelta(days=2)
    await scene.run(OVERDUE)
    assert len(await scene.findings(tenant)) == 1
    await People(gate=scene.home.gate).revoke(_OPERATOR, tenant=tenant, person=who, role="clinician")
    await scene.run(OVERDUE)
    await scene.run(TEND)
    assert await scene.open_ones(tenant) == []
    assert await scene.findings(tenant) == []
    (listed,) = await scene.reviews.listed(_OPERATOR, tenant=tenant)
    assert (listed.kept, listed.revoked, listed.undecided) == (0, 0, 0)
    told = [event for event in await scene.home.events(tenant) if event["action"] == "review.closed"]
    done = [event["actor"] for event in told if event["outcome"] == "done"]
    assert done == [{"id": "reviews", "roles": ["operator"], "type": "system"}]


async def test_what_is_cut_off_after_the_last_decision_is_settled_later(scene: Scene, tenant: UUID) -> None:
    await joined(scene.home, tenant, "clinician")
    review = await scene.reviews.open(_OPERATOR, tenant=tenant, days=1)
    scene.clock.by = timedelta(days=2)
    await scene.run(OVERDUE)
    async with scene.home.database.connect() as connection:  # decided, and killed before the finding was closed
        await connection.execute("UPDATE access.review_item SET outcome = 'ended', decided_at = now()")
        await connection.execute("UPDATE access.review SET closed_at = now() + interval '2 days' WHERE id = $1", review)
    await scene.run(TEND)
    assert await scene.findings(tenant) == []


async def test_unused_access_is_counted_once_a_week(scene: Scene, tenant: UUID) -> None:
    who = await joined(scene.home, tenant, "clinician")
    await scene.run(UNUSED)
    assert await scene.findings(tenant) == []
    scene.clock.by = timedelta(days=91)
    await scene.run(UNUSED)
    (idle,) = await scene.findings(tenant)
    assert (idle.kind, idle.severity, idle.detail) == ("grant.unused", "low", {"count": 1})
    await People(gate=scene.home.gate).revoke(_OPERATOR, tenant=tenant, person=who, role="clinician")
    await scene.run(UNUSED)
    assert await scene.findings(tenant) == []


async def test_it_leaves_between_two_tenants_when_the_worker_goes_down(scene: Scene) -> None:
    for kind in (TEND, OVERDUE, UNUSED):
        with pytest.raises(Interrupted):
            await scene.run(kind, stopping=True)
    assert {one.kind for one in PERIODIC} == {TEND, OVERDUE, UNUSED}
