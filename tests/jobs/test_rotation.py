"""Keys that rotate by themselves: begun when due, taken up again, reported when late; and asked for by people."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from database import Database
from keys.rotation.rig import QUICK, never
from vault.stack import NOTES, PATIENTS, Stack, open_stack
from wellkeep.assembly.key_rotations import JOB, KeyRotations
from wellkeep.base.errors import Conflict, Forbidden, NotFound, Validation
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.key_settings import KeySettings
from wellkeep.base.principal import ActorType, AuthMethod, Principal
from wellkeep.db.queue import QueuedJob
from wellkeep.findings.grammar import Kind
from wellkeep.gate.acts import Caller
from wellkeep.jobs.rotation import SCHEDULE, TEND, RotationJobs
from wellkeep.keys.kms import EpochState
from wellkeep.keys.rotation import StillUsed, Tier


@dataclass
class Scene:
    """A vault, the door to rotations, and the jobs."""

    stack: Stack
    rotations: KeyRotations
    jobs: RotationJobs

    async def aged(self, days: int) -> None:
        """Have every key and epoch be so many days older."""
        for table in ("keys.tenant_key", "keys.subject_key", "keys.epoch"):
            await self.stack.as_superuser(
                f"UPDATE {table} SET created_at = created_at - $1::integer * interval '1 day'",  # noqa: S608 - ours
                days,
            )


@pytest.fixture
async def scene(database: Database, tenant: UUID, other_tenant: UUID) -> AsyncIterator[Scene]:
    async with open_stack(database, tenant, other_tenant) as stack:
        await stack.declare(PATIENTS, NOTES)
        core = cast(
            "Any",
            SimpleNamespace(
                app=stack.pool,
                gate=stack.gate,
                roots=stack.keyring._roots,
                epochs=stack.keyring._epochs,
                findings=stack.findings,
                clock=stack.clock,
                ring=stack.keyring,
                settings=SimpleNamespace(keys=KeySettings()),
            ),
        )
        rotations = KeyRotations(core, stack.vault.context, pace=QUICK)
        yield Scene(stack, rotations, RotationJobs(core, rotations))


def operator(name: str = "tester") -> Caller:
    principal = Principal(
        type=ActorType.OPERATOR, id=name, tenant=PLATFORM_TENANT, roles=("operator",), method=AuthMethod.LOCAL
    )
    return Caller(principal, None, uuid7())


def job(kind: str, resource: UUID | None = None, tenant: UUID = PLATFORM_TENANT) -> QueuedJob:
    return QueuedJob(tenant, uuid7(), kind, resource, 1)


async def test_asked_for_twice_is_the_one_that_runs(scene: Scene) -> None:
    first = await scene.rotations.start(operator(), Tier.EPOCH)
    second = await scene.rotations.start(operator("another"), Tier.EPOCH)
    assert first.id == second.id
    assert (first.target, first.requested_by, first.state) == (2, "operator:tester", "running")
    rows = await scene.stack.as_superuser("SELECT kind, resource_id FROM queue.job")
    assert [(row["kind"], row["resource_id"]) for row in rows] == [(JOB, first.id)]
    await scene.jobs.handlers()[JOB](job(JOB, first.id), never)
    assert (await scene.rotations.one(operator(), first.id)).state == "done"
    await scene.jobs.handlers()[JOB](job(JOB, first.id), never)
    assert (await scene.rotations.start(operator(), Tier.EPOCH)).target == 3


async def test_who_may_rotate_what(scene: Scene) -> None:
    stack, rotations = scene.stack, scene.rotations
    with pytest.raises(Forbidden):
        await rotations.start(stack.administrator, Tier.EPOCH)
    with pytest.raises(Forbidden):
        await rotations.start(stack.clinician, Tier.DATA)
    assert {one.tenant for one in await rotations.keys(stack.administrator)} == {stack.tenant}
    assert {stack.tenant, stack.other} < {one.tenant for one in await rotations.keys(operator())}
    with pytest.raises(Forbidden):
        await rotations.keys(stack.clinician)
    with pytest.raises(Validation):
        await rotations.start(operator(), Tier.EPOCH, tenant=stack.tenant)
    mine = await rotations.start(stack.administrator, Tier.DATA)
    theirs = await rotations.start(operator(), Tier.INDEX, tenant=stack.other)
    assert [one.id for one in await rotations.listed(stack.administrator)] == [mine.id]
    assert {one.id for one in await rotations.listed(operator())} == {mine.id, theirs.id}
    with pytest.raises(NotFound):
        await rotations.one(stack.administrator, theirs.id)


async def test_what_is_young_is_left_alone(scene: Scene) -> None:
    await scene.stack.vault.subjects.create(scene.stack.integration)
    assert await scene.jobs.due() == []
    await scene.aged(60)
    assert await scene.jobs.due() == []


async def test_what_is_due_is_begun_once_and_done(scene: Scene) -> None:
    stack = scene.stack
    await stack.vault.subjects.create(stack.integration)
    await scene.aged(91)
    due = await scene.jobs.due()
    assert set(due) == {
        (Tier.EPOCH, None),
        (Tier.SUBJECT, stack.tenant),
        *((tier, tenant) for tier in (Tier.DATA, Tier.INDEX) for tenant in (stack.tenant, stack.other)),
    }
    handlers = scene.jobs.handlers()
    await handlers[SCHEDULE](job(SCHEDULE), never)
    await handlers[SCHEDULE](job(SCHEDULE), never)
    begun = await scene.rotations.all()
    assert sorted((one.tier, one.tenant) for one in begun) == sorted(
        (tier, whose or PLATFORM_TENANT) for tier, whose in due
    )
    for one in begun:
        if one.tier is Tier.EPOCH:
            await scene.rotations.run(one.id, never)
    assert (Tier.EPOCH, None) not in await scene.jobs.due()
    await stack.findings.flush()
    assert not [found for found in await stack.findings.list(stack.tenant) if found.kind == Kind.KEYS_OVERDUE]


async def test_what_is_late_is_a_finding(scene: Scene) -> None:
    stack = scene.stack
    await scene.aged(120)
    await scene.jobs.handlers()[SCHEDULE](job(SCHEDULE), never)
    await stack.findings.flush()
    details = {
        found.detail["tier"] for found in await stack.findings.list(stack.tenant) if found.kind == Kind.KEYS_OVERDUE
    }
    assert details == {"data", "index"}
    assert Kind.KEYS_OVERDUE in [found.kind for found in await stack.findings.list(PLATFORM_TENANT)]
    await scene.aged(-120)
    await scene.jobs.handlers()[SCHEDULE](job(SCHEDULE), never)
    for tenant in (stack.tenant, PLATFORM_TENANT):
        assert Kind.KEYS_OVERDUE not in [found.kind for found in await stack.findings.list(tenant)]


async def test_what_lost_its_job_is_queued_again_and_a_due_epoch_is_destroyed(scene: Scene) -> None:
    stack, rotations = scene.stack, scene.rotations
    rotations.epoch._kept = timedelta(0)
    first = await rotations.start(operator(), Tier.EPOCH)
    await rotations.run(first.id, never)
    second = await rotations.start(operator(), Tier.EPOCH)
    await scene.jobs.give_up(job(JOB, second.id), "too-many-starts")
    assert (await rotations.stored(second.id)).error == "too-many-starts"
    await stack.as_superuser("DELETE FROM queue.pgqueuer")
    await scene.jobs.handlers()[TEND](job(TEND), never)
    rows = await stack.as_superuser("SELECT count(*) AS n FROM queue.pgqueuer")
    assert rows[0]["n"] == 1
    assert [one.state for one in await rotations.epochs()] == ["destroyed", "active"]


async def test_an_epoch_ends_before_its_time_by_two_people_only(scene: Scene) -> None:
    rotations = scene.rotations
    with pytest.raises(StillUsed):
        await rotations.destroy(operator(), 1)
    with pytest.raises(NotFound):
        await rotations.destroy(operator(), 7)
    await rotations.run((await rotations.start(operator(), Tier.EPOCH)).id, never)
    asked = await rotations.destroy(operator(), 1)
    assert asked.at is None
    assert asked.approval is not None
    assert (await rotations.destroy(operator(), 1)).approval == asked.approval
    with pytest.raises(Conflict):
        await rotations.destroy(operator("another"), 1)
    with pytest.raises(Forbidden):
        await rotations._approvals.decide(operator(), asked.approval, give=True)
    assert [str(one.outside) for one in await rotations.epochs()] == ["usable", "usable"]
    await rotations._approvals.decide(operator("another"), asked.approval, give=True)
    ended = await rotations.destroy(operator(), 1)
    assert ended.at is not None
    assert [str(one.outside) for one in await rotations.epochs()] == ["gone", "usable"]
    assert (await rotations.destroy(operator(), 1)).at == ended.at
    assert replace(ended, at=None).approval is None


async def test_where_a_cloud_waits_an_early_end_is_asked_for_once_and_dated(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotations, day, ordered = scene.rotations, datetime(2999, 1, 1, tzinfo=UTC), list[int]()
    epochs = rotations.core.epochs

    async def destroy(epoch: int) -> datetime:
        ordered.append(epoch)
        return day

    async def state(epoch: int) -> EpochState:
        return EpochState.PENDING if epoch in ordered else EpochState.USABLE

    monkeypatch.setattr(epochs, "destroy", destroy)
    monkeypatch.setattr(epochs, "state", state)
    await rotations.run((await rotations.start(operator(), Tier.EPOCH)).id, never)
    asked = await rotations.destroy(operator(), 1)
    assert asked.approval is not None
    await rotations._approvals.decide(operator("another"), asked.approval, give=True)
    assert (await rotations.destroy(operator(), 1)).at == day
    assert next((one.state, one.destroy_at) for one in await rotations.epochs()) == ("retired", day)
    again = await rotations.destroy(operator(), 1)
    assert (again.at, again.approval) == (day, None)
    assert ordered == [1]
