"""A database that is behind what this host remembers is noticed, and is gone on from only on record."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from database import Database
from ledger.making import HOST, SEAL_KEY, Reports, SetClock, change, event, prepared, verified, writing
from ledger.signing import Signing, signing
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import LedgerUnavailable, Misconfigured
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.ledger.append import Appender
from wellkeep.ledger.checkpoint import Checkpoint
from wellkeep.ledger.restore import Reopened, accept, remembered_after
from wellkeep.ledger.seal import log_of, origin
from wellkeep.ledger.setback import How, LedgerBehind, Setback, heads_of, setbacks
from wellkeep.ledger.splice import Splicer

_TABLES = ("entry", "seal", "log", "checkpoint", "tile", "entry_subject")


async def wrote(parts: Signing, tenant: UUID, count: int) -> None:
    for _ in range(count):
        await parts.writer.append(tenant, prepared(1))
        assert await parts.checkpointer.sign_now()


async def found(database: Database, parts: Signing) -> list[tuple[UUID, How, int, int]]:
    async with database.connect("wk_ledger") as connection:
        return [
            (one.tenant, one.how, one.size, one.remembered.size)
            for one in await setbacks(connection, parts.memory.load())
        ]


async def saved(database: Database) -> None:
    """Keep the ledger as it is now, as a backup does."""
    for table in _TABLES:
        await change(database, f"CREATE TABLE public.old_{table} AS TABLE ledger.{table}")


async def restored(database: Database, where: str = "true") -> None:
    """Put back what was kept, as the database's owner can; all of it is in order."""
    for table in _TABLES:
        await change(database, f"DELETE FROM ledger.{table} WHERE {where}")  # noqa: S608  # ours
        await change(database, f"INSERT INTO ledger.{table} SELECT * FROM public.old_{table} WHERE {where}")  # noqa: S608


async def test_what_is_remembered_is_what_is_there(database: Database, tenant: UUID, tmp_path: Path) -> None:
    async with signing(database, tmp_path) as parts:
        await wrote(parts, tenant, 3)
        assert await found(database, parts) == []
    async with writing(database) as writer:  # another host goes on, past a few tiles
        await writer.append(tenant, prepared(300))
    assert await found(database, parts) == []
    async with database.connect("wk_ledger") as connection:
        assert await setbacks(connection, {}) == []


async def test_an_old_state_put_back_as_a_whole_is_noticed(database: Database, tenant: UUID, tmp_path: Path) -> None:
    """Chain, seals and checkpoints all hold: nothing inside the database can show it."""
    async with signing(database, tmp_path) as parts:
        await wrote(parts, tenant, 3)
        await saved(database)
        await wrote(parts, tenant, 2)
    await restored(database)
    assert (await verified(database)).ok
    assert await found(database, parts) == [(tenant, How.SHORTER, 4, 6)]


async def test_a_log_that_is_gone_or_another_is_noticed(
    database: Database, tenant: UUID, other_tenant: UUID, tmp_path: Path
) -> None:
    async with signing(database, tmp_path) as parts:
        await wrote(parts, tenant, 2)
        await wrote(parts, other_tenant, 2)
        await saved(database)
        await wrote(parts, other_tenant, 2)
    await restored(database, f"tenant_id = '{other_tenant}'")
    async with writing(database) as writer:  # and goes on otherwise, to the same size and beyond
        await writer.append(other_tenant, prepared(2))
    for table in _TABLES:
        await change(database, f"DELETE FROM ledger.{table} WHERE tenant_id = $1", tenant)  # noqa: S608  # ours
    assert sorted(await found(database, parts), key=str) == sorted(
        [(tenant, How.GONE, 0, 3), (other_tenant, How.OTHER, 5, 5)], key=str
    )
    async with writing(database) as writer:
        await writer.append(other_tenant, prepared(2))
    assert (other_tenant, How.OTHER, 7, 5) in await found(database, parts)


