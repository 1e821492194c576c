"""The writer where something ends early: a stop that can't wait, a caller that left, a race that is never won."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from database import Database
from ledger.making import change, prepared, verified, writing
from wellkeep.base.errors import LedgerUnavailable
from wellkeep.ledger import append as append_module
from wellkeep.ledger import writer as writer_module

LOCKED = "SELECT FROM ledger.log WHERE tenant_id = $1 FOR UPDATE"


async def test_a_stop_that_can_not_wait_refuses_everybody(
    database: Database, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch in flight is cut off: who waits for it, who left, and who asked for a drain all hear of it."""
    monkeypatch.setattr(writer_module, "_STOP_SECONDS", 0.2)
    async with writing(database) as writer:
        await writer.append(tenant, prepared())
        async with database.connect() as blocker, blocker.transaction():
            await blocker.execute(LOCKED, tenant)
            waits = asyncio.create_task(writer.append(tenant, prepared()))
            left = asyncio.create_task(writer.append(tenant, prepared()))
            await asyncio.sleep(0.3)
            left.cancel()
            drains = asyncio.create_task(writer.drain_outbox())
            await asyncio.sleep(0)
            await writer.stop()
            outcomes = await asyncio.gather(waits, left, drains, return_exceptions=True)
    assert [type(each) for each in outcomes] == [LedgerUnavailable, asyncio.CancelledError, LedgerUnavailable]
    assert (await verified(database)).entries == 4


async def test_a_caller_who_left_while_the_database_failed(database: Database, tenant: UUID) -> None:
    async with writing(database, seconds=2.0) as writer:
        await writer.append(tenant, prepared())
        async with database.connect() as blocker, blocker.transaction():
            await blocker.execute(LOCKED, tenant)
            left = asyncio.create_task(writer.append(tenant, prepared()))
            await asyncio.sleep(0.1)
            left.cancel()
            with pytest.raises(LedgerUnavailable):
                await writer.append(tenant, prepared())
    assert (await verified(database)).ok


async def test_a_drain_whose_caller_left_is_done_all_the_same(database: Database, tenant: UUID) -> None:
    async with writing(database) as writer:
        await writer.append(tenant, prepared())
        left = asyncio.create_task(writer.drain_outbox(older_than=0.0))
        await asyncio.sleep(0)
        left.cancel()
        assert await writer.drain_outbox(older_than=0.0) == 0
        assert await writer.append(tenant, prepared())


async def test_a_race_that_is_never_won_ends_as_unavailable(
    database: Database, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with writing(database) as one, writing(database) as two:
        await one.append(tenant, prepared())
        await two.append(tenant, prepared())
        monkeypatch.setattr(append_module, "_TRIES", 1)
        with pytest.raises(LedgerUnavailable):
            await one.append(tenant, prepared())
        monkeypatch.undo()
        assert (await one.append(tenant, prepared()))[0].seq == 3
    assert (await verified(database)).ok


async def test_heads_that_are_too_many_are_forgotten_and_learnt_again(
    database: Database, tenant: UUID, other_tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(append_module, "_HEADS_KEPT", 1)
    async with writing(database) as writer:
        for each in (tenant, other_tenant, tenant):
            await writer.append(each, prepared())
    report = await verified(database)
    assert report.ok
    assert report.entries == 3 + 2 + 3


async def test_a_head_that_another_epoch_follows_is_not_extended(database: Database, tenant: UUID) -> None:
    """The writer spliced onto epoch 1 and must find that the log goes on elsewhere."""
    async with writing(database) as writer:
        await writer.append(tenant, prepared())
        await change(
            database,
            "INSERT INTO ledger.log SELECT tenant_id, 2, origin || '/later', size, leaf, time, frontier "
            "FROM ledger.log WHERE tenant_id = $1",
            tenant,
        )
        assert (await writer.append(tenant, prepared()))[0].epoch == 2
