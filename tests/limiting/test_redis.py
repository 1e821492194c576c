"""One count for all workers in a real Redis; whatever becomes of it, never more than the limit and never an error."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from limiting.redis_server import PASSWORD, Proxy, RedisServer, proxied
from limiting.workers import DEPLOYMENT, Worker, working
from wellkeep.access import limits as module
from wellkeep.access.limits import HOUR, Counts, RateLimits
from wellkeep.base.clock import SystemClock
from wellkeep.base.ids import uuid7
from wellkeep.base.limit_settings import LimitSettings

HELD_UP = 2.0
"""Longer than any worker waits, and shorter than one slow answer, in seconds."""


async def until(asked: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await asked():  # noqa: ASYNC110 -- what happens outside sets no event
            await asyncio.sleep(0.02)


@pytest.mark.usefixtures("patient")
async def test_exactly_as_many_get_through_as_the_limit_says_on_all_workers_together(server: RedisServer) -> None:
    async with working(server.port, 3) as workers:
        who, other = uuid7(), uuid7()
        through = await asyncio.gather(*(worker.through(who, 60, limit=100) for worker in workers))
        assert sum(through) == 100
        assert await workers[0].through(other, 5, limit=100) == 5
        taken = await workers[1].counts.take("key", who, weight=1, limit=100, seconds=HOUR)
        assert (taken.ok, taken.left) == (False, 0)
        assert 1 <= taken.wait <= 2 * HOUR
        assert (await workers[0].counts.take("key", who, weight=7, limit=100, seconds=HOUR, blocks=False)).ok


@pytest.mark.usefixtures("patient")
async def test_redis_is_told_hashes_and_numbers_that_it_forgets(server: RedisServer) -> None:
    async with working(server.port, 1) as (worker,):
        who = uuid7()
        assert await worker.through(who, 3, limit=100) == 3
        key = worker.counts._hash("key", who)
        assert str(who) not in key
        assert who.hex not in key
        assert await server.say("EXISTS", key, worker.counts.marker) == b":2\r\n"
        assert await server.say("DBSIZE") == b":2\r\n", "and one number by which the store is known again"
        assert 0 < int((await server.say("TTL", key))[1:]) <= 2 * HOUR


@pytest.mark.usefixtures("patient")
async def test_a_redis_that_went_leaves_each_worker_its_share_less_what_it_let_through(server: RedisServer) -> None:
    async with working(server.port, 2) as workers:
        who, new = uuid7(), uuid7()
        assert await workers[0].through(who, 40, limit=100) == 40
        server.stop()
        await until(lambda: down(workers))
        assert sum([await worker.through(who, 100, limit=100) for worker in workers]) <= 60
        assert sum([await worker.through(new, 100, limit=101) for worker in workers]) == 100
        assert all(worker.told[-1] is False for worker in workers)
        await server.start()
        await until(lambda: up(workers))
        later = uuid7()
        assert sum([await worker.through(later, 80, limit=100) for worker in workers]) == 100


async def down(workers: list[Worker]) -> bool:
    return all(worker.line._streams is None and worker.told and not worker.told[-1] for worker in workers)


async def said(workers: list[Worker]) -> bool:
    """Whether each of them told that its line went."""
    return all(False in worker.told for worker in workers)


async def up(workers: list[Worker]) -> bool:
    return all(worker.line._streams is not None for worker in workers)


async def hostile(proxy: Proxy, workers: list[Worker]) -> None:
    """Whatever the proxy does: no error, hardly late, never more than the limit together."""
    who = uuid7()
    began = time.perf_counter()
    through = [await worker.through(who, 100, limit=100) for worker in workers]
    assert time.perf_counter() - began < HELD_UP, "nobody waited for it"
    assert 0 < sum(through) <= 100
    proxy.delay, proxy.rubbish = 0.0, b""
    await until(lambda: up(workers))


async def test_a_slow_redis_holds_nobody_up(server: RedisServer) -> None:
    async with proxied(server.port) as proxy, working(proxy.port) as workers:
        assert await workers[0].through(uuid7(), 3, limit=100) == 3
        proxy.delay = 2 * HELD_UP
        await hostile(proxy, workers)


@pytest.mark.parametrize(
    "rubbish",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"\x00" * 70000,
        b"*4\r\n:1\r\n:-1\r\n:0\r\n:0\r\n",
        b"*3\r\n:1\r\n:0\r\n:0\r\n",
        b"-ERR no\r\n",
        b"*4\r\n:1\r\n:" + b"9" * 200 + b"\r\n",
        b"*4\r\n:1\r\n:0\r\n:0\r\n:0\r\n" * 50,
    ],
)
async def test_a_redis_that_talks_rubbish_is_not_believed(server: RedisServer, rubbish: bytes) -> None:
    async with proxied(server.port) as proxy, working(proxy.port) as workers:
        proxy.rubbish = rubbish
        for worker in workers:
            await worker.through(uuid7(), 1, limit=100)
        await hostile(proxy, workers)


@pytest.mark.usefixtures("patient")
async def test_a_redis_that_lets_everybody_through_is_found_out(server: RedisServer) -> None:
    """Somebody else's, or one between us and it, which always says yes in the right words."""
    async with proxied(server.port) as proxy, working(proxy.port, 1) as (worker,):
        who = uuid7()
        proxy.rubbish = b"*4\r\n:1\r\n:0\r\n:0\r\n:0\r\n"
        assert sum([await worker.through(who, 1, limit=100) for _ in range(1_000)]) <= 300
        await until(lambda: said([worker]))


