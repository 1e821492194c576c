"""A worker that dies at any step of a roll: whoever comes next brings it to its end, and nothing is lost or undone."""

from __future__ import annotations

import asyncio
import contextlib
from uuid import UUID

import pytest

from keys.rotation.dying import DyingPool
from keys.rotation.rig import Rolling, never
from wellkeep.base.errors import KeysUnavailable, WellkeepError
from wellkeep.db.queue import Interrupted
from wellkeep.keys.rewrap_pages import Pace
from wellkeep.keys.rotation import RotationOver
from wellkeep.keys.signals import Signals

MOST_STEPS = 80


async def finished(roller: Rolling, target: int, tenants: dict[UUID, int]) -> None:
    """See that the roll to `target` left nothing behind."""
    for tenant, count in tenants.items():
        assert await roller.under(tenant) == {target: count}
        keys = await roller.keys(tenant)
        assert {kms for _, _, kms, state, _ in keys if state != "destroyed"} == {target}
        active = sorted(purpose for purpose, _, _, state, _ in keys if state == "active")
        assert active == ["BACKUP", "DATA", "FILE", "INDEX", "MAC", "WRAP"]
        assert all(size == 0 for _, _, _, state, size in keys if state == "destroyed")
    epochs = await roller.known_epochs()
    assert [one.state for one in epochs] == ["retired"] * (target - 1) + ["active"]


@pytest.mark.parametrize("committed", [False, True], ids=["before the commit", "after the commit"])
async def test_a_worker_may_die_at_every_step(roller: Rolling, committed: bool) -> None:  # noqa: FBT001
    stack = roller.stack
    mine, theirs = await roller.patients(4), await roller.patients(1, tenant=stack.other)
    counts = {stack.tenant: 4, stack.other: 1}
    target = 1
    for step in range(1, MOST_STEPS):
        target += 1
        roll = await roller.begun(target)
        pool = DyingPool(stack.pool, at=step, committed=committed)
        with contextlib.suppress(WellkeepError):
            await roller.engine(pool=pool).run(roll, never)
        if (await roller.state(roll.id)).state == "running":
            await roller.engine().run(roll, never)
        await finished(roller, target, counts)
        if not pool.dead:
            assert step > 20
            break
    else:
        pytest.fail("a roll has more steps than were tried")
    for tenant, records in ((stack.tenant, mine), (stack.other, theirs)):
        stack.keyring.expire(tenant)
        await roller.readable(records, tenant=tenant)


async def test_two_workers_share_one_roll(roller: Rolling) -> None:
    stack = roller.stack
    records = await roller.patients(30)
    roll = await roller.begun()
    workers = [roller.engine() for _ in range(2)]
    results = await asyncio.gather(*(worker.run(roll, never) for worker in workers), return_exceptions=True)
    assert all(one is None or isinstance(one, RotationOver | KeysUnavailable) for one in results), results
    if (await roller.state(roll.id)).state == "running":
        await roller.engine().run(roll, never)
    await finished(roller, 2, {stack.tenant: 30})
    state = await roller.state(roll.id)
    assert (state.done, state.conflicts) == (30, 0)
    stack.keyring.expire(stack.tenant)
    await roller.readable(records)


async def test_writers_go_on_through_a_roll_and_no_request_fails(roller: Rolling) -> None:
    stack = roller.stack
    records = await roller.patients(20)
    roll = await roller.begun()
    done = False
    made: list[UUID] = []

    async def writing() -> None:
        while not done:
            made.extend(await roller.patients(3))

    async def reading() -> None:
        while not done:
            await roller.readable(records[:5])

    signals = Signals(stack.pool, stack.keyring, clock=stack.clock, period=0.05)
    await signals.start()
    others = [asyncio.create_task(work()) for work in (writing, writing, reading)]
    try:
        await roller.engine(pace=Pace(page=5, share=0.5, settle=0.5)).run(roll, never)
    finally:
        done = True
        await asyncio.gather(*others)
        await signals.stop()
    assert set(await roller.under(stack.tenant)) == {2}
    stack.keyring.expire(stack.tenant)
    await roller.readable(records + made)


async def test_a_worker_that_goes_down_leaves_and_the_next_goes_on(roller: Rolling) -> None:
    await roller.patients(7)
    roll = await roller.begun()
    asked = 0

    def going_down() -> bool:
        nonlocal asked
        asked += 1
        return asked > 6

    with pytest.raises(Interrupted):
        await roller.engine().run(roll, going_down)
    between = await roller.under(roller.stack.tenant)
    assert set(between) <= {1, 2}
    await roller.engine().run(roll, never)
    assert (await roller.state(roll.id)).state == "done"
    assert await roller.under(roller.stack.tenant) == {2: 7}
