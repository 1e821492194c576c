"""A month waits for the sinks that were not given it; a dead one is left out by name, and leaves a gap that is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from assembly.conftest import Installed
from assembly.test_pruning import anchored, lived_in_2019
from deployments import command
from sinks.receivers import read_lines
from sinks.streaming import PACE, until
from wellkeep.access.operators import this_operator
from wellkeep.assembly.core import Core, open_core
from wellkeep.assembly.ledger_export import export_month
from wellkeep.assembly.ledger_prune import Pruned, months_due, owed_of, prune
from wellkeep.base.errors import Conflict, NotFound
from wellkeep.base.settings import Settings
from wellkeep.base.sink_settings import FileSink
from wellkeep.db.pool import Limits, Pool
from wellkeep.ledger.retention import MonthRun
from wellkeep.ledger.sinks.desk import lag
from wellkeep.ledger.sinks.streams import Streams

LINES = FileSink(name="agent", path="log/ledger.jsonl")
ELSEWHERE = FileSink(name="elsewhere", path="log/never.jsonl")
ROOTS = FileSink(name="roots", path="log/roots.jsonl", tenants=(), root=True)


async def deliver(core: Core, installed: Installed, sink: FileSink) -> None:
    """Deliver to `sink` until it has everything."""
    path = installed.home.path / sink.path
    path.parent.mkdir(exist_ok=True)
    endpoint = installed.database.endpoint("wk_ledger")
    async with Pool(endpoint, context_key=None, limits=Limits(min_size=1, max_size=2)) as pool:
        streams = Streams(
            [sink],
            pool=pool,
            egress=core.egress,
            home=installed.home.path,
            host=core.settings.host,
            clock=core.clock,
            reporter=core.findings,
            pace=PACE,
        )
        await streams.start()
        try:
            await until(lambda: caught_up(core, sink))
        finally:
            await streams.stop()


async def caught_up(core: Core, sink: FileSink) -> bool:
    async with core.ledger.connection() as connection:
        return not (await lag(connection, sink)).entries


def with_sinks(settings: Settings) -> Settings:
    ledger = msgspec.structs.replace(settings.ledger, sinks=(LINES, ELSEWHERE, ROOTS))
    return msgspec.structs.replace(settings, ledger=ledger)


async def test_a_month_waits_for_its_sinks(installed: Installed, tmp_path: Path) -> None:
    settings = with_sinks(anchored(installed, tmp_path / "outside"))
    installed.home.write_settings(settings)
    async with open_core(installed.home, settings, installed.database) as core:
        await lived_in_2019(installed, core)

        async def pruned(*without: str) -> Pruned:
            async def export(runs: Sequence[MonthRun]) -> None:
                await export_month(
                    core, installed.database, this_operator(), tmp_path / "out", month="2019-03", runs=runs
                )

            return await prune(
                core, installed.database, this_operator(), month="2019-03", export=export, without_sinks=without
            )

        (march,) = await months_due(core)
        assert await owed_of(core, march) == {"agent": 301, "elsewhere": 301}
        for without in ((), ("elsewhere",)):
            with pytest.raises(Conflict, match="The sink agent was not given 301 entries of 2019-03"):
                await pruned(*without)
        listed = command("ledger", "prune", "--json", home=installed.home.path)
        assert listed.json() == [{"month": "2019-03", "owed": {"agent": 301, "elsewhere": 301}}]
        assert "agent: 301 entries, elsewhere: 301 entries" in command("ledger", "prune", home=installed.home.path).out
        refused = command(
            *("ledger", "prune", "--month", "2019-03", "--export", tmp_path / "out", "--without-sink", "elsewhere"),
            home=installed.home.path,
        )
        assert (refused.code, "--without-sink agent" in refused.err) == (1, True)
        await deliver(core, installed, LINES)
        assert await owed_of(core, march) == {"elsewhere": 301}
        with pytest.raises(Conflict, match="--without-sink elsewhere"):
            await pruned("agent")
        with pytest.raises(NotFound, match="no sink of that name"):
            await pruned("elsewhere", "elsewere")
        assert not (tmp_path / "out").exists(), "nothing is begun before"
        assert (await pruned("elsewhere")).dropped == 301
        await deliver(core, installed, ELSEWHERE)
    got = read_lines(installed.home.path / ELSEWHERE.path)
    assert [(gap["from"], gap["to"], gap["reason"]) for gap in got.gaps] == [(0, 301, "missing")]