async def test_a_tree_with_holes_is_another(database: Database, tenant: UUID, tmp_path: Path) -> None:
    async with signing(database, tmp_path) as parts:
        await wrote(parts, tenant, 3)
    async with writing(database) as writer:
        await writer.append(tenant, prepared(3))
    await change(database, "DELETE FROM ledger.entry WHERE tenant_id = $1 AND seq = 1", tenant)
    assert await found(database, parts) == [(tenant, How.OTHER, 7, 4)]


async def test_a_writer_does_not_go_on_from_less_than_it_wrote(
    database: Database, tenant: UUID, other_tenant: UUID, tmp_path: Path
) -> None:
    """The database is put back beneath a process that runs: no second history, and other tenants go on."""
    async with signing(database, tmp_path) as parts:
        await wrote(parts, tenant, 2)
        await saved(database)
        await wrote(parts, tenant, 2)
        await restored(database, f"tenant_id = '{tenant}'")
        with pytest.raises(LedgerUnavailable):
            await parts.writer.append(tenant, prepared(1))
        await parts.writer.append(other_tenant, prepared(1))
        for table in _TABLES:
            await change(database, f"DELETE FROM ledger.{table} WHERE tenant_id = $1", tenant)  # noqa: S608  # ours
        parts.writer._appender.forget()
        with pytest.raises(LedgerUnavailable):
            await parts.writer.append(tenant, prepared(1))
    assert {"what": "behind"} in parts.reports.details


@pytest.mark.parametrize("gone", [False, True], ids=["put back", "deleted"])
async def test_a_writer_does_not_go_on_from_less_than_its_host_remembered(
    database: Database, tenant: UUID, other_tenant: UUID, tmp_path: Path, *, gone: bool
) -> None:
    """It never wrote to this log itself: another process of the host did, before it started."""
    async with signing(database, tmp_path) as parts:
        await wrote(parts, tenant, 2)
        await saved(database)
        await wrote(parts, tenant, 2)
    async with signing(database, tmp_path) as again:
        assert await found(database, again) == []
        await restored(database, f"tenant_id = '{tenant}'")
        if gone:
            for table in _TABLES:
                await change(database, f"DELETE FROM ledger.{table} WHERE tenant_id = $1", tenant)  # noqa: S608  # ours
        with pytest.raises(LedgerUnavailable):
            await again.writer.append(tenant, prepared(1))
        await again.writer.append(other_tenant, prepared(1))
        assert again.reports.details == [{"what": "behind"}]
    async with database.connect() as connection:
        sizes = await connection.fetch("SELECT size FROM ledger.log WHERE tenant_id = $1", tenant)
    assert [row["size"] for row in sizes] == ([] if gone else [3])


@pytest.mark.parametrize("cached", [True, False], ids=["as it knows it", "after a failure"])
async def test_a_writer_opens_no_log_anew_that_it_wrote(
    database: Database, tenant: UUID, other_tenant: UUID, tmp_path: Path, *, cached: bool
) -> None:
    """Root log and all are deleted beneath a process that runs: neither it nor a new log begins, the others go on."""
    async with signing(database, tmp_path) as parts:
        await wrote(parts, tenant, 2)
        await wrote(parts, PLATFORM_TENANT, 1)
        for table in _TABLES:
            await change(database, f"DELETE FROM ledger.{table} WHERE tenant_id = $1", PLATFORM_TENANT)  # noqa: S608
        if not cached:
            parts.writer._appender.forget()
        refused = await asyncio.gather(
            parts.writer.append(other_tenant, prepared(1)),
            parts.writer.append(PLATFORM_TENANT, prepared(1)),
            return_exceptions=True,
        )
        assert [type(one) for one in refused] == [LedgerUnavailable] * 2
        assert {"what": "behind"} in parts.reports.details
        with pytest.raises(LedgerUnavailable):
            await parts.writer.append(other_tenant, prepared(1))
        await parts.writer.append(tenant, prepared(1))
        assert parts.writer.healthy
    async with database.connect() as connection:
        rows = await connection.fetch("SELECT tenant_id, size FROM ledger.log")
    assert [tuple(row) for row in rows] == [(tenant, 4)]


