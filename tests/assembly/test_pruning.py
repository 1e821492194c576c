"""A month is pruned by a real deployment: exported, said, anchored, gone; and everything else still holds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from assembly.conftest import Installed
from ledger.making import prepared
from ledger.past import make_month, store
from wellkeep.access.approvals import Approvals
from wellkeep.access.operators import operator, this_operator
from wellkeep.assembly.core import Core, open_core
from wellkeep.assembly.ledger_check import Extent, verify_on_record
from wellkeep.assembly.ledger_export import export_month
from wellkeep.assembly.ledger_holds import lift, place
from wellkeep.assembly.ledger_prune import Pruned, months_due, prune
from wellkeep.base.anchor_settings import FileAnchor
from wellkeep.base.errors import ApprovalNeeded, Conflict, LegalHold, NotFound
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.settings import LedgerSettings, Settings
from wellkeep.db.provision import connected
from wellkeep.gate.acts import Caller
from wellkeep.ledger.actions import Action
from wellkeep.ledger.retention import MonthRun
from wellkeep.ledger.seal import SealKey
from wellkeep.ledger.splice import Splicer, Submitted

MARCH = datetime(2019, 3, 9, tzinfo=UTC)
_LEFT = "SELECT count(*) FROM ledger.entry WHERE tenant_id = $1"


async def lived_in_2019(installed: Installed, core: Core) -> UUID:
    """Give the deployment a log that has entries of March 2019 alone, announced in the root log today."""
    tenant, key = uuid7(), core.keys.seal
    splicer = Splicer(host=core.settings.host, seal_key=SealKey(key_id=key.key_id, secret=key.secret))
    batch = [Submitted(tenant, each, outbox=False) for each in prepared(300)]
    head = splicer.unopened(tenant, MARCH)
    spliced = splicer.splice({tenant: head}, batch, now=MARCH)
    numbers = [number for number, step in enumerate(spliced.steps, start=1) if step[0] == tenant]
    announcement = next(
        each for each in splicer._by_log({}, batch)[PLATFORM_TENANT] if each.prepared.event.resource_id == str(tenant)
    )
    administrator = installed.database.administrator()
    assert administrator is not None
    async with connected(administrator) as connection:
        await make_month(connection, MARCH)
        await store(connection, spliced, steps=numbers)
    await core.writer.append(PLATFORM_TENANT, [announcement.prepared])
    return tenant


def anchored(installed: Installed, folder: Path) -> Settings:
    folder.mkdir()
    kept = LedgerSettings(anchors=(FileAnchor(name="drop", path=str(folder)),))
    return msgspec.structs.replace(installed.settings, ledger=kept)


async def test_a_month_is_pruned(installed: Installed, tmp_path: Path) -> None:
    settings = anchored(installed, tmp_path / "outside")
    async with open_core(installed.home, settings, installed.database) as core:
        tenant = await lived_in_2019(installed, core)

        async def pruned(month: str = "2019-03") -> Pruned:
            async def export(runs: Sequence[MonthRun]) -> None:
                await export_month(core, installed.database, this_operator(), tmp_path / "out", month=month, runs=runs)

            return await prune(core, installed.database, this_operator(), month=month, export=export)

        assert [month.name for month in await months_due(core)] == ["2019-03"]
        with pytest.raises(NotFound):
            await pruned("2026-11")
        hold = await place(core, this_operator(), tenant=tenant, reason="a case")
        with pytest.raises(LegalHold):
            await pruned()
        with pytest.raises(ApprovalNeeded) as waits:
            await lift(core, this_operator(), hold=hold, reason="closed")
        assert waits.value.resource is not None
        another = Caller(operator("grace"), None, uuid7())
        await Approvals(gate=core.gate, clock=core.clock).decide(another, waits.value.resource, give=True)
        await lift(core, this_operator(), hold=hold, reason="closed")
        assert not (tmp_path / "out").exists()
        result = await pruned()
        assert (result.dropped, result.anchored, len(result.runs)) == (301, 1, 1)
        assert (tmp_path / "out" / "manifest.json").exists()
        async with connected(installed.database.endpoint("wk_migrate")) as connection:
            await connection.execute("SET ROLE wk_owner")
            assert await connection.fetchval(_LEFT + " AND action <> $2", tenant, Action.LEDGER_PRUNED) == 2
        checked = await verify_on_record(core, installed.database, this_operator(), Extent())
        assert checked.report.ok, checked.report.bad
        with pytest.raises(NotFound):
            await pruned()


async def test_nothing_is_pruned_without_an_anchor(installed: Installed, tmp_path: Path) -> None:
    async with open_core(installed.home, installed.settings, installed.database) as core:
        await lived_in_2019(installed, core)

        async def never(runs: object) -> None:
            raise AssertionError(runs, tmp_path)

        with pytest.raises(Conflict, match="anchor"):
            await prune(core, installed.database, this_operator(), month="2019-03", export=never)
