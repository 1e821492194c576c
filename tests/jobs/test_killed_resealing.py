"""A rotation whose worker is killed with -9, wherever, is worked off by the next one; imports go on beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from uuid import UUID

import pytest

from database import Database
from jobs.killing import dying_house, in_a_fork, kill_myself
from jobs.transfer import Transfer, ndjson, never, spec
from vault.stack import Stack, open_stack
from vault.test_resealing import engine, kids, replayed
from wellkeep.base.ids import uuid7
from wellkeep.db.queue import Interrupted, QueuedJob
from wellkeep.jobs.resealing import ResealingJob
from wellkeep.vault.resealing import JOB, Resealing, Tier

LINES = [
    f'{{"resourceType":"Practitioner","id":"d{n}","name":[{{"family":"Doctor{n}"}}]}}'.encode() for n in range(700)
]
TIERS = [Tier.SUBJECT, Tier.DATA, Tier.INDEX]


@pytest.fixture
async def transfer(database: Database, tenant: UUID, other_tenant: UUID) -> AsyncIterator[Transfer]:
    """Open the house with practitioners, of nobody, and patients."""
    async with open_stack(database, tenant, other_tenant) as stack:
        await stack.declare(spec("practitioners"), spec("patients"))
        yield Transfer(stack)


async def work_and_die(stack: Stack, rotation: UUID, *, after: float | None) -> None:
    """Work a rotation off in this process, and die so many seconds later, or behind its first commit."""
    async with dying_house(stack, die_at="committed" if after is None else "", after=-1) as (context, _):
        if after is not None:
            asyncio.get_running_loop().call_later(after, kill_myself)
        await Resealing(context, settle_seconds=0.0).run(stack.tenant, rotation)


@pytest.mark.fault
@pytest.mark.parametrize("tier", TIERS)
async def test_killed_and_taken_up_again(transfer: Transfer, tier: Tier) -> None:
    stack = transfer.stack
    await transfer.load(ndjson(LINES), "practitioners")
    patients = [line.replace(b"Practitioner", b"Patient") for line in LINES[:300]]
    await transfer.load(ndjson(patients), "patients")
    before = await kids(stack, of_nobody=tier is Tier.DATA)
    begun = await engine(stack).start(stack.administrator, tier)
    moments = (0.02, None, 0.05, None, 0.08)
    ends = [in_a_fork(partial(work_and_die, stack, begun.id, after=after)) for after in moments]
    assert ends.count(-9) >= 3
    job = QueuedJob(stack.tenant, uuid7(), JOB, begun.id, 1)
    await stack.writer.drain_outbox(older_than=0.0)
    await ResealingJob(engine(stack))(job, never)
    (ended,) = [one for one in await engine(stack).status(stack.tenant) if one.tier is tier]
    assert (ended.state, ended.conflicts) == ("done", 0)
    if tier is not Tier.INDEX:
        assert not await kids(stack, of_nobody=tier is Tier.DATA) & before
    assert sorted((await transfer.export("practitioners", "fhir")).splitlines()) == sorted(LINES)
    assert await replayed(stack) == []


@pytest.mark.parametrize("tier", TIERS)
async def test_an_import_beside_a_rotation(transfer: Transfer, tier: Tier) -> None:
    stack = transfer.stack
    await transfer.load(ndjson(LINES[:500]), "practitioners")
    begun = await engine(stack).start(stack.administrator, tier)
    again = [line.replace(b"Doctor1", b"Doktor1") for line in LINES]
    started = await transfer.upload(ndjson(again), "practitioners")
    ended, done = await asyncio.gather(engine(stack).run(stack.tenant, begun.id), transfer.run(started.id))
    assert (ended.state, ended.conflicts) == ("done", 0)
    assert (done.state, done.failed, done.created, done.updated) == ("done", 0, 200, 111)
    repeated = await transfer.load(ndjson(again), "practitioners")
    assert (repeated.unchanged, repeated.updated) == (len(LINES), 0)
    assert await replayed(stack) == []


async def test_a_worker_that_goes_down_leaves_between_two_pages(transfer: Transfer) -> None:
    stack = transfer.stack
    await transfer.load(ndjson(LINES[:100]), "practitioners")
    begun = await engine(stack).start(stack.administrator, Tier.DATA)
    job, handler = QueuedJob(stack.tenant, uuid7(), JOB, begun.id, 1), ResealingJob(engine(stack))
    asked = iter([False, False, True])
    with pytest.raises(Interrupted):
        await handler(job, lambda: next(asked))
    await handler(job._replace(resource=None), never)
    await handler(job._replace(resource=uuid7()), never)
    await handler.give_up(job, "internal")
    (failed,) = [one for one in await engine(stack).status(stack.tenant) if one.tier is Tier.DATA]
    assert (failed.state, failed.error) == ("failed", "internal")
    assert "keys.rotation_failed" in [one.kind for one in await stack.found()]
    again = await engine(stack).start(stack.administrator, Tier.DATA)
    assert again.target == begun.target
    await handler(job._replace(resource=again.id), never)
    assert (await engine(stack).status(stack.tenant))[0].state == "done"
