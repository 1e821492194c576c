"""Lines that cost a question are asked for once in five seconds, and never hold up or take away the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from assembly.conftest import Installed
from wellkeep.assembly.core import open_core
from wellkeep.assembly.metric_lines import KEPT_SECONDS, MetricLines
from wellkeep.assembly.readiness import Readiness
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import DatabaseUnavailable


class Clock(SystemClock):
    """A clock that stands still until it is set on."""

    at = 1_000.0

    def monotonic(self) -> float:
        return self.at


async def test_that_nothing_is_anchored_is_said_there_too(installed: Installed) -> None:
    async with open_core(installed.home, installed.settings, installed.database) as core:
        told = (await Readiness(core).metrics()).splitlines()
    assert told == ["wellkeep_anchors_needed 0", "wellkeep_anchors_holding 0", "wellkeep_anchors_stale 0"]


def counting() -> tuple[list[str], Callable[[], Awaitable[str]]]:
    """Return what was answered so far, and who answers."""
    answered: list[str] = []

    async def ask() -> str:
        await asyncio.sleep(0)
        answered.append(f"lines {len(answered)}\n")
        return answered[-1]

    return answered, ask


async def test_they_are_asked_for_once_in_five_seconds_however_many_look() -> None:
    (answered, ask), clock = counting(), Clock()
    lines = MetricLines(ask, clock=clock)
    assert [await lines.text() for _ in range(3)] == ["lines 0\n"] * 3
    clock.at += KEPT_SECONDS
    assert set(await asyncio.gather(*(lines.text() for _ in range(9)))) == {"lines 0\n", "lines 1\n"}
    assert len(answered) == 2


@pytest.mark.parametrize("slow", [False, True])
async def test_a_database_that_does_not_say_takes_them_away_until_it_does(slow: bool) -> None:  # noqa: FBT001
    clock, away = Clock(), [False, True, False]

    async def ask() -> str:
        if not away.pop(0):
            return "lines\n"
        if slow:
            await asyncio.sleep(30)
        raise DatabaseUnavailable

    lines = MetricLines(ask, clock=clock, seconds=0.05)
    told = []
    for _ in range(3):
        told.append(await lines.text())
        clock.at += KEPT_SECONDS
    assert told == ["lines\n", "", "lines\n"]
