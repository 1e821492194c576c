"""Promise: work in bulk lets others by, and costs next to nothing where there are none."""

from __future__ import annotations

import asyncio
import time

from wellkeep.base.turns import give_way, pass_turns

TURNS_OF_A_REQUEST = 12
SLICES = 40


async def busy(turns: int) -> None:
    """Work in each of so many turns, as a request does."""
    for _ in range(turns):
        end = time.perf_counter() + 0.0002
        while time.perf_counter() < end:
            pass
        await asyncio.sleep(0)


async def bulk(done: list[int]) -> None:
    for slice_ in range(SLICES):
        await give_way()
        done.append(slice_)


async def test_a_request_beside_bulk_work_is_passed_by_few_slices() -> None:
    done: list[int] = []
    work = asyncio.create_task(bulk(done))
    await busy(TURNS_OF_A_REQUEST)
    assert len(done) <= TURNS_OF_A_REQUEST // 2
    await work
    assert len(done) == SLICES


async def test_bulk_work_ends_beside_requests_without_end() -> None:
    done: list[int] = []
    others = asyncio.create_task(busy(100_000))
    await asyncio.wait_for(bulk(done), 10)
    others.cancel()
    assert len(done) == SLICES


async def test_turns_are_passed() -> None:
    seen: list[int] = []

    async def other() -> None:
        for number in range(5):
            seen.append(number)
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await pass_turns(3)
    assert 2 <= len(seen) <= 3
    await task
