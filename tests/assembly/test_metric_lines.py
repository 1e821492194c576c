"""Lines that cost a question are asked for once in five seconds, and never hold up or take away the others."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest

from assembly.conftest import Installed
from wellkeep.assembly.core import open_core
from wellkeep.assembly.metric_lines import KEPT_SECONDS, MetricLines
from wellkeep.assembly.readiness import Readiness
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import DatabaseUnavailable
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.keys.kms import TENANT_PURPOSES


class Clock(SystemClock):
    """A clock that stands still until it is set on."""

    at = 1_000.0

    def monotonic(self) -> float:
        return self.at


async def test_that_nothing_is_anchored_is_said_there_too(installed: Installed) -> None:
    async with open_core(installed.home, installed.settings, installed.database) as core:
        told = (await Readiness(core).metrics()).splitlines()
    anchors = [line for line in told if line.startswith("wellkeep_anchor")]
    assert anchors == ["wellkeep_anchors_needed 0", "wellkeep_anchors_holding 0", "wellkeep_anchors_stale 0"]


async def test_how_keys_stand_and_what_key_services_were_asked_is_said_without_an_id(installed: Installed) -> None:
    async with open_core(installed.home, installed.settings, installed.database) as core:
        await core.ring.load(PLATFORM_TENANT)
        told = (await Readiness(core).metrics()).splitlines()
        ready = dict(Readiness(core).keys())
        root = core.roots.deployment.describe().root
    assert ready == {"ok": 1, "stale": 0, "locked": 0, "revoked": 0}
    lines = dict(line.rsplit(" ", 1) for line in told if line.startswith("wellkeep_k"))
    own = f'process="{os.getpid()}"'
    assert lines[f'wellkeep_keys_tenants{{{own},state="ok"}}'] == "1"
    assert int(lines[f'wellkeep_kms_calls_total{{{own},driver="local",outcome="answered"}}']) >= len(TENANT_PURPOSES)
    assert lines[f'wellkeep_kms_breakers_open{{{own},driver="local"}}'] == "0"
    assert 0 <= int(lines[f'wellkeep_keys_oldest_seconds{{{own},purpose="WRAP"}}']) < 600
    assert root not in "".join(told)
    assert str(PLATFORM_TENANT) not in "".join(told)


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