async def test_a_tenant_s_log_that_is_deleted_as_it_is_written_to_is_not_opened_anew(
    database: Database, tenant: UUID, tmp_path: Path
) -> None:
    """With what announced it, so that no id of an event stands in the way."""
    async with signing(database, tmp_path) as parts:
        await wrote(parts, tenant, 2)
        await wrote(parts, PLATFORM_TENANT, 1)
        for table in _TABLES:
            await change(database, f"DELETE FROM ledger.{table} WHERE tenant_id = $1", tenant)  # noqa: S608  # ours
        await change(database, "DELETE FROM ledger.entry WHERE tenant_id = $1 AND seq > 0", PLATFORM_TENANT)
        with pytest.raises(LedgerUnavailable):
            await parts.writer.append(tenant, prepared(1))
        assert parts.reports.details == [{"what": "behind"}]
    async with database.connect() as connection:
        assert await connection.fetchval("SELECT count(*) FROM ledger.log WHERE tenant_id = $1", tenant) == 0


def test_what_is_told_names_the_log_and_the_way_on() -> None:
    setback = Setback(PLATFORM_TENANT, 1, How.SHORTER, 3, _remembered())
    with pytest.raises(LedgerBehind, match="accept-restore") as told:
        raise LedgerBehind([setback])
    assert "wellkeep.test/ledger/root (shorter: 3 entries there, 9 remembered)" in str(told.value)


def _remembered() -> Checkpoint:
    return Checkpoint(origin(HOST, PLATFORM_TENANT, 1), 9, bytes(32))


