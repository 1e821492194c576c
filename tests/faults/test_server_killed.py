"""kill -9 of the server under load: nothing acknowledged is lost, and no access goes without its entry."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from faults.audit import Auditor, replayed
from faults.deployed import Deployed
from faults.load import Load
from faults.rounds import note, soak_rounds

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.fault]


async def killed(deployed: Deployed, seed: int) -> None:
    """Load, kill, start again, and look everything over."""
    chance = random.Random(seed)  # noqa: S311  # when to kill, nothing secret
    auditor = Auditor(deployed)
    await auditor.begin()
    async with Load(deployed.client(), seed=seed) as load:
        await load.served(chance.randrange(60, 200))
        await asyncio.sleep(chance.random() / 20)
        fault = time.monotonic()
        deployed.kill()
        await deployed.start()
        started = time.monotonic()
        await load.all_served()
        account = await load.stop()
    surplus = await auditor.end(account)
    note(
        "server killed",
        seed=seed,
        acknowledged=len(account.acknowledged),
        records=len(account.records),
        surplus=surplus,
        start_seconds=started - fault,
        served_after_start=max(0.0, account.recovered_after(fault) - (started - fault)),
        refused=sum(account.refused.values()),
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_killed_under_load(deployed: Deployed, seed: int) -> None:
    await killed(deployed, seed)


async def test_the_replay_agrees(deployed: Deployed) -> None:
    await replayed(deployed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", soak_rounds())
async def test_soak(deployed: Deployed, seed: int) -> None:
    await killed(deployed, seed)
    if seed % 10 == 0:
        await replayed(deployed)
