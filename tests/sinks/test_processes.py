"""Several processes: one delivers at a time, and one that is killed loses nothing."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest

from database import Database
from egress.outside import Certificates, serving
from ledger.making import Reports, prepared, writing
from sinks.receivers import Syslog, Taken, read_lines
from sinks.streaming import fill, log, streaming, until
from wellkeep.base.sink_settings import FileSink
from wellkeep.ledger.sinks.stream import Pace

DELIVERING = Path(__file__).with_name("delivering.py")


@asynccontextmanager
async def process(told: dict[str, object]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a deliverer; killed at the end, if it was not before."""
    running = await asyncio.create_subprocess_exec(
        sys.executable, str(DELIVERING), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert running.stdin is not None
    assert running.stdout is not None
    try:
        running.stdin.write(json.dumps(told).encode() + b"\n")
        assert await asyncio.wait_for(running.stdout.readline(), 20) == b"started\n"
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


@pytest.mark.fault
async def test_deliverers_that_are_killed_lose_nothing(
    database: Database, tenant: UUID, other_tenant: UUID, tmp_path: Path, certificates: Certificates
) -> None:
    """Two at a time, while the logs grow; the one at work is killed, again and again."""
    syslog = Syslog()
    async with serving(syslog.manner, certificates.context()) as server, writing(database) as writer:
        told = {
            "dsn": database.dsn("wk_ledger"),
            "home": str(tmp_path),
            "port": server.port,
            "authority": str(certificates.authority),
            "hold": 1.0,
        }

        async def grow() -> None:
            for _ in range(120):
                for one in (tenant, other_tenant):
                    await writer.append(one, prepared(7))
                await asyncio.sleep(0.02)

        growing = asyncio.create_task(grow())
        async with process(told):
            for _ in range(3):
                async with process(told) as doomed:
                    await asyncio.sleep(0.4)
                    doomed.kill()
            await growing
            sizes = {one: (await writer.append(one, prepared(1)))[0].seq + 1 for one in (tenant, other_tenant)}
            began = asyncio.get_running_loop().time()
            await until(lambda: all(syslog.taken.whole(log(one), size) for one, size in sizes.items()), seconds=30)
            await until(lambda: all(lines(tmp_path).whole(log(one), size) for one, size in sizes.items()), seconds=30)
            assert asyncio.get_running_loop().time() - began < 30
    for got in (syslog.taken, lines(tmp_path)):
        assert got.check() == sum(sizes.values())
        assert not got.gaps


def lines(home: Path) -> Taken:
    return read_lines(*sorted(home.glob("lines.jsonl.*")), home / "lines.jsonl")


async def test_who_is_killed_with_the_turn_is_taken_over_from(
    database: Database, tenant: UUID, tmp_path: Path, certificates: Certificates
) -> None:
    size = await fill(database, tenant, 5)
    async with serving(Syslog().manner, certificates.context()) as server:
        told = {
            "dsn": database.dsn("wk_ledger"),
            "home": str(tmp_path),
            "port": server.port,
            "authority": str(certificates.authority),
            "hold": 8.0,
        }
        path = tmp_path / "lines.jsonl"
        async with process(told) as doomed:
            await until(lambda: path.exists() and read_lines(path).whole(log(tenant), size))
            doomed.kill()
    size = await fill(database, tenant, 5)
    async with streaming(database, FileSink(name="lines", path="lines.jsonl"), home=tmp_path):
        await asyncio.sleep(0.5)
        assert not read_lines(path).whole(log(tenant), size), "the turn was still the other's"
        await until(lambda: read_lines(path).whole(log(tenant), size), seconds=60)
    assert read_lines(path).check() == size


async def test_one_delivers_and_the_next_goes_on_at_once_where_it_stops(
    database: Database, tenant: UUID, tmp_path: Path
) -> None:
    """In turns, without a single entry twice; the house's own pace takes over within 30 seconds."""
    sink = FileSink(name="lines", path="lines.jsonl")
    path, pace = tmp_path / "lines.jsonl", Pace(look=0.05, wait=0.1, hold=60.0)
    async with streaming(database, sink, home=tmp_path, pace=pace):
        async with streaming(database, sink, home=tmp_path, pace=pace):
            for _ in range(4):
                size = await fill(database, tenant, 20)
            await until(lambda: read_lines(path).whole(log(tenant), size))
        size = await fill(database, tenant, 20)
        await until(lambda: read_lines(path).whole(log(tenant), size), seconds=60)
    got = read_lines(path)
    assert got.check() == size == len(got.entries)
    own = Pace()
    assert own.hold + own.wait < 30


async def test_a_finding_of_two_processes_is_one(database: Database, tenant: UUID, tmp_path: Path) -> None:
    """A failing sink is tried by one process at a time, with its pauses, however many there are."""
    await fill(database, tenant, 3)
    (tmp_path / "lines.jsonl").mkdir()
    sink, reports = FileSink(name="lines", path="lines.jsonl"), Reports()
    pace = Pace(look=0.02, wait=0.02, hold=5.0, first_pause=0.4, longest_pause=0.4, failing=0.0)
    async with (
        streaming(database, sink, home=tmp_path, pace=pace, reports=reports),
        streaming(database, sink, home=tmp_path, pace=pace, reports=reports),
        streaming(database, sink, home=tmp_path, pace=pace, reports=reports),
    ):
        began = asyncio.get_running_loop().time()
        await until(lambda: len(reports.kinds) >= 2)
        await asyncio.sleep(0.6)
        took = asyncio.get_running_loop().time() - began
        found = len(reports.kinds)
    assert found <= took / 0.4 + 3
