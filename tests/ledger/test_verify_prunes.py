"""Promise: a month that went on record is excused, where somebody outside saw it; one deleted otherwise is found."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from database import Database
from ledger.grown import ROOT, Grown, grown
from ledger.making import HOST, KEYS, change, event, prepared
from ledger.past import live_through
from ledger.signing import SIGNER
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.ledger.event import prepare
from wellkeep.ledger.known import Known
from wellkeep.ledger.report import Report, What
from wellkeep.ledger.retention import MonthRun, due, keep_leaves, runs_of, told
from wellkeep.ledger.seal import origin

MARCH = datetime(2019, 3, 9, tzinfo=UTC)
OLD = "DELETE FROM ledger.entry WHERE \"time\" < '2019-04-01'"


@pytest.fixture
async def made(database: Database, tenant: UUID, tmp_path: Path) -> AsyncIterator[Grown]:
    """Return a signed ledger of which 301 entries of the tenant's log and 2 of the root log are over six years old."""
    now = datetime.now(UTC)
    await live_through(database, {}, [(MARCH, tenant, prepared(300)), (now, tenant, prepared(3))])
    async with grown(database, tmp_path) as ledger:
        yield ledger


async def said(made: Grown, *, logs: frozenset[UUID] | None = None, root: bytes | None = None) -> list[MonthRun]:
    """Keep the leaves, and have the logs say that March goes: all, or `logs` alone; with a `root` that is not its."""
    async with made.database.connect("wk_ledger") as connection:
        [march] = await due(connection, now=datetime.now(UTC))
        runs = await runs_of(connection, march)
        roots = [await keep_leaves(connection, run) for run in runs]
    for run, right in zip(runs, roots, strict=True):
        for log, entry in told(event(subject=None), run, root or right):
            if logs is None or log in logs:
                await made.parts.writer.append(log, [prepare(entry)])
    return runs


async def pruned(made: Grown) -> None:
    """Have March go as it should."""
    await said(made)
    async with made.database.connect("wk_migrate") as connection:
        assert await connection.fetchval("SELECT ledger.drop_month($1)", datetime(2019, 3, 1, tzinfo=UTC)) == 303


async def vouched(made: Grown) -> None:
    await made.cover()
    await made.anchor()


def places(report: Report) -> list[tuple[str, int, What]]:
    return sorted((bad.log, bad.seq, bad.what) for bad in report.bad)


async def test_a_month_that_went_on_record(made: Grown, tenant: UUID) -> None:
    await vouched(made)
    await pruned(made)
    report = await made.verified(anchors=True)
    assert report.ok, report.bad
    assert report.notes == ()
    assert (await made.verified(anchors=True, since=datetime(2020, 1, 1, tzinfo=UTC))).ok
    assert (await made.verified(tenant=tenant)).ok
    # And on, from where it held.
    known = Known(KEYS, signers=(SIGNER,), anchored=made.anchored, verified=report.ends)
    await made.grow(tenant, 2)
    assert (await made.verified(known=known)).ok


async def test_a_month_of_which_nobody_outside_knew(made: Grown, tenant: UUID) -> None:
    """Leaves that were kept prove nothing by themselves: whoever deletes may as well have made them up."""
    await pruned(made)
    name = origin(HOST, tenant, 1)
    assert places(await made.verified()) == [(name, 0, What.PRUNED), (ROOT, 0, What.PRUNED)]
    await vouched(made)
    assert places(await made.verified()) == [(ROOT, 0, What.PRUNED)], "its cover stands in the root log"
    assert (await made.verified(anchors=True)).ok


@pytest.mark.parametrize("sql", [OLD, "DROP TABLE ledger.entry_2019_03"], ids=["its rows", "its partition"])
async def test_a_month_deleted_without_a_record(made: Grown, tenant: UUID, sql: str) -> None:
    async with made.database.connect("wk_ledger") as connection:
        [march] = await due(connection, now=datetime.now(UTC))
        for run in await runs_of(connection, march):
            await keep_leaves(connection, run)
    await vouched(made)
    await change(made.database, sql)
    found = {(bad.log, bad.seq, bad.what) for bad in (await made.verified(anchors=True)).bad}
    assert {(origin(HOST, tenant, 1), 0, What.PRUNED), (ROOT, 0, What.PRUNED)} <= found


@pytest.mark.parametrize("log", ["root", "own"])
async def test_a_month_that_one_log_alone_tells_of(made: Grown, tenant: UUID, log: str) -> None:
    await said(made, logs=frozenset({PLATFORM_TENANT if log == "root" else tenant}))
    await vouched(made)
    await change(made.database, f"{OLD} AND tenant_id = $1", tenant)
    assert places(await made.verified(anchors=True)) == [(origin(HOST, tenant, 1), 0, What.PRUNED)]


async def test_a_record_that_says_another_root(made: Grown, tenant: UUID) -> None:
    """It is found while the month is still there, too: nothing may go by it."""
    await said(made, root=bytes(32))
    assert {bad.what for bad in (await made.verified()).bad} == {What.PRUNED}
    assert {bad.log for bad in (await made.verified()).bad} == {origin(HOST, tenant, 1), ROOT}


@pytest.mark.parametrize("which", ["level = 0 AND index = 0", "root IS NULL"])
async def test_leaves_of_a_pruned_month_that_are_gone(made: Grown, tenant: UUID, which: str) -> None:
    await vouched(made)
    await pruned(made)
    await change(made.database, f"DELETE FROM ledger.tile WHERE tenant_id = $1 AND {which}", tenant)  # noqa: S608 -- ours
    [(log, seq, what)] = [each for each in places(await made.verified(anchors=True)) if each[0] != ROOT]
    assert (log, seq, what) == (origin(HOST, tenant, 1), 0 if "index" in which else 256, What.SEQ)


async def test_leaves_of_a_pruned_month_that_were_forged(made: Grown, tenant: UUID) -> None:
    await vouched(made)
    await pruned(made)
    await change(
        made.database,
        "UPDATE ledger.tile SET hashes = overlay(hashes PLACING sha256(hashes) FROM 33) "
        "WHERE tenant_id = $1 AND index = 0",
        tenant,
    )
    assert places(await made.verified(anchors=True)) == [(origin(HOST, tenant, 1), 0, What.TILE)]
