"""Promise: what was lost on record is excused, and named; what was lost without one is found. Real database."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from database import Database
from ledger.grown import ROOT, Grown, grown
from ledger.making import HOST, SEAL_KEY, Reports, change, event, prepared
from wellkeep.base.clock import SystemClock
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.ledger.append import Appender
from wellkeep.ledger.checkpoint import Checkpoint
from wellkeep.ledger.report import What
from wellkeep.ledger.restore import accept, remembered_after
from wellkeep.ledger.seal import origin
from wellkeep.ledger.setback import Setback, heads_of, setbacks
from wellkeep.ledger.splice import Splicer

TABLES = ("log", "entry", "seal", "entry_subject", "checkpoint", "tile", "covered", "outbox")


async def saved(database: Database) -> None:
    for table in TABLES:
        await change(database, f"CREATE TABLE public.old_{table} AS TABLE ledger.{table}")


async def restored(database: Database) -> None:
    """Put back what was saved, as a backup does."""
    for table in TABLES:
        await change(database, f"DELETE FROM ledger.{table}")  # noqa: S608 -- ours
        await change(database, f"INSERT INTO ledger.{table} SELECT * FROM public.old_{table}")  # noqa: S608 -- ours


async def accepted(made: Grown, *, of: UUID | None = None) -> list[Setback]:
    """Accept what is lost on record, of every log or of one tenant's alone; return what it was."""
    appender = Appender(Splicer(host=HOST, seal_key=SEAL_KEY), clock=SystemClock(), reporter=Reports())
    memory = made.parts.memory
    async with made.database.pool("wk_ledger") as pool, pool.connection() as connection:
        behind = [one for one in await setbacks(connection, memory.load()) if of in (None, one.tenant)]
        await accept(connection, appender, behind, told=event(reason=b"r" * 32, subject=None))
        memory.replace(remembered_after(await heads_of(connection)))
    return behind


@pytest.fixture
async def behind(database: Database, tenant: UUID, tmp_path: Path) -> Grown:
    """Return a ledger that was put back: two batches ago it was signed, covered and anchored as it is."""
    async with grown(database, tmp_path) as made:
        await made.grow(tenant, 2)
        await saved(database)
        await made.grow(tenant, 3)
        await made.grow(tenant, 2)
    await restored(database)
    return made


async def found(made: Grown, *, remembered: dict[str, Checkpoint] | None = None) -> list[tuple[str, What]]:
    report = await made.verified(anchors=remembered is None, remembered=remembered)
    return [(bad.log, bad.what) for bad in report.bad]


async def test_a_loss_without_a_record_is_found(behind: Grown, tenant: UUID) -> None:
    assert await found(behind) == [(ROOT, What.ANCHOR)]
    memory = behind.parts.memory.load()
    assert sorted(await found(behind, remembered=memory)) == sorted(
        [(ROOT, What.REMEMBERED), (origin(HOST, tenant, 1), What.REMEMBERED)]
    )


async def test_a_loss_on_record_is_excused_and_said(behind: Grown, tenant: UUID, tmp_path: Path) -> None:
    lost = await accepted(behind)
    assert {one.tenant for one in lost} == {tenant, PLATFORM_TENANT}
    async with grown(behind.database, tmp_path) as again:
        await again.parts.writer.append(tenant, prepared(2))
        await again.cover()
        again.anchored = behind.anchored
        report = await again.verified(anchors=True, remembered=again.parts.memory.load())
    assert report.ok, report.bad
    assert (report.logs, report.covers) == (4, 2)
    assert {note.rpartition(" of ")[2] for note in report.notes} == {str(tenant), str(PLATFORM_TENANT)}
    assert all(note.startswith("recorded as lost: entries ") for note in report.notes)
    one = await again.verified(tenant=tenant)
    assert (one.ok, one.logs, len(one.notes)) == (True, 2, 1)


async def test_what_an_anchor_holds_of_another_history_is_not_excused_by_the_loss(behind: Grown) -> None:
    """The record says which root was lost last: an anchor that holds another one at that size is believed."""
    await accepted(behind)
    newest, first = behind.anchored[-1], behind.anchored[0]
    assert newest.note is not None
    assert first.note is not None
    lines = newest.note.split(b"\n")
    other_root = b"\n".join([lines[0], lines[1], first.note.split(b"\n")[2], *lines[3:]])
    behind.anchored[-1:] = [replace(newest, note=other_root)]
    assert await found(behind) == [(ROOT, What.ANCHOR)]


async def test_a_loss_that_only_one_log_was_said_to_have(behind: Grown, tenant: UUID) -> None:
    """The tenant's loss was accepted, the root log's was not: the root log is still behind its anchors."""
    await accepted(behind, of=tenant)
    assert (ROOT, What.ANCHOR) in await found(behind)
    assert (await behind.verified()).ok, "the honest ✗: inside the database all is on record"


async def test_a_new_epoch_whose_old_one_was_cut_further(behind: Grown, tenant: UUID) -> None:
    """More is gone than was accepted as lost."""
    await accepted(behind)
    name = origin(HOST, tenant, 1)
    for table in ("entry", "seal", "checkpoint", "covered"):
        await change(behind.database, f"DELETE FROM ledger.{table} WHERE tenant_id = $1 AND epoch = 1", tenant)  # noqa: S608 -- ours
    await change(behind.database, "DELETE FROM ledger.log WHERE tenant_id = $1 AND epoch = 1", tenant)
    places = {(bad.log, bad.what) for bad in (await behind.verified()).bad}
    assert (origin(HOST, tenant, 2), What.RESTORED) in places, "it cites entries of a log that is not there"
    assert (ROOT, What.LOG_MISSING) in places
    assert name not in {log for log, _ in places}


async def test_a_root_log_cut_off_before_its_loss_was_accepted(behind: Grown) -> None:
    """The new epoch of the root log deleted: what it announced and what it vouched for stand alone."""
    await accepted(behind)
    for table in ("log", "entry", "seal", "checkpoint"):
        await change(
            behind.database,
            f"DELETE FROM ledger.{table} WHERE tenant_id = $1 AND epoch = 2",  # noqa: S608 -- ours
            PLATFORM_TENANT,
        )
    report = await behind.verified(anchors=True)
    assert (ROOT, What.ANCHOR) in {(bad.log, bad.what) for bad in report.bad}
    assert What.LOG_UNANNOUNCED in {bad.what for bad in report.bad}


async def test_all_of_it_deleted(behind: Grown) -> None:
    """Nothing is left that says its name: an anchor that tells a size alone misses it all the same."""
    for table in TABLES:
        await change(behind.database, f"DELETE FROM ledger.{table}")  # noqa: S608 -- ours
    assert (await behind.verified()).ok, "the honest ✗: an empty ledger has nothing wrong with it"
    assert await found(behind) == [(ROOT, What.ANCHOR)]
    behind.anchored[:] = [replace(one, note=None) for one in behind.anchored]
    assert await found(behind) == [(origin("localhost", PLATFORM_TENANT, 1), What.ANCHOR)]


async def test_what_is_known_of_other_logs_is_no_matter_where_one_is_verified(behind: Grown, tenant: UUID) -> None:
    memory = behind.parts.memory.load()
    report = await behind.verified(tenant=tenant, remembered=memory)
    assert [(bad.log, bad.what) for bad in report.bad] == [(origin(HOST, tenant, 1), What.REMEMBERED)]
