"""Who guesses waits, exactly, on every worker; and nobody makes somebody else wait."""

from __future__ import annotations

import asyncio
import os
from uuid import UUID

import pytest

from access.conftest import Door
from access.signed_in import joined
from wellkeep.access import throttle as module
from wellkeep.access.account_secrets import AccountSecrets
from wellkeep.access.throttle import Throttle
from wellkeep.base.errors import RateLimited
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.secrets import Secret
from wellkeep.keys.deployment import DeploymentKey

KEY = DeploymentKey("00", 1, Secret(os.urandom(32)))
ACCOUNT = b"st-elsewhere\nrobin@example.org"
HERE, THERE = "192.0.2.7", "198.51.100.7"


def worker(door: Door) -> Throttle:
    return Throttle(pool=door.home.pool, secrets=AccountSecrets((KEY,)))


async def guess(
    throttle: Throttle, times: int = 1, *, account: bytes = ACCOUNT, ip: str = HERE, device: str | None = None
) -> list[int]:
    """Guess and return the waits that were told, 0 for each guess that was let through."""
    waits = []
    for _ in range(times):
        try:
            await throttle.password(account, ip=ip, device=device)
            waits.append(0)
        except RateLimited as refused:
            waits.append(refused.retry_after or -1)
    return waits


async def go_by(door: Door, seconds: int) -> None:
    async with door.home.database.connect() as connection:
        await connection.execute(
            "UPDATE access.throttle SET until = until - $1 * interval '1 s', seen_at = seen_at - $1 * interval '1 s'",
            seconds,
        )


