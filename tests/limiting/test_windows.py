"""Counts in memory: never more than the limit in a window, in bounded room, and what is told about the rest is true."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import hypothesis.strategies as st
import pytest
from hypothesis import given

from limiting.clock import HandClock
from wellkeep.access import limits as module
from wellkeep.access.limits import FAILED_WEIGHT, Counts, RateLimits
from wellkeep.access.windows import Windows
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.limit_settings import LimitSettings
from wellkeep.base.principal import ActorType, AuthMethod, Principal


def windows(clock: HandClock, most: int = 100) -> Windows:
    return Windows(seconds=60, most=most, clock=clock)


@given(st.lists(st.tuples(st.floats(0, 40), st.integers(1, 9)), max_size=60), st.integers(1, 40))
def test_no_minute_of_the_clock_holds_more_than_the_limit(asked: list[tuple[float, int]], limit: int) -> None:
    clock, passed = HandClock(), dict[int, int]()
    counted = windows(clock)
    for later, weight in asked:
        clock.now_is += later
        taken = counted.take("who", weight=weight, limit=limit)
        assert taken.ok is (taken.ok and weight <= limit)
        if taken.ok:
            minute = int(clock.now_is // 60)
            passed[minute] = passed.get(minute, 0) + weight
    assert all(weight <= limit for weight in passed.values())


@given(st.lists(st.tuples(st.floats(0, 40), st.integers(1, 9)), max_size=60), st.integers(10, 40))
def test_who_waits_as_long_as_was_said_gets_through(asked: list[tuple[float, int]], limit: int) -> None:
    clock = HandClock()
    counted = windows(clock)
    for later, weight in asked:
        clock.now_is += later
        taken = counted.take("who", weight=weight, limit=limit)
        assert 0 <= taken.left <= limit
        if not taken.ok:
            assert 1 <= taken.wait <= 120
            clock.now_is += taken.wait
            assert counted.take("who", weight=weight, limit=limit).ok


def test_around_a_full_minute_nobody_gets_twice_the_limit() -> None:
    clock = HandClock()
    counted = windows(clock)
    clock.now_is = 59.9
    first = sum(counted.take("who", weight=1, limit=100).ok for _ in range(200))
    clock.now_is = 60.1
    assert first + sum(counted.take("who", weight=1, limit=100).ok for _ in range(200)) <= 101


def test_counts_take_bounded_room_and_newcomers_share_one_where_there_is_none() -> None:
    clock = HandClock()
    counted = windows(clock, most=10)
    for n in range(1000):
        counted.take(n, weight=1, limit=5)
    assert len(counted) <= 11
    assert not counted.take("yet another", weight=1, limit=5).ok
    assert counted.take(3, weight=1, limit=5).ok, "whoever was counted keeps their own count"
    clock.now_is += 180
    assert counted.take("a newcomer", weight=1, limit=5).ok
    assert len(counted) == 1


def test_what_nothing_blocks_is_counted_all_the_same() -> None:
    counted = windows(HandClock())
    assert counted.take("who", weight=50, limit=10, blocks=False).ok
    assert not counted.take("who", weight=1, limit=10).ok


def principal(kind: ActorType, requests: int | None = None) -> Principal:
    return Principal(
        type=kind, id=str(uuid7()), tenant=PLATFORM_TENANT, roles=(), method=AuthMethod.NONE, requests=requests
    )


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
async def test_workers_without_a_common_count_let_no_more_through_together(workers: int) -> None:
    clock, who = HandClock(), principal(ActorType.API_KEY, requests=100)
    through = 0
    for _ in range(workers):
        counts = Counts(deployment=uuid7(), clock=clock)
        counts.workers = workers
        limits = RateLimits(counts, LimitSettings())
        through += sum([(await limits.of(who, weight=1))[1].ok for _ in range(150)])
    assert 100 - workers < through <= 100


async def test_what_costs_more_than_a_whole_limit_gets_through_alone() -> None:
    limits = RateLimits(Counts(deployment=uuid7(), clock=HandClock()), LimitSettings())
    who = principal(ActorType.API_KEY, requests=5)
    assert (await limits.of(who, weight=50))[1].ok
    assert not (await limits.of(who, weight=1))[1].ok


async def test_keys_that_took_each_others_place_have_one_window() -> None:
    limits = RateLimits(Counts(deployment=uuid7(), clock=HandClock()), LimitSettings())
    first = principal(ActorType.API_KEY, requests=10)
    later = [replace(principal(ActorType.API_KEY, requests=10), lineage=UUID(first.id)) for _ in range(5)]
    told = [(await limits.of(key, weight=2))[1].ok for key in (first, *later)]
    assert told == [True] * 5 + [False]


async def test_each_has_a_count_of_their_own_and_a_host_has_one_for_all_its_ipv6_addresses() -> None:
    limits = RateLimits(Counts(deployment=uuid7(), clock=HandClock()), LimitSettings(address_requests=10))
    for kind, name in ((ActorType.API_KEY, "key"), (ActorType.PERSON, "person")):
        for _ in range(3):
            policy, taken = await limits.of(principal(kind), weight=1)
            assert (policy, taken.left) == (name, taken.limit - 1)
    for n in range(10):
        assert (await limits.of_address(f"2001:db8::{n:x}", weight=1))[1].ok
    assert not (await limits.of_address("2001:db8::ffff:1", weight=1))[1].ok
    assert (await limits.of_address("2001:db8:0:1::1", weight=1))[1].ok
    assert (await limits.of_address("192.0.2.1", weight=1))[1].ok
    assert (await limits.of_address(None, weight=1))[1].ok


async def test_a_flood_of_strangers_leaves_whoever_is_known_a_count_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_HELD", 50)
    limits = RateLimits(Counts(deployment=uuid7(), clock=HandClock()), LimitSettings(address_requests=10))
    for n in range(400):
        await limits.of_address(f"2001:db8:0:{n:x}::1", weight=10)
    for kind in (ActorType.API_KEY, ActorType.PERSON):
        for _ in range(40):
            _, taken = await limits.of(principal(kind, 20), weight=20)
            assert taken.ok, "no newcomer that is known shares a count with strangers"
    records = [await limits.counts.take("records", n, weight=5, limit=5) for n in range(40)]
    assert all(taken.ok for taken in records)


@pytest.mark.parametrize("honest", ["2001:db8:9::1", "2001:db9::1", "192.0.2.1"])
async def test_where_there_is_no_room_left_strangers_share_a_count_with_their_neighbours_alone(
    monkeypatch: pytest.MonkeyPatch, honest: str
) -> None:
    """Whoever has a /48, which is what one customer is given, fills the table and slows down that /48."""
    monkeypatch.setattr(module, "_HELD", 50)
    limits = RateLimits(Counts(deployment=uuid7(), clock=HandClock()), LimitSettings(address_requests=10))
    assert (await limits.of_address("198.51.100.7", weight=9))[1].ok
    for n in range(400):
        await limits.of_address(f"2001:db8:0:{n:x}::1", weight=1)
    assert not (await limits.of_address("2001:db8:0:ffff::1", weight=1))[1].ok, "the flood's own"
    assert (await limits.of_address(honest, weight=1))[1].ok
    assert (await limits.of_address("198.51.100.7", weight=1))[1].ok, "who was counted keeps their own count"
    assert not (await limits.of_address("198.51.100.7", weight=1))[1].ok, "neither more nor less"


async def test_a_flood_from_everywhere_takes_bounded_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HELD", 50)
    counts = Counts(deployment=uuid7(), clock=HandClock())
    limits = RateLimits(counts, LimitSettings(address_requests=10))
    for n in range(500):
        await limits.of_address(f"{0x2001 + n:x}:db8::1", weight=1)
        await limits.of_address(f"{n % 200 + 1}.{n % 256}.0.1", weight=1)
    assert counts.held == 50 + 10 + 10 + 1
    assert not (await limits.of_address("3fff::1", weight=1))[1].ok, "then all newcomers share one"


@pytest.mark.parametrize("ip", ["::ffff:192.0.2.1", "::ffff:c000:201"])
async def test_an_ipv4_address_in_the_form_of_ipv6_is_that_address(ip: str) -> None:
    limits = RateLimits(Counts(deployment=uuid7(), clock=HandClock()), LimitSettings(address_requests=10))
    assert (await limits.of_address(ip, weight=10))[1].ok
    assert not (await limits.of_address("192.0.2.1", weight=1))[1].ok
    assert (await limits.of_address("::ffff:192.0.2.2", weight=1))[1].ok, "and no other"


@pytest.mark.parametrize(("limit", "workers", "weight"), [(20, 4, 10), (20, 64, 50), (1, 2, 1), (3, 4, 2), (60, 2, 50)])
async def test_a_share_never_refuses_for_ever_what_the_whole_limit_lets_through(
    limit: int, workers: int, weight: int
) -> None:
    clock, who, through = HandClock(), principal(ActorType.API_KEY, requests=limit), 0
    for _ in range(workers):
        counts = Counts(deployment=uuid7(), clock=clock)
        counts.workers = workers
        limits = RateLimits(counts, LimitSettings())
        told = [(await limits.of(who, weight=weight))[1] for _ in range(3)]
        assert told[0].ok, "alone in its window it gets through on each worker"
        assert {taken.limit for taken in told} == {limit}
        through += sum(taken.ok for taken in told)
    assert through <= max(workers, limit // weight), "and no more than one for a worker beyond what the limit lets"


async def test_a_failed_sign_in_is_counted_by_a_worker_with_the_smallest_share() -> None:
    counts = Counts(deployment=uuid7(), clock=HandClock())
    counts.workers = 8
    limits = RateLimits(counts, LimitSettings(address_requests=10))
    assert (await limits.of_address("192.0.2.1", weight=FAILED_WEIGHT))[1].ok
    assert not (await limits.of_address("192.0.2.1", weight=1))[1].ok


async def test_a_budget_of_records_is_never_exceeded_by_one_large_answer_a_worker() -> None:
    """Records can be asked for in smaller parts, so a share of them is a share."""
    counts = Counts(deployment=uuid7(), clock=HandClock())
    counts.workers = 4
    assert not (await counts.take("records", "who", weight=100, limit=100)).ok
    assert (await counts.take("records", "who", weight=25, limit=100)).ok
    assert (await counts.take("records", "another", weight=1, limit=3)).ok, "one, where the share would be none"