@pytest.mark.parametrize("name", ["", "a/ledger/", "a/ledger/root/0", "a/ledger/root/1x", "a/other/root"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(Misconfigured):
        log_of(name)


def test_a_name_leads_back_to_its_log(tenant: UUID) -> None:
    for of, epoch in ((tenant, 1), (tenant, 12), (PLATFORM_TENANT, 1), (PLATFORM_TENANT, 3)):
        assert log_of(origin(HOST, of, epoch)) == (of, epoch)


# ------------------------------------------------------------------------------------------------------- going on


async def accepted(database: Database, parts: Signing) -> list[Reopened]:
    appender = Appender(Splicer(host=HOST, seal_key=SEAL_KEY), clock=SystemClock(), reporter=Reports())
    async with database.pool("wk_ledger") as pool, pool.connection() as connection:
        behind = await setbacks(connection, parts.memory.load())
        reopened = await accept(connection, appender, behind, told=event(reason=b"r" * 32, subject=None))
        parts.memory.replace(remembered_after(await heads_of(connection)))
    return reopened


async def test_after_a_restore_the_log_goes_on_in_a_new_epoch_that_cites_the_loss(
    database: Database, tenant: UUID, tmp_path: Path
) -> None:
    async with signing(database, tmp_path) as parts:
        await wrote(parts, tenant, 2)
        await saved(database)
        await wrote(parts, tenant, 3)
    lost = parts.memory.load()[origin(HOST, tenant, 1)]
    await restored(database)
    reopened = await accepted(database, parts)
    assert [(one.tenant, one.epoch) for one in reopened] == [(tenant, 2)]
    assert await found(database, parts) == []
    async with signing(database, tmp_path) as again:
        [place] = await again.writer.append(tenant, prepared(1))
    assert (place.epoch, place.seq) == (2, 2)
    report = await verified(database)
    assert report.ok, report.bad
    async with database.connect() as connection:
        entries = await connection.fetch(
            "SELECT tenant_id, entry FROM ledger.entry WHERE action = 'ledger.restored' ORDER BY tenant_id"
        )
    assert [row["tenant_id"] for row in entries] == [PLATFORM_TENANT, tenant]
    for row in entries:
        told = msgspec.json.decode(row["entry"])["event"]
        assert told["resource"] == {"type": "log", "id": str(tenant)}
        assert told["span"] == {"epoch": 1, "from": 3, "to": 6}
        assert (told["digest"], told["reason"]) == (lost.root.hex(), (b"r" * 32).hex())


async def test_a_root_log_that_was_put_back_goes_on_too(database: Database, tenant: UUID, tmp_path: Path) -> None:
    async with signing(database, tmp_path) as parts:
        await wrote(parts, tenant, 1)
        await saved(database)
        await wrote(parts, tenant, 1)
        await wrote(parts, PLATFORM_TENANT, 2)
    await restored(database)
    assert {one.tenant for one in await accepted(database, parts)} == {PLATFORM_TENANT, tenant}
    assert (await verified(database)).ok
    async with signing(database, tmp_path) as again:
        places = await again.writer.append(PLATFORM_TENANT, prepared(1))
    assert places[0].epoch == 2
    assert (await verified(database)).ok


async def test_a_restore_is_not_accepted_while_somebody_writes(
    database: Database, tenant: UUID, tmp_path: Path
) -> None:
    """Whoever is ahead of the clock, or writes meanwhile, gets nothing half done."""
    async with signing(database, tmp_path) as parts:
        await wrote(parts, tenant, 1)
        await saved(database)
        await wrote(parts, tenant, 1)
    await restored(database)
    late = SetClock()
    late.off = timedelta(minutes=-20)
    appender = Appender(Splicer(host=HOST, seal_key=SEAL_KEY), clock=late, reporter=Reports())
    async with database.pool("wk_ledger") as pool, pool.connection() as connection:
        behind = await setbacks(connection, parts.memory.load())
        with pytest.raises(LedgerUnavailable, match="Stop every server"):
            await accept(connection, appender, behind, told=event(subject=None))
    async with database.connect() as connection:
        assert await connection.fetchval("SELECT max(epoch) FROM ledger.log") == 1


async def test_what_an_older_epoch_lost_is_told_too(database: Database, tenant: UUID, tmp_path: Path) -> None:
    """Two restores, one after the other, and then a backup from before both."""
    async with signing(database, tmp_path) as parts:
        await wrote(parts, tenant, 2)
        await saved(database)
        await wrote(parts, tenant, 3)
    first = parts.memory.load()
    await restored(database)
    await accepted(database, parts)
    async with signing(database, tmp_path) as again:
        await wrote(again, tenant, 1)
    again.memory.note(first.values())  # as another host remembers it
    await restored(database)
    reopened = await accepted(database, again)
    of_tenant = {(one.epoch, one.setback.epoch) for one in reopened if one.tenant == tenant}
    assert of_tenant == {(3, 1), (3, 2)}
    async with signing(database, tmp_path) as third:
        [place] = await third.writer.append(tenant, prepared(1))
    assert (place.epoch, place.seq) == (3, 3)
    async with database.connect() as connection:
        told = await connection.fetch(
            "SELECT entry FROM ledger.entry WHERE action = 'ledger.restored' AND tenant_id = $1 ORDER BY seq", tenant
        )
    assert [msgspec.json.decode(row["entry"])["event"]["span"]["epoch"] for row in told] == [1, 2]


async def test_what_was_remembered_and_is_no_loss_is_accepted_on_record(
    database: Database, tenant: UUID, tmp_path: Path
) -> None:
    """Nothing is gone, so no log is opened anew; that an operator accepted it stands in the root log."""
    async with signing(database, tmp_path) as parts:
        await wrote(parts, tenant, 1)
    assert await accepted(database, parts) == []
    async with database.connect() as connection:
        assert await connection.fetchval("SELECT max(epoch) FROM ledger.log") == 1
        [row] = await connection.fetch("SELECT tenant_id, resource_id FROM ledger.entry WHERE action LIKE 'operator.%'")
    assert (row["tenant_id"], row["resource_id"]) == (PLATFORM_TENANT, "ledger.accept_restore")
    assert (await verified(database)).ok
