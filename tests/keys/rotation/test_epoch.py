"""The roll of an epoch: everything moves, nothing is lost, and the old key goes only when nothing needs it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from keys.rig import CompanyKms
from keys.rotation.rig import Rolling, never
from local_keys import a_root
from wellkeep.base.errors import IntegrityBroken, KeysUnavailable, NotFound
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.findings.grammar import Kind
from wellkeep.keys.kms import EpochState
from wellkeep.keys.rewrap_pages import Pace
from wellkeep.keys.roots import PinnedRoots, Root
from wellkeep.keys.rotation import StillUsed


async def test_a_roll_moves_everything_and_retires_the_old_epoch(roller: Rolling) -> None:
    stack = roller.stack
    mine, theirs = await roller.patients(8), await roller.patients(2, tenant=stack.other)
    roll = await roller.begun()
    await roller.engine().run(roll, never)
    assert await roller.under(stack.tenant) == {2: 8}
    assert await roller.under(stack.other) == {2: 2}
    for tenant in (stack.tenant, stack.other):
        keys = await roller.keys(tenant)
        assert {kms for _, _, kms, state, _ in keys if state != "destroyed"} == {2}
        assert [(p, e, n) for p, e, _, state, n in keys if state == "destroyed"] == [("FILE", 1, 0), ("WRAP", 1, 0)]
        assert [e for p, e, _, state, _ in keys if state == "active" and p in {"DATA", "INDEX"}] == [1, 1]
    stack.keyring.expire(stack.tenant)
    stack.keyring.expire(stack.other)
    await roller.readable(mine)
    await roller.readable(theirs, tenant=stack.other)
    old, new = await roller.known_epochs()
    assert (old.state, old.rows, new.state) == ("retired", 0, "active")
    assert old.destroy_at
    assert old.retired_at
    assert old.destroy_at - old.retired_at > timedelta(days=29)
    state = await roller.state(roll.id)
    assert (state.state, state.done, state.total, state.conflicts) == ("done", 10, 10, 0)
    assert await roller.epochs.state(1) is EpochState.USABLE


async def test_a_tenant_whose_root_is_away_stops_no_other_and_keeps_the_old_epoch(roller: Rolling) -> None:
    stack = roller.stack
    await roller.patients(2)
    await roller.patients(2, tenant=stack.other)
    roots = roller.roots
    away = CompanyKms(mood="gone", inner=a_root())
    roller.roots = PinnedRoots(
        [Root("main", roots.deployment), Root("theirs", away, tenants=frozenset({stack.other}), moving=True)],
        main="main",
    )
    roll = await roller.begun()
    with pytest.raises(KeysUnavailable):
        await roller.engine().run(roll, never)
    assert await roller.under(stack.tenant) == {2: 2}
    assert await roller.under(stack.other) == {1: 2}
    state = await roller.state(roll.id)
    assert (state.state, state.error) == ("running", "keys-unavailable")
    assert [one.state for one in await roller.known_epochs()] == ["decrypt_only", "active"]
    away.mood = "well"
    await roller.engine().run(roll, never)
    assert await roller.under(stack.other) == {2: 2}
    assert [one.state for one in await roller.known_epochs()] == ["retired", "active"]
    assert (await roller.state(roll.id)).error is None


async def test_what_was_found_of_a_failed_roll_ends_with_the_next_one_that_gets_through(roller: Rolling) -> None:
    """Each tenant's own finding: who is through waits for nobody, and no run that another one ended leaves it open."""
    stack = roller.stack
    moods = {one: CompanyKms(mood="gone", inner=a_root()) for one in (stack.tenant, stack.other)}
    main = Root("main", roller.roots.deployment)
    own = [Root(f"own{n}", kms, tenants=frozenset({one}), moving=True) for n, (one, kms) in enumerate(moods.items())]
    roller.roots = PinnedRoots([main, *own], main="main")

    async def failing() -> list[UUID]:
        await stack.findings.flush()
        found = {one: await stack.findings.list(one) for one in moods}
        return [one for one, kinds in found.items() if Kind.KEYS_ROTATION_FAILED in [each.kind for each in kinds]]

    roll = await roller.begun()
    with pytest.raises(KeysUnavailable):
        await roller.engine().run(roll, never)
    assert await failing() == [stack.tenant, stack.other]
    moods[stack.tenant].mood = "well"
    with pytest.raises(KeysUnavailable):
        await roller.engine().run(roll, never)
    assert await failing() == [stack.other]
    moods[stack.other].mood = "well"
    await roller.engine().run(roll, never)
    assert await failing() == []


