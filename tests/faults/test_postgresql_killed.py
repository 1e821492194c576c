"""PostgreSQL dies under load: kill -9 of its postmaster, and its immediate stop. The deployment mends itself."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time

import pytest

from faults.audit import Auditor, replayed
from faults.deployed import Deployed
from faults.load import Load
from faults.rounds import note, soak_rounds

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.fault]

RECOVERY_SECONDS = 15.0
WAYS = {"kill -9": signal.SIGKILL, "immediate stop": signal.SIGQUIT}


async def killed(deployed: Deployed, seed: int, way: str) -> None:
    """Load, kill PostgreSQL, wait until all callers are served again, and look everything over."""
    chance = random.Random(seed)  # noqa: S311  # when to kill, nothing secret
    auditor = Auditor(deployed)
    await auditor.begin()
    async with Load(deployed.client(), seed=seed) as load:
        await load.served(chance.randrange(60, 200))
        await asyncio.sleep(chance.random() / 20)
        fault = time.monotonic()
        os.kill(deployed.postmaster, WAYS[way])
        await asyncio.sleep(0.1)
        await load.all_served()
        account = await load.stop()
    recovered = account.recovered_after(fault)
    surplus = await auditor.end(account)
    assert recovered < RECOVERY_SECONDS
    assert account.unanswered == 0, "the server itself must go on answering"
    note(
        f"PostgreSQL: {way}",
        seed=seed,
        acknowledged=len(account.acknowledged),
        records=len(account.records),
        surplus=surplus,
        recovered=recovered,
        refused=sum(account.refused.values()),
        slowest_refusal=account.slowest_refusal,
    )


@pytest.mark.parametrize(("seed", "way"), [(1, "kill -9"), (2, "immediate stop"), (3, "kill -9")])
async def test_killed_under_load(deployed: Deployed, seed: int, way: str) -> None:
    await killed(deployed, seed, way)


async def test_the_replay_agrees(deployed: Deployed) -> None:
    await replayed(deployed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", soak_rounds())
async def test_soak(deployed: Deployed, seed: int) -> None:
    await killed(deployed, seed, "kill -9" if seed % 2 else "immediate stop")
    if seed % 10 == 0:
        await replayed(deployed)