async def test_after_five_tries_each_waits_longer_and_waiting_tries_count_for_nothing(door: Door) -> None:
    throttle = worker(door)
    assert await guess(throttle, 6) == [0, 0, 0, 0, 0, 1]
    assert await guess(throttle, 20) == [1] * 20
    for wait in (2, 4, 8, 16):
        await go_by(door, wait // 2)
        assert await guess(throttle, 2) == [0, wait]
    for _ in range(8):
        await go_by(door, 900)
        assert (await guess(throttle))[0] == 0
    assert (await guess(throttle))[0] == 900, "never longer than a quarter of an hour"
    await go_by(door, 4_500)
    assert await guess(throttle, 5) == [0] * 5, "an hour later it is forgotten"


async def test_two_workers_share_every_try(door: Door) -> None:
    workers = [worker(door) for _ in range(2)]
    waits = await asyncio.gather(*(guess(workers[number % 2]) for number in range(24)))
    assert sum(wait == [0] for wait in waits) == 5


async def test_a_stuffing_from_a_thousand_addresses_slows_strangers_and_never_the_person(door: Door) -> None:
    throttle = worker(door)
    let_through = 0
    for number in range(120):
        ip = f"10.{number // 100}.{number % 100}.1"
        let_through += (await guess(throttle, ip=ip)) == [0]
    assert let_through == 20, "from wherever: twenty, then one a while"
    assert (await guess(throttle, ip=THERE))[0] > 0
    assert await guess(throttle, 3, ip=THERE, device="a" * 32) == [0, 0, 0]
    assert await guess(throttle, ip=THERE, account=b"st-elsewhere\nsam@example.org") == [0], "nor anybody else"


async def test_a_network_that_tries_every_account_waits_as_a_whole(door: Door) -> None:
    throttle = worker(door)
    waits = [(await guess(throttle, account=b"x%d" % number, ip=f"192.0.2.{number}"))[0] for number in range(60)]
    assert waits[:50] == [0] * 50
    assert all(waits[50:])
    assert await guess(throttle, account=b"y", ip=THERE) == [0]


async def test_who_was_right_has_nothing_held_against_them(door: Door) -> None:
    throttle = worker(door)
    for _ in range(60):
        await throttle.right(await throttle.password(ACCOUNT, ip=HERE, device=None))
    assert await guess(throttle, 4) == [0] * 4


async def test_second_factors_have_lanes_of_their_own(door: Door, tenant: UUID) -> None:
    throttle, who, other = worker(door), await joined(door.home, tenant), uuid7()

    async def let_through(person: UUID, ip: str) -> bool:
        try:
            await throttle.factor(person, ip=ip, device=None)
        except RateLimited:
            return False
        return True

    assert [await let_through(who, HERE) for _ in range(7)] == [True] * 5 + [False] * 2
    passed = [await let_through(who, f"10.0.{number}.1") for number in range(40)]
    assert sum(passed) == 15, "twenty in all, from wherever"
    assert await let_through(other, HERE)


async def factor(
    throttle: Throttle, person: UUID, *, ip: str = HERE, device: str | None = None, session: UUID | None = None
) -> int:
    """Try a second factor; returns the wait that was told, 0 where it was let through."""
    try:
        await throttle.factor(person, ip=ip, device=device, session=session)
    except RateLimited as refused:
        return refused.retry_after or -1
    return 0


async def test_who_knows_the_password_fills_no_lane_of_the_persons_own_device(door: Door) -> None:
    throttle, who = worker(door), uuid7()
    for number in range(60):
        await factor(throttle, who, ip=f"10.0.{number}.1")
    assert await factor(throttle, who, ip=THERE) > 0, "strangers wait"
    assert [await factor(throttle, who, device="a" * 32) for _ in range(3)] == [0] * 3, "the person goes on"
    assert await factor(throttle, who, ip=HERE, device="b" * 32) == 0, "in each browser that is known"


async def test_who_took_a_session_fills_no_lane_of_the_persons_sign_ins(door: Door) -> None:
    throttle, who = worker(door), uuid7()
    sessions = [uuid7() for _ in range(60)]
    assert 20 <= sum([await factor(throttle, who, session=session) == 0 for session in sessions]) <= 24
    assert await factor(throttle, who, device="a" * 32) == 0
    assert await factor(throttle, who) == 0


@pytest.mark.parametrize("quiet", [0, 3_601])
@pytest.mark.parametrize("device", [None, "{:032x}", "session"])
async def test_a_day_of_guessing_a_second_factor_is_130_guesses_however_many_places_it_comes_from(
    door: Door, device: str | None, quiet: int
) -> None:
    """With 3 codes of a million right at a time, that is one day in 2,500; also for who collected signed cookies.

    `quiet` is how long whoever guesses rests when told to wait for more than a minute.
    """
    throttle, who, tried, elapsed = worker(door), uuid7(), 0, 0
    while elapsed < 86_400:
        session = UUID(int=tried) if device == "session" else None
        wait = await factor(
            throttle, who, ip=f"10.{tried}.0.1", device=device and device.format(tried), session=session
        )
        tried += wait == 0
        wait = max(wait, quiet) if wait > 60 else wait
        elapsed += wait
        await go_by(door, wait)
    assert 20 < tried <= 130


async def most_failures(door: Door) -> float:
    async with door.home.database.connect() as connection:
        return float(await connection.fetchval("SELECT max(failures) FROM access.throttle"))


async def test_an_hour_without_a_guess_at_a_second_factor_forgets_four_of_them(door: Door) -> None:
    throttle, who = worker(door), uuid7()
    for number in range(40):
        await go_by(door, await factor(throttle, who, ip=f"10.0.{number}.1"))
    before = await most_failures(door)
    await go_by(door, 3_600)
    assert await factor(throttle, who, ip=THERE) == 0
    assert 3.9 < before + 1 - await most_failures(door) < 4.5
    assert await factor(throttle, who, ip="10.1.0.1") > 0


async def link(throttle: Throttle, *, ip: str = HERE, right: bool = False) -> bool:
    """Begin and end a sign-in by a link; says whether both were let through."""
    try:
        await throttle.link(ip=ip)
        taken = await throttle.link(ip=ip)
    except RateLimited:
        return False
    if right:
        await throttle.right(taken, begun=1)
    return True


async def test_right_links_count_for_nothing_and_a_flood_is_slowed_down_and_forgotten(door: Door) -> None:
    throttle = worker(door)
    assert all([await link(throttle, right=True) for _ in range(400)]), "a hospital behind one address"
    assert 150 <= sum([await link(throttle) for _ in range(300)]) < 300, "a flood"
    assert await link(throttle, ip=THERE)
    await go_by(door, 120)
    assert all([await link(throttle) for _ in range(100)])


async def test_a_right_try_closes_no_lane_behind_it(door: Door) -> None:
    throttle = worker(door)
    for number in range(49):
        await throttle.password(b"x%d" % number, ip=HERE, device=None)
    await throttle.right(await throttle.password(ACCOUNT, ip=HERE, device=None))
    assert await most_failures(door) == 49
    async with door.home.database.connect() as connection:
        assert await connection.fetchval("SELECT max(until) <= clock_timestamp() FROM access.throttle")
        await throttle.password(b"y", ip=HERE, device=None)
        assert await connection.fetchval("SELECT max(until) > max(seen_at) FROM access.throttle")


async def test_many_sign_ins_of_one_person_at_once_hold_each_other_up_no_longer_than_a_moment(door: Door) -> None:
    throttle = worker(door)

    async def sign_in() -> None:
        for _ in range(10):
            await throttle.right(await throttle.password(ACCOUNT, ip=HERE, device=None))

    await asyncio.gather(*(sign_in() for _ in range(4)))
    assert await guess(throttle, 4) == [0] * 4


@pytest.mark.parametrize("hours", [1, 24 * 365])
async def test_a_clock_that_was_set_forward_and_back_closes_no_lane_for_longer(door: Door, hours: int) -> None:
    """The rows have what the clock said while it was wrong."""
    throttle = worker(door)
    for _ in range(30):
        await guess(throttle)
        await go_by(door, 1)
    await go_by(door, -3_600 * hours)
    wait = (await guess(throttle))[0]
    assert 0 < wait <= 900
    await go_by(door, wait)
    assert await guess(throttle) == [0]
    assert (await guess(throttle))[0] > 0, "nor is anything forgotten by it"


async def test_a_clock_that_runs_ahead_opens_a_lane_once_and_no_further(door: Door) -> None:
    throttle = worker(door)
    await guess(throttle, 6)
    await go_by(door, 3_601)
    told = await guess(throttle, 12)
    assert told[:5] == [0] * 5
    assert any(told[5:])


async def test_rows_name_nobody_and_are_forgotten(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    throttle = worker(door)
    await guess(throttle, account=b"st-elsewhere\nnobody@example.org")
    async with door.home.database.connect() as connection:
        rows = str(await connection.fetch("SELECT t::text, encode(key, 'escape') FROM access.throttle AS t"))
        assert await connection.fetchval("SELECT count(DISTINCT tenant_id) FROM access.throttle") == 1
        assert await connection.fetchval("SELECT DISTINCT tenant_id FROM access.throttle") == PLATFORM_TENANT
    assert "example" not in rows
    assert HERE not in rows
    await go_by(door, 90_000)
    await module.forget(door.home.pool)
    await guess(throttle, 2)
    monkeypatch.setattr(module, "MOST_ROWS", 1)
    await module.forget(door.home.pool)
    async with door.home.database.connect() as connection:
        assert await connection.fetchval("SELECT count(*) FROM access.throttle") == 1
