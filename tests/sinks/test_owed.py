"""What a sink was not given of entries that are to go: all that it names, from where it began, to where it has come."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from database import Database
from sinks.receivers import read_lines
from sinks.streaming import ROOT, fill, log, streaming, until
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.sink_settings import FileSink
from wellkeep.ledger.retention import MonthRun
from wellkeep.ledger.sinks.owed import owed

STANDS = """
INSERT INTO ledger.sink_cursor (tenant_id, sink, epoch, origin, first, seq) VALUES ($1, 'lines', 1, 'o', 0, $2)
"""


def sink(name: str = "lines", **more: object) -> FileSink:
    return FileSink(name=name, path=f"{name}.jsonl", **more)  # type: ignore[arg-type]


async def asked(database: Database, runs: list[MonthRun], *sinks: FileSink) -> dict[str, int]:
    async with database.connect("wk_ledger") as connection:
        return await owed(connection, sinks, runs)


def run(tenant: UUID, first: int, upto: int, *, epoch: int = 1) -> MonthRun:
    return MonthRun(tenant, epoch, log(tenant, epoch), first, upto)


async def test_what_was_delivered_is_owed_no_more(database: Database, tenant: UUID, tmp_path: Path) -> None:
    size = await fill(database, tenant, 9)
    runs = [run(tenant, 2, 7)]
    assert await asked(database, runs, sink()) == {"lines": 5}
    async with streaming(database, sink(), home=tmp_path):
        await until(lambda: paid(database, [run(tenant, 0, size)]))
    assert read_lines(tmp_path / "lines.jsonl").whole(log(tenant), size)
    assert await asked(database, runs, sink()) == {}
    assert await asked(database, [run(tenant, 2, size + 3)], sink()) == {"lines": 3}
    assert await asked(database, [*runs, run(tenant, 0, 4, epoch=2)], sink()) == {"lines": 4}
    assert await asked(database, [], sink()) == {}


@pytest.mark.parametrize("seen", [0, 2, 3, 6, 7, 9])
async def test_a_cursor_in_the_middle(database: Database, tenant: UUID, seen: int) -> None:
    await fill(database, tenant, 9)
    async with database.connect() as connection:
        await connection.execute(STANDS, tenant, seen)
    expected = max(7 - max(2, seen), 0)
    assert await asked(database, [run(tenant, 2, 7)], sink()) == ({"lines": expected} if expected else {})


async def test_each_sink_is_owed_what_it_names(database: Database, tenant: UUID, other_tenant: UUID) -> None:
    runs = [run(PLATFORM_TENANT, 0, 1), run(tenant, 0, 10), run(other_tenant, 0, 100)]
    assert runs[0].origin == ROOT
    sinks = sink("all"), sink("root", tenants=(), root=True), sink("one", tenants=(tenant,)), sink("both", root=True)
    assert await asked(database, runs, *sinks) == {"all": 110, "root": 1, "one": 10, "both": 111}


async def test_a_sink_that_begins_now_is_owed_what_came_since(database: Database, tenant: UUID, tmp_path: Path) -> None:
    now = sink(begin="now")
    size = await fill(database, tenant, 9)
    assert await asked(database, [run(tenant, 0, size)], now) == {}, "it will begin behind them"
    async with streaming(database, now, home=tmp_path):
        await until(lambda: known(database))
    assert await asked(database, [run(tenant, 0, size)], now) == {}
    assert await asked(database, [run(tenant, 0, size + 2)], now) == {"lines": 2}


async def paid(database: Database, runs: list[MonthRun]) -> bool:
    return not await asked(database, runs, sink())


async def known(database: Database) -> object:
    async with database.connect() as connection:
        return await connection.fetchval("SELECT count(*) FROM ledger.sink")
