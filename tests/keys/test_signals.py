"""Two processes over one database: what one learns of revoked keys, the other acts upon within a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from uuid import UUID

import pytest

from database import Database
from keys.rig import LIFETIMES, Bench, new_ring, under_way
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import DatabaseUnavailable, KeysRevoked, KeysUnavailable
from wellkeep.db.pool import Limits
from wellkeep.keys.ring import KeyRing
from wellkeep.keys.ring_states import Lifetimes, TenantState
from wellkeep.keys.signals import Signals

SOFT = 2.0
QUICK = Lifetimes(soft=SOFT, hard=60.0, retry=0.2, refusal=0.2)
REVOKED_AT = "SELECT revoked_at FROM keys.signal WHERE tenant_id = $1"


@dataclass
class Process:
    """One process as the core wires it: a ring and its ear."""

    ring: KeyRing
    signals: Signals

    async def read(self, tenant: UUID) -> None:
        """Use the tenant's keys as a request does."""
        keys = self.ring.cached(tenant) or await self.ring.load(tenant)
        keys.index_key(collection=1, field=1, index=1, normaliser="text/1")

    async def refused_after(self, tenant: UUID, *, seconds: float) -> float:
        """Read on until it is refused, and return when (monotonic)."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                await self.read(tenant)
            except KeysRevoked:
                return time.monotonic()
            await asyncio.sleep(0.005)
        raise AssertionError("a revoked tenant was served on")


@asynccontextmanager
async def processes(
    bench: Bench, database: Database, count: int, *, lifetimes: Lifetimes = QUICK
) -> AsyncIterator[list[Process]]:
    """Open so many processes with real clocks."""
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(count):
            pool = await stack.enter_async_context(database.pool("wk_app"))
            ear = await stack.enter_async_context(database.pool("wk_app", limits=Limits(min_size=0, max_size=1)))
            ring = new_ring(bench, pool=pool, clock=SystemClock(), lifetimes=lifetimes)
            stack.push_async_callback(ring.stop)
            signals = Signals(ear, ring, clock=SystemClock())
            await signals.start()
            stack.push_async_callback(signals.stop)
            opened.append(Process(ring, signals))
        yield opened


async def test_a_no_holds_everywhere_within_a_second_of_one_process_learning_it(
    bench: Bench, database: Database, tenant: UUID
) -> None:
    """The others would have asked the key service an hour later: what they know, they know from the first."""
    await bench.ring.provision(tenant)
    async with processes(bench, database, 4, lifetimes=LIFETIMES) as (first, *others):
        for process in (first, *others):
            await process.read(tenant)
        bench.kms.mood = "denied"
        first.ring._held[tenant].ask_at = 0
        refused = await asyncio.gather(*(process.refused_after(tenant, seconds=30) for process in (first, *others)))
        learned = refused[0]
        assert max(refused) - learned <= 1.0
        assert {process.ring.state(tenant) for process in others} == {TenantState.REVOKED}


async def test_a_no_holds_within_the_soft_lifetime_of_the_service_saying_it(
    bench: Bench, database: Database, tenant: UUID
) -> None:
    await bench.ring.provision(tenant)
    async with processes(bench, database, 3) as opened:
        for process in opened:
            await process.read(tenant)
        await asyncio.sleep(0.3)
        bench.kms.mood, revoked = "denied", time.monotonic()
        refused = await asyncio.gather(*(process.refused_after(tenant, seconds=30) for process in opened))
    assert max(refused) - revoked <= SOFT + 1.0


async def test_a_yes_after_a_no_has_the_others_ask_again_at_once(
    bench: Bench, database: Database, tenant: UUID
) -> None:
    await bench.ring.provision(tenant)
    patient = replace(LIFETIMES, refusal=50.0)
    async with processes(bench, database, 2, lifetimes=patient) as (first, second):
        for process in (first, second):
            await process.read(tenant)
        bench.kms.mood = "denied"
        first.ring._held[tenant].ask_at = 0
        await asyncio.gather(*(process.refused_after(tenant, seconds=30) for process in (first, second)))
        await first.ring.news.settled()
        async with database.entered(tenant) as connection:
            assert await connection.fetchval(REVOKED_AT, tenant) is not None
        bench.kms.mood = "well"
        first.ring.restore(tenant)
        await first.read(tenant)
        await under_way(first.ring)
        async with database.entered(tenant) as connection:
            assert await connection.fetchval(REVOKED_AT, tenant) is None
        end = time.monotonic() + 30
        while second.ring.state(tenant) is TenantState.REVOKED:
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
        await second.read(tenant)


async def test_changed_keys_are_read_again_at_the_next_use(bench: Bench, database: Database, tenant: UUID) -> None:
    await bench.ring.provision(tenant)
    async with processes(bench, database, 1, lifetimes=LIFETIMES) as (process,):
        await process.read(tenant)
        async with database.entered(tenant) as connection:
            await connection.execute("UPDATE keys.tenant_key SET state = 'decrypt_only' WHERE purpose = 'DATA'")
            await connection.execute("SELECT keys.signal_changed()")
        await process.refused_after(tenant, seconds=30)


async def test_nothing_is_acted_upon_twice_and_a_late_commit_is_not_missed(
    bench: Bench, database: Database, tenant: UUID, other_tenant: UUID
) -> None:
    acted: list[tuple[str, UUID]] = []

    class Told(KeyRing):
        def revoke(self, tenant: UUID) -> None:
            acted.append(("revoke", tenant))

        def expire(self, tenant: UUID) -> None:
            acted.append(("expire", tenant))

    ring = Told(bench.pool, bench.ring._roots, bench.epochs, bench.findings, clock=bench.clock)
    signals = Signals(bench.pool, ring, clock=bench.clock)
    await signals.poll()
    async with database.entered(tenant) as late:
        await late.execute("SELECT keys.signal_changed()")
        async with database.entered(other_tenant) as connection:
            await connection.execute("SELECT keys.signal_revoked(true)")
        await signals.poll()
        assert acted == [("revoke", other_tenant)]
    for _ in range(3):
        await signals.poll()
    assert acted == [("revoke", other_tenant), ("expire", tenant)]
    async with database.entered(tenant) as connection:
        await connection.execute("SELECT keys.signal_changed()")
    await signals.poll()
    assert acted[2:] == [("expire", tenant)]


async def test_it_listens_on_after_the_database_was_away(bench: Bench, tenant: UUID, database: Database) -> None:
    await bench.ring.provision(tenant)
    async with processes(bench, database, 1, lifetimes=LIFETIMES) as (process,):
        signals = process.signals
        await process.read(tenant)
        pool, signals._pool = signals._pool, database.pool("wk_app")  # one that was never opened
        await until(lambda: not signals.listening)
        with pytest.raises(DatabaseUnavailable):
            await signals.poll()
        signals._pool = pool
        await until(lambda: signals.listening)
        async with database.entered(tenant) as connection:
            await connection.execute("SELECT keys.signal_revoked(true)")
        await until(lambda: process.ring.state(tenant) is TenantState.REVOKED)
    assert not signals.listening


async def test_the_pulse_renews_keys_in_use_without_a_request(bench: Bench, database: Database, tenant: UUID) -> None:
    await bench.ring.provision(tenant)
    lifetimes = Lifetimes(soft=4.0, hard=60.0)
    async with processes(bench, database, 1, lifetimes=lifetimes) as (process,):
        await process.read(tenant)
        await process.read(tenant)
        verified = process.ring._held[tenant].verified_at
        await until(lambda: process.ring._held[tenant].verified_at > verified, seconds=30)
        assert SystemClock().monotonic() - verified < lifetimes.soft + 1.2


async def test_what_can_not_be_told_is_given_up_in_the_log_and_breaks_nothing(
    bench: Bench, database: Database, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wellkeep.keys.ring_news._FIRST_PAUSE", 0.001)
    await bench.ring.provision(tenant)
    news = bench.ring.news
    await news.settled()
    news._pool = database.pool("wk_app")
    news._findings = type(news._findings)(news._pool)
    news.revoked(tenant)
    news.well(tenant, ())
    await news.settled()
    bench.ring.purge(tenant, KeysUnavailable)
    bench.kms.mood = "gone"
    with pytest.raises(KeysUnavailable):
        await bench.ring.load(tenant)


async def until(holds: object, *, seconds: float = 30.0) -> None:
    """Wait until it holds."""
    assert callable(holds)
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