async def test_tenants_that_come_and_close_in_the_middle_are_rolled_as_well(roller: Rolling) -> None:
    stack = roller.stack
    await roller.patients(5)
    roll = await roller.begun()
    made: list[UUID] = []
    looks = 0
    begun = asyncio.Event()

    def meanwhile() -> bool:
        nonlocal looks
        looks += 1
        if looks > 3:
            begun.set()
        return False

    async def come() -> None:
        await begun.wait()
        made.append(await stack.database.create_tenant())
        await stack.keyring.provision(made[0])
        async with stack.pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            assert await connection.fetchval("SELECT wk.close_tenant($1)", stack.other)

    coming = asyncio.create_task(come())
    await roller.engine(pace=Pace(page=1, share=0.9, settle=0.1)).run(roll, meanwhile)
    await coming
    for tenant in (stack.tenant, stack.other, *made):
        assert {kms for _, _, kms, state, _ in await roller.keys(tenant) if state != "destroyed"} == {2}


async def test_a_swapped_row_is_found_and_left_as_it_is(roller: Rolling) -> None:
    """A row that somebody put in another's place must not come out of a roll as a genuine one."""
    stack = roller.stack
    await roller.patients(3)
    await stack.as_superuser(
        "UPDATE keys.subject_key k SET wrapped = o.wrapped FROM keys.subject_key o "
        "WHERE k.tenant_id = $1 AND o.tenant_id = $1 AND o.subject_id < k.subject_id",
        stack.tenant,
    )
    roll = await roller.begun()
    with pytest.raises(IntegrityBroken):
        await roller.engine().run(roll, never)
    assert await roller.under(stack.tenant) == {1: 3}
    assert (await roller.state(roll.id)).error == IntegrityBroken.code
    await stack.findings.flush()
    assert Kind.KEYS_ROTATION_FAILED in [found.kind for found in await stack.findings.list(stack.tenant)]


async def test_the_key_of_a_retired_epoch_is_destroyed_when_its_time_has_come(roller: Rolling) -> None:
    stack = roller.stack
    records = await roller.patients(2)
    with pytest.raises(StillUsed):
        await roller.engine().destroy(1)
    await roller.engine(kept=timedelta(0)).run(await roller.begun(), never)
    assert await roller.engine().destroy_due() == [1]
    assert await roller.engine().destroy_due() == []
    await roller.engine().destroy(1)
    assert await roller.epochs.state(1) is EpochState.GONE
    assert [one.state for one in await roller.known_epochs()] == ["destroyed", "active"]
    stack.keyring.expire(stack.tenant)
    await roller.readable(records)
    with pytest.raises(NotFound):
        await roller.engine().destroy(9)


async def test_entries_say_what_was_done_and_how_much(roller: Rolling) -> None:
    stack = roller.stack
    await roller.patients(4)
    roll = await roller.begun()
    await roller.engine().run(roll, never)
    (rotated,) = await stack.entries("key.rotated")
    assert '"count":4' in rotated["text"]
    assert str(roll.id) in rotated["text"]
    assert len(await stack.entries("key.retired")) == 2
    rows = await stack.as_superuser(
        "SELECT action FROM ledger.entry WHERE tenant_id = $1 AND action <> 'log.opened' ORDER BY seq", PLATFORM_TENANT
    )
    assert [row["action"] for row in rows] == ["rotation.started", "epoch.rolled", "key.retired", "rotation.ended"]
