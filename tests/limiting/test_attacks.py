"""What somebody might try against the limits: headers that name another address, clocks that jump, windows' edges."""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import Any

import httpx
import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from deployments import Deployment, deployment
from limiting.clock import HandClock
from limiting.redis_server import RedisServer
from limiting.workers import working
from wellkeep.access.limits import HOUR, Counts
from wellkeep.access.windows import Windows
from wellkeep.assembly.pinning import pinned
from wellkeep.base.ids import uuid7
from wellkeep.base.limit_settings import LimitSettings

NAMED = ("X-Forwarded-For", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP", "X-Client-IP", "X-Cluster-Client-IP")


def naming(address: str) -> dict[str, str]:
    """Return every header that any proxy names an address in."""
    return {**dict.fromkeys(NAMED, address), "Forwarded": f"for={address}", "X-Forwarded-Proto": "https"}


def asked(made: Deployment, key: str, address: str) -> int:
    verify = pinned(made.home.resolve("secrets/tls.crt"))
    headers = {"Authorization": f"Bearer {key}", **naming(address)}
    with httpx.Client(base_url=made.url, headers=headers, verify=verify, trust_env=False, timeout=60) as client:
        return client.get("/v1/collections").status_code


def test_no_header_says_where_somebody_comes_from() -> None:
    """There is no proxy that is believed, not even one on this machine, as which every test here speaks."""
    with deployment() as made:
        settings = made.home.settings()
        made.home.write_settings(msgspec.structs.replace(settings, limits=LimitSettings(address_requests=50)))
        made.start()
        assert made.wk("tenant", "create", "spoofed").code == 0
        options = ("--network", "192.0.2.0/24", "--role", "integration", "--json")
        bound = made.wk("apikey", "create", "--tenant", "spoofed", *options).json()["key"]
        assert asked(made, bound, "192.0.2.7") == 401, "a key of another network, from this one"
        told = [asked(made, "wk_test_nonsense", f"198.51.100.{n}") for n in range(12)]
        assert told[0] == 401
        assert told.count(429) >= 4, "one address, whatever was named"


class OtherTime(HandClock):
    """A machine whose time of day nobody can rely on."""

    def now(self) -> datetime:
        raise AssertionError("a limit that asks for the time of day moves with it")

    def seconds(self) -> float:
        raise AssertionError("a limit that asks for the time of day moves with it")


async def test_setting_the_machines_clock_moves_no_window() -> None:
    counts = Counts(deployment=uuid7(), clock=OtherTime())
    for kind in ("key", "person", "address"):
        told = [(await counts.take(kind, "who", weight=1, limit=5)).ok for _ in range(7)]
        assert told == [True] * 5 + [False] * 2
    told = [(await counts.take("records", "who", weight=1, limit=5, seconds=HOUR)).ok for _ in range(7)]
    assert told == [True] * 5 + [False] * 2


@pytest.mark.parametrize("jumps", [(3_600.0, -3_600.0), (-3_600.0, 3_600.0), (86_400.0, -86_400.0)])
def test_a_clock_that_jumps_opens_no_limit_for_ever_and_closes_none(jumps: tuple[float, ...]) -> None:
    """Even the one clock that nobody sets: a machine that was asleep, or a copy of it that woke up."""
    clock = HandClock()
    clock.now_is = 1_000_000.0
    counted = Windows(seconds=60, most=10, clock=clock)
    for jump in (0.0, *jumps):
        clock.now_is += jump
        passed = sum(counted.take("who", weight=1, limit=100).ok for _ in range(300))
        assert passed == 100, "a window, and one alone"
        assert counted.take("who", weight=1, limit=100).wait <= 120


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 30)), max_size=80), st.integers(10, 40))
def test_in_no_sixty_seconds_does_twice_the_limit_get_through(asked: list[tuple[float, int]], limit: int) -> None:
    """The part of the window before is an estimate; this is how far off whoever times it well can be."""
    clock, passed = HandClock(), list[tuple[float, int]]()
    counted = Windows(seconds=60, most=10, clock=clock)
    for later, times in asked:
        clock.now_is += later
        through = sum(counted.take("who", weight=1, limit=limit).ok for _ in range(times))
        passed.append((clock.now_is, through))
    for began, _ in passed:
        assert sum(through for at, through in passed if began <= at < began + 60) < 2 * limit


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 40), st.integers(0, 5), st.floats(0, 50)), max_size=300))
def test_whatever_comes_there_are_no_more_counts_than_there_is_room(
    came: list[tuple[int, int, int, float]],
) -> None:
    clock = HandClock()
    counted = Windows(seconds=60, most=20, clock=clock)
    for who, near, far, later in came:
        clock.now_is += later
        counted.take(who, weight=1, limit=5, wider=(("near", near), ("far", far)))
        assert len(counted) <= 20 + 4 + 4 + 1


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("ahead", [-86_400, -7_200, 3_600, 86_400])
async def test_a_redis_whose_clock_was_set_begins_a_new_window_and_no_more(server: RedisServer, ahead: int) -> None:
    """What it stored says the window of the wrong time; TIME is its own and can't be set for a test."""
    async with working(server.port, 1) as (worker,):
        who = uuid7()
        assert await worker.through(who, 10, limit=10) == 10
        key = worker.counts._hash("key", who)
        await server.say("EVAL", "redis.call('HINCRBY', KEYS[1], 'i', ARGV[1])", "1", key, str(ahead // HOUR))
        assert await worker.through(who, 30, limit=10) == 10
        assert await worker.through(who, 30, limit=10) == 0
        assert 0 < int((await server.say("TTL", key))[1:]) <= 2 * HOUR
        assert False not in worker.told


async def test_a_line_that_was_never_up_owes_nothing_that_no_longer_counts() -> None:
    """Ten hours of shares are not ten hours of counts at once, when Redis comes."""
    clock = HandClock()
    counts = Counts(deployment=uuid7(), clock=clock)
    counts.workers = 2
    clock.now_is = 15
    for _ in range(600):
        clock.now_is += 60
        assert (await counts.take("key", "who", weight=2, limit=10)).ok
    clock.now_is += 30
    owed: list[Any] = list(itertools.chain(counts.owed(everything=True), counts.owed(everything=False)))
    assert [one.weight for one in owed] == [3, 3]
    clock.now_is += 180
    assert list(counts.owed(everything=True)) == []
