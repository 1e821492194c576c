"""PostgreSQL stopped, hanging, or without a free connection: 503 and Retry-After in time, then back by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from faults.audit import Auditor, replayed
from faults.deployed import Deployed
from faults.load import CALLERS, Account, Load
from faults.rounds import note
from wellkeep.base.errors import DatabaseUnavailable
from wellkeep.db.provision import connected

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.fault]

RECOVERY_SECONDS = 15.0
REFUSAL_SECONDS = 25.0
_SLOTS = 100
_CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE usename LIKE 'wk\\_%' AND usename <> 'wk_admin' AND pid <> ALL($1::int[])
"""


@asynccontextmanager
async def loaded(deployed: Deployed, what: str, seed: int) -> AsyncIterator[Load]:
    """Load the deployment; the fault is on within the block and over at its end. Then look everything over."""
    auditor = Auditor(deployed)
    await auditor.begin()
    async with Load(deployed.client(), seed=seed) as load:
        await load.served(60)
        yield load
        over = time.monotonic()
        await load.all_served()
        account = await load.stop()
    recovered = account.recovered_after(over)
    surplus = await auditor.end(account)
    assert_refused_well(account)
    assert recovered < RECOVERY_SECONDS
    note(
        f"PostgreSQL: {what}",
        seed=seed,
        acknowledged=len(account.acknowledged),
        records=len(account.records),
        surplus=surplus,
        recovered=recovered,
        refused=sum(account.refused.values()),
        slowest_refusal=account.slowest_refusal,
    )


def assert_refused_well(account: Account) -> None:
    assert sum(account.refused.values()) >= CALLERS
    assert set(account.refused) <= {"/problems/unavailable", "/problems/ledger-unavailable"}
    assert account.slowest_refusal < REFUSAL_SECONDS
    assert account.unanswered == 0, "the server itself must go on answering"


async def test_stopped_and_not_to_be_started(deployed: Deployed) -> None:
    """An orderly stop, and the data directory away: nothing is made in its place, and it is used again when back."""
    data = deployed.postgresql.data
    aside = data.with_name("aside")
    async with loaded(deployed, "stopped", 51) as load:
        postmaster = deployed.postmaster
        data.rename(aside)
        os.kill(postmaster, signal.SIGINT)
        await load.refused(4 * CALLERS)
        await asyncio.sleep(1.0)
        ready = await deployed.client().get("/readyz")
        assert (ready.status_code, ready.json()["parts"]["database"]) == (503, False)
        assert (await deployed.client().get("/healthz")).status_code == 200
        assert not data.exists()
        aside.rename(data)


async def test_hanging(deployed: Deployed) -> None:
    """Every process of PostgreSQL's is stopped (SIGSTOP): statements never end, connections are never answered."""
    async with loaded(deployed, "hanging", 52) as load:
        stopped = deployed.backends
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        try:
            await load.refused(2 * CALLERS)
        finally:
            for pid in {*stopped, *deployed.backends}:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


async def test_out_of_connections(deployed: Deployed) -> None:
    """Others hold every connection that the server may have, and ours are cut off."""
    async with (
        loaded(deployed, "out of connections", 53) as load,
        AsyncExitStack() as held,
        deployed.as_superuser() as us,
    ):
        ours: list[int] = []
        endpoint = deployed.database.endpoint("wk_backup")
        while len(ours) < _SLOTS:
            try:
                other = await held.enter_async_context(connected(endpoint))
            except DatabaseUnavailable:
                if sum(load.account.refused.values()) > 2 * CALLERS:
                    break
                await us.fetch(_CUT, ours)
                await asyncio.sleep(0.02)
            else:
                ours.append(other.get_server_pid())
        await load.refused(2 * CALLERS)


async def test_the_replay_agrees(deployed: Deployed) -> None:
    await replayed(deployed)
