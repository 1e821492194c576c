"""Whatever is killed in the middle: what was acknowledged is there, once, and the ledger verifies."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from uuid import UUID

import pytest

from database import Database, launch, scratch_home
from faults.rounds import soak_rounds
from ledger.making import prepared, verified, writing
from wellkeep.base.errors import LedgerUnavailable
from wellkeep.db.embedded import EmbeddedServer
from wellkeep.db.provision import connected
from wellkeep.ledger.writer import LedgerWriter

PROGRAM = Path(__file__).with_name("crashing.py")
CALLS_IN_FLIGHT = 32 * 2
STOP_CALLERS = 32


async def started(database: Database, tenant: UUID, *, callers: int = 32, calls: int = 0) -> Process:
    process = await asyncio.create_subprocess_exec(sys.executable, str(PROGRAM), stdin=PIPE, stdout=PIPE)
    assert process.stdin is not None
    process.stdin.write(f"{database.dsn('wk_ledger')}\n{tenant}\n{callers}\n{calls}\n".encode())
    await process.stdin.drain()
    return process


async def acknowledged(process: Process, *, after: int, pause: float) -> set[UUID]:
    """Read until `after` lines came, let it run on for `pause` seconds, kill it, and return what it acknowledged."""
    assert process.stdout is not None
    lines = [await asyncio.wait_for(process.stdout.readline(), 30) for _ in range(after)]
    await asyncio.sleep(pause)
    os.kill(process.pid, signal.SIGKILL)
    rest = await process.stdout.read()
    await process.wait()
    text = b"".join(lines) + rest
    return {UUID(line.decode()) for line in text[: text.rfind(b"\n") + 1].splitlines()}


async def chained(database: Database, tenant: UUID) -> set[UUID]:
    async with database.connect() as connection:
        rows = await connection.fetch("SELECT event_id FROM ledger.entry WHERE tenant_id = $1 AND seq > 0", tenant)
    return {row["event_id"] for row in rows}


async def test_eight_processes_of_sixty_four_callers_make_one_chain(database: Database, tenant: UUID) -> None:
    """No fork: every process splices for itself, and the head decides; who is refused is not in the ledger."""
    processes = [await started(database, tenant, callers=64, calls=1) for _ in range(8)]
    outputs = await asyncio.wait_for(asyncio.gather(*(each.communicate() for each in processes)), 60)
    assert [each.returncode for each in processes] == [0] * 8
    promised = [UUID(line) for output, _ in outputs for line in output.decode().split()]
    assert len(set(promised)) == len(promised) > 0
    there = await chained(database, tenant)
    assert set(promised) <= there
    assert len(there) <= 8 * 64 * 2
    assert (await verified(database)).ok


async def killed(database: Database, tenant: UUID, seed: int) -> None:
    """Kill a writer in the middle of a batch, and look everything over."""
    chance = random.Random(seed)  # noqa: S311 -- when to kill, nothing secret
    process = await started(database, tenant)
    promised = await acknowledged(process, after=chance.randrange(50, 400), pause=chance.random() / 20)
    for _ in range(100):
        async with database.connect() as connection:
            left = await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE usename = 'wk_ledger' AND datname = $1", database.name
            )
        if not left:
            break
        await asyncio.sleep(0.02)
    there = await chained(database, tenant)
    assert promised <= there
    assert len(there - promised) <= CALLS_IN_FLIGHT
    async with writing(database) as writer:
        await writer.append(tenant, prepared())
    assert (await verified(database)).ok


@pytest.mark.fault
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_writer_killed_in_the_middle_of_a_batch(database: Database, tenant: UUID, seed: int) -> None:
    await killed(database, tenant, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", soak_rounds())
async def test_soak_of_killed_writers(database: Database, tenant: UUID, seed: int) -> None:
    await killed(database, tenant, seed)


@pytest.mark.fault
async def test_postgresql_stopped_at_once_in_the_middle_of_a_batch(database: Database) -> None:
    await stopped_at_once(database, seeds=range(1, 4))


@pytest.mark.soak
async def test_soak_of_immediate_stops(database: Database) -> None:
    await stopped_at_once(database, seeds=soak_rounds())


async def stopped_at_once(database: Database, *, seeds: range) -> None:
    """Its immediate stop is a crash: what was acknowledged outlives it, and the writer goes on by itself, each time."""
    home = scratch_home()
    server = await asyncio.to_thread(launch, home, database.server.background)
    assert server.embedded is not None
    try:
        await asyncio.to_thread(database.server.background.run, server.prepare())
        mine = Database(server=server, name=server.template)
        tenant = await mine.create_tenant()
        promised: set[UUID] = set()
        async with writing(mine, seconds=3.0) as writer:
            for rounds, seed in enumerate(seeds, start=1):
                await stop_under_load(server.embedded, writer, tenant, promised, seed=seed)
                assert writer.healthy
                there = await chained(mine, tenant)
                assert promised <= there
                assert len(there - promised) <= STOP_CALLERS * rounds
        assert (await verified(mine)).ok
        async with connected(mine.superuser) as connection:
            assert await connection.fetchval("SELECT count(*) FROM ledger.outbox") == 0
    finally:
        await asyncio.to_thread(server.embedded.stop)


async def stop_under_load(
    server: EmbeddedServer, writer: LedgerWriter, tenant: UUID, promised: set[UUID], *, seed: int
) -> None:
    """Append from many callers, stop PostgreSQL in the middle, start it again, and note what was acknowledged."""
    chance = random.Random(seed)  # noqa: S311 -- when to stop, nothing secret
    before = len(promised)

    async def caller() -> None:
        while len(promised) < before + 1500:
            events = prepared()
            try:
                await writer.append(tenant, events)
            except LedgerUnavailable:  # then nothing was promised
                await asyncio.sleep(0.05)
                continue
            promised.add(events[0].event.id)

    calls = [asyncio.create_task(caller()) for _ in range(STOP_CALLERS)]
    enough = before + chance.randrange(50, 800)
    async with asyncio.timeout(30):
        while len(promised) < enough:  # noqa: ASYNC110 -- the callers count up
            await asyncio.sleep(0.002)
    await asyncio.sleep(chance.random() / 50)
    os.kill(server.pid or 0, signal.SIGQUIT)
    await asyncio.sleep(0.3)
    await asyncio.to_thread(server.start)
    await asyncio.wait_for(asyncio.gather(*calls), 60)