async def test_a_redis_that_lets_nobody_in_is_none(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--requirepass", PASSWORD)
    await server.start()
    try:
        async with working(server.port, password=PASSWORD.encode() + b"\n") as workers:
            assert await up(workers)
        for wrong in (b"wrong", None):
            async with working(server.port, password=wrong) as workers:
                assert await down(workers)
                assert sum([await worker.through(uuid7(), 100, limit=100) for worker in workers]) == 100
    finally:
        server.stop()


async def test_a_redis_that_is_full_is_none(server: RedisServer) -> None:
    async with working(server.port) as workers:
        assert await server.say("CONFIG", "SET", "maxmemory", "1") == b"+OK\r\n"
        who = uuid7()
        assert sum([await worker.through(who, 100, limit=100) for worker in workers]) <= 100
        assert await server.say("CONFIG", "SET", "maxmemory", "0") == b"+OK\r\n"
        await until(lambda: up(workers))
        assert sum([await worker.through(uuid7(), 60, limit=100) for worker in workers]) == 120


async def test_a_script_that_redis_forgot_is_told_anew(server: RedisServer) -> None:
    async with working(server.port, 1) as workers:
        await server.say("SCRIPT", "FLUSH")
        await workers[0].through(uuid7(), 5, limit=100)
        await until(lambda: up(workers))
        assert await workers[0].through(uuid7(), 5, limit=3) == 3


async def test_nobody_waits_for_a_redis_that_is_nowhere() -> None:
    async with working(9, 2) as workers:
        assert await down(workers)
        assert sum([await worker.through(uuid7(), 100, limit=100) for worker in workers]) == 100


@pytest.mark.usefixtures("patient")
async def test_a_redis_that_lost_its_data_is_told_them_again_by_every_worker(server: RedisServer) -> None:
    """It keeps nothing on disk, so a restart is a beginning for it, and must be none for who has had their limit."""
    async with working(server.port, 2) as workers:
        who, half = uuid7(), uuid7()
        assert [await worker.through(who, 50, limit=100) for worker in workers] == [50, 50]
        assert [await worker.through(half, 20, limit=100) for worker in workers] == [20, 20]
        server.stop()
        await until(lambda: down(workers))
        meanwhile = sum([await worker.through(half, 5, limit=100) for worker in workers])
        assert meanwhile == 10
        await server.start()
        await until(lambda: up(workers))
        assert sum([await worker.through(who, 60, limit=100) for worker in workers]) == 0
        assert sum([await worker.through(half, 60, limit=100) for worker in workers]) == 50


@pytest.mark.usefixtures("patient")
async def test_a_redis_that_is_emptied_while_it_serves_is_told_again(server: RedisServer) -> None:
    async with working(server.port, 2) as workers:
        who = uuid7()
        assert [await worker.through(who, 50, limit=100) for worker in workers] == [50, 50]
        assert await server.say("FLUSHALL") == b"+OK\r\n"
        assert sum([await worker.through(who, 60, limit=100) for worker in workers]) == 0
        await until(lambda: said(workers))
        await until(lambda: up(workers))
        assert sum([await worker.through(who, 60, limit=100) for worker in workers]) == 0
        assert await workers[0].through(uuid7(), 60, limit=100) == 60


@pytest.mark.usefixtures("patient")
async def test_what_each_worker_let_through_while_it_was_cut_off_is_counted_by_all_afterwards(
    server: RedisServer,
) -> None:
    async with proxied(server.port) as proxy, working(proxy.port) as workers:
        who = uuid7()
        assert [await worker.through(who, 10, limit=100) for worker in workers] == [10, 10]
        proxy.rubbish = b"-LOADING\r\n"
        for worker in workers:
            await worker.through(uuid7(), 1, limit=100)
        await until(lambda: down(workers))
        assert sum([await worker.through(who, 30, limit=100) for worker in workers]) == 60
        proxy.rubbish = b""
        await until(lambda: up(workers))
        assert sum([await worker.through(who, 60, limit=100) for worker in workers]) == 20
        assert await workers[0].through(who, 1, limit=100) == 0


async def test_a_count_that_somebody_else_wrote_is_no_count(server: RedisServer) -> None:
    """The script fails in the middle, on one key: the line goes and the shares hold, for this caller and for others."""
    async with working(server.port) as workers:
        who, other = uuid7(), uuid7()
        assert await server.say("SET", workers[0].counts._hash("key", who), "x") == b"+OK\r\n"
        assert sum([await worker.through(who, 100, limit=100) for worker in workers]) <= 100
        assert sum([await worker.through(other, 100, limit=100) for worker in workers]) <= 100
        await until(lambda: said(workers))


@pytest.mark.parametrize("weight", [-(2**70), -1, 0])
@pytest.mark.usefixtures("patient")
async def test_a_weight_below_one_gives_nothing_back(server: RedisServer, weight: int) -> None:
    async with working(server.port, 1) as (worker,):
        for counts in (worker.counts, Counts(deployment=DEPLOYMENT, clock=SystemClock())):
            who = uuid7()
            assert (await counts.take("key", who, weight=3, limit=3, seconds=HOUR)).ok
            await counts.take("key", who, weight=weight, limit=3, seconds=HOUR)
            assert not (await counts.take("key", who, weight=1, limit=3, seconds=HOUR)).ok
        assert False not in worker.told


@pytest.mark.usefixtures("patient")
async def test_a_weight_beyond_all_measure_is_refused_and_breaks_nothing(server: RedisServer) -> None:
    async with working(server.port, 1) as (worker,):
        for counts in (worker.counts, Counts(deployment=DEPLOYMENT, clock=SystemClock())):
            who = uuid7()
            assert not (await counts.take("records", who, weight=2**80, limit=10**9, seconds=HOUR)).ok
            assert (await counts.take("records", who, weight=10**9, limit=10**9, seconds=HOUR)).ok
            assert (await counts.take("records", who, weight=2**80, limit=10, seconds=HOUR, blocks=False)).ok
            told = await counts.take("records", who, weight=1, limit=10**9, seconds=HOUR)
            assert (told.ok, told.left) == (False, 0)
            assert 0 < told.wait <= 2 * HOUR
        assert False not in worker.told


@pytest.mark.usefixtures("patient")
async def test_a_flood_of_addresses_leaves_redis_no_more_counts_than_a_worker_holds(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_HELD", 50)
    async with working(server.port, 1) as (worker,):
        limits = RateLimits(worker.counts, LimitSettings(address_requests=10))
        for n in range(300):
            await limits.of_address(f"2001:db8:0:{n:x}::1", weight=1)
        assert not (await limits.of_address("2001:db8:0:ffff::1", weight=1))[1].ok
        assert (await limits.of_address("192.0.2.1", weight=1))[1].ok
        assert int((await server.say("DBSIZE"))[1:]) <= 50 + 10 + 10 + 1 + 1
