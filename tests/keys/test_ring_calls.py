"""Breakers: what is asked of a key service that hangs, fails, refuses or answers nonsense, and what is counted."""

from __future__ import annotations

import asyncio
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from keys.rig import CompanyKms, SetClock
from local_keys import a_root, epoch_keys
from wellkeep.base.errors import IntegrityBroken, KeysRevoked, KeysUnavailable
from wellkeep.keys.kms import KeyPurpose, key_context
from wellkeep.keys.ring_calls import Breaker, KeyCalls

CONTEXT = key_context(UUID(int=7), KeyPurpose.WRAP, 1)


class Service:
    """Somebody's service: answers, or what the test has it do."""

    def __init__(self) -> None:
        self.asked = 0
        self.at_once = 0
        self.most = 0
        self.trouble: BaseException | None = None
        self.hangs = False

    async def ask(self) -> bytes:
        self.asked += 1
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await asyncio.sleep(3_600 if self.hangs else 0)
        finally:
            self.at_once -= 1
        if self.trouble is not None:
            raise self.trouble
        return b"answer"


class Scene:
    """A breaker with its clock, its counts and its service."""

    def __init__(self, *, seconds: float = 5.0) -> None:
        self.clock, self.service = SetClock(), Service()
        self.calls: Counter[tuple[str, str]] = Counter()
        self.breaker = Breaker("test", clock=self.clock, seconds=seconds, calls=self.calls)

    async def call(self) -> bytes:
        return await self.breaker.call(self.service.ask)

    async def fails(self, times: int, error: type[Exception] = KeysUnavailable) -> None:
        for _ in range(times):
            with pytest.raises(error):
                await self.call()

    async def opened(self) -> None:
        self.service.trouble = KeysUnavailable()
        await self.fails(5)
        assert self.breaker.open


async def test_after_five_failures_in_a_row_nobody_is_asked_until_a_pause_is_over() -> None:
    scene = Scene()
    await scene.opened()
    await scene.fails(100)
    assert scene.service.asked == 5
    scene.clock.passed += 1.3
    scene.service.trouble = None
    assert await scene.call() == b"answer"
    assert not scene.breaker.open
    assert scene.calls == {("test", "unavailable"): 5, ("test", "answered"): 1}


async def test_an_answer_in_between_begins_the_count_anew() -> None:
    scene = Scene()
    for _ in range(3):
        scene.service.trouble = KeysUnavailable()
        await scene.fails(4)
        scene.service.trouble = None
        await scene.call()
    assert not scene.breaker.open


async def test_one_call_tries_and_pauses_grow_to_half_a_minute() -> None:
    scene = Scene()
    await scene.opened()
    pauses = []
    for _ in range(8):
        before = scene.clock.passed
        asked = scene.service.asked
        while scene.service.asked == asked:
            scene.clock.passed += 0.25
            await asyncio.gather(*(scene.call() for _ in range(10)), return_exceptions=True)
        assert scene.service.asked == asked + 1, "of ten at once, one asked"
        pauses.append(scene.clock.passed - before)
    assert 1 <= pauses[0] <= 1.5
    assert pauses[:6] == sorted(pauses[:6])
    assert all(30 <= pause <= 38 for pause in pauses[5:])


async def test_a_try_that_nobody_waits_for_any_more_lets_the_next_one_try() -> None:
    scene = Scene()
    await scene.opened()
    scene.clock.passed += 2
    scene.service.hangs = True
    trying = asyncio.create_task(scene.call())
    await asyncio.sleep(0)
    await scene.fails(1)
    trying.cancel()
    await asyncio.gather(trying, return_exceptions=True)
    scene.service.hangs, scene.service.trouble = False, None
    assert await scene.call() == b"answer"


@pytest.mark.parametrize(("trouble", "outcome"), [(KeysRevoked(), "revoked"), (IntegrityBroken(), "broken")])
async def test_a_no_is_an_answer(trouble: Exception, outcome: str) -> None:
    scene = Scene()
    scene.service.trouble = trouble
    await scene.fails(20, type(trouble))
    assert not scene.breaker.open
    assert scene.calls == {("test", outcome): 20}


async def test_a_service_that_hangs_is_let_go_in_time_and_never_met_by_a_crowd() -> None:
    scene = Scene(seconds=0.5)
    scene.service.hangs = True
    began = asyncio.get_running_loop().time()
    results = await asyncio.gather(*(scene.call() for _ in range(300)), return_exceptions=True)
    assert all(isinstance(result, KeysUnavailable) for result in results)
    assert asyncio.get_running_loop().time() - began < 5.0
    assert scene.service.asked == scene.service.most == 16
    assert scene.calls == {("test", "timeout"): 16}


@pytest.mark.parametrize(
    "trouble", [ZeroDivisionError("Xk9CanaryZq"), OSError("Xk9CanaryZq"), ValueError("Xk9CanaryZq")]
)
async def test_what_a_faulty_driver_says_goes_nowhere(trouble: Exception) -> None:
    scene = Scene()
    scene.service.trouble = trouble
    with pytest.raises(KeysUnavailable) as refused:
        await scene.call()
    assert "Xk9CanaryZq" not in "".join(traceback.format_exception(refused.value))
    assert scene.calls == {("test", "unreadable"): 1}


async def test_each_root_and_each_epoch_has_its_own_breaker() -> None:
    calls = KeyCalls(clock=SetClock(), seconds=60.0)
    gone, well = CompanyKms("gone"), CompanyKms()
    epochs = calls.epochs(epoch_keys(1))
    ways: list[tuple[Callable[[], Awaitable[bytes]], bool]] = [
        (lambda: calls.root(gone).wrap(bytes(32), context=CONTEXT), False),
        (lambda: calls.root(well).wrap(bytes(32), context=CONTEXT), True),
        (lambda: epochs.wrap(bytes(32), epoch=2, context=CONTEXT), False),
        (lambda: epochs.wrap(bytes(32), epoch=1, context=CONTEXT), True),
    ]
    for _ in range(7):
        for way, works in ways:
            if works:
                assert len(await way()) > 32
            else:
                with pytest.raises(KeysUnavailable):
                    await way()
    assert sorted((state.driver, state.open) for state in calls.breakers()) == [
        ("epoch", False),
        ("epoch", True),
        ("local", False),
        ("local", True),
    ]
    assert calls.is_open(gone.describe().root)
    assert not calls.is_open(well.describe().root)
    assert not calls.is_open("local:never-asked")
    assert calls.counts["local", "unavailable"] == 5
    assert calls.counts["epoch", "answered"] == 7


async def test_what_was_wrapped_through_it_opens_through_it() -> None:
    calls = KeyCalls(clock=SetClock(), seconds=60.0)
    root, epochs = calls.root(a_root()), calls.epochs(epoch_keys(3))
    secret = bytes(range(32))
    assert await root.unwrap(await root.wrap(secret, context=CONTEXT), context=CONTEXT) == secret
    blob = await epochs.wrap(secret, epoch=3, context=CONTEXT)
    assert await epochs.unwrap(blob, epoch=3, context=CONTEXT) == secret
    assert root.describe().driver == "local"
