"""A month goes after six years, the oldest first, under no hold, on record in its logs; its hashes stay."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from database import Database
from ledger.making import change, event, prepared, writing
from ledger.past import live_through
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.db.connection import Connection
from wellkeep.ledger.event import Action, Outcome, PreparedEvent, prepare
from wellkeep.ledger.retention import Month, MonthRun, due, keep_leaves, recorded, runs_of, told, years_before
from wellkeep.ledger.splice import Head
from wellkeep.ledger.tile_store import TileStore
from wellkeep.ledger.tiles import root_at

MARCH, APRIL = datetime(2019, 3, 9, tzinfo=UTC), datetime(2019, 4, 9, tzinfo=UTC)
_DROP = "SELECT ledger.drop_month($1)"
_WAITING = """
SELECT EXISTS (SELECT FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%drop_month%')
"""


@pytest.fixture
async def past(database: Database, tenant: UUID) -> dict[UUID, Head]:
    """Make a ledger of which two months are over six years old: 301 entries of March 2019, 3 of April, 3 of now."""
    heads: dict[UUID, Head] = {}
    now = datetime.now(UTC)
    subjects = tuple(uuid7() for _ in range(3))
    await live_through(
        database,
        heads,
        [
            (MARCH, tenant, [*prepared(297), *prepared(3, subjects=subjects)]),
            (APRIL, tenant, prepared(3)),
            (now, tenant, prepared(3)),
        ],
    )
    return heads


async def said(database: Database, runs: list[MonthRun]) -> None:
    """Keep the leaves, and say in every log that the runs go."""
    async with database.connect("wk_ledger") as connection:
        roots = [await keep_leaves(connection, run) for run in runs]
    async with writing(database) as writer:
        for run, root in zip(runs, roots, strict=True):
            for log, entry in told(event(subject=None), run, root):
                await writer.append(log, [prepare(entry)])


async def dropped(database: Database, month: Month) -> int:
    async with database.connect("wk_migrate") as connection:
        count: int = await connection.fetchval(_DROP, month.begins)
    return count


async def months(connection: Connection) -> list[Month]:
    return await due(connection, now=datetime.now(UTC))


async def test_a_month_goes_and_its_hashes_stay(database: Database, tenant: UUID, past: dict[UUID, Head]) -> None:
    async with database.connect("wk_ledger") as connection:
        [march, april] = await months(connection)
        assert (march.name, april.name) == ("2019-03", "2019-04")
        runs = await runs_of(connection, march)
        assert [(run.tenant, run.first, run.upto) for run in runs] == [(PLATFORM_TENANT, 0, 2), (tenant, 0, 301)]
        assert [await recorded(connection, run) for run in runs] == [None, None]
        before = await root_at(TileStore(connection, tenant=tenant, epoch=1), 307)
    await said(database, runs)
    async with database.connect("wk_ledger") as connection:
        assert all([await recorded(connection, run) for run in runs])
    assert await dropped(database, march) == 303
    async with database.connect("wk_ledger") as connection:
        store = TileStore(connection, tenant=tenant, epoch=1)
        assert await root_at(store, 307) == before
        assert [month.name for month in await months(connection)] == ["2019-04"]
    async with database.connect() as connection:
        assert await connection.fetchval("SELECT min(seq) FROM ledger.entry WHERE tenant_id = $1", tenant) == 301
        assert await connection.fetchval("SELECT count(*) FROM ledger.entry_subject") == 0
    assert past[tenant].size == 307


REFUSED = {
    "too young": (datetime(2026, 11, 1, tzinfo=UTC), "WK021"),
    "no such month": (datetime(2018, 1, 1, tzinfo=UTC), "WK020"),
    "not a month's beginning": (datetime(2019, 3, 2, tzinfo=UTC), "WK020"),
    "an older one is there": (datetime(2019, 4, 1, tzinfo=UTC), "WK022"),
    "not on record": (datetime(2019, 3, 1, tzinfo=UTC), "WK024"),
}


@pytest.mark.usefixtures("past")
@pytest.mark.parametrize("what", REFUSED)
async def test_the_database_refuses(database: Database, what: str) -> None:
    """Whatever program asks it: the floor, the order and the record are the owner's function's own."""
    month, state = REFUSED[what]
    if what == "too young":
        month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    with pytest.raises(asyncpg.PostgresError) as refused:
        await dropped(database, Month(month, month))
    assert refused.value.sqlstate == state


def _hold(action: Action, about: UUID) -> PreparedEvent:
    return prepare(
        event(action=action, resource_type="hold", resource_id=str(about), subject=None, outcome=Outcome.DONE)
    )


@pytest.mark.usefixtures("past")
async def test_a_month_is_kept_while_a_hold_stands(database: Database, tenant: UUID) -> None:
    async with database.connect("wk_ledger") as connection:
        [march, _] = await months(connection)
        runs = await runs_of(connection, march)
    await said(database, runs)
    async with writing(database) as writer:
        for held in (tenant, PLATFORM_TENANT):
            placed = _hold(Action.HOLD_PLACED, held)
            await writer.append(PLATFORM_TENANT, [placed])
            with pytest.raises(asyncpg.PostgresError) as refused:
                await dropped(database, march)
            assert refused.value.sqlstate == "WK023"
            await writer.append(PLATFORM_TENANT, [_hold(Action.HOLD_LIFTED, placed.event.id)])
        await writer.append(PLATFORM_TENANT, [_hold(Action.HOLD_PLACED, uuid7())])  # nobody of that month
    assert await dropped(database, march) == 303


@pytest.mark.usefixtures("past")
@pytest.mark.parametrize("missing", ["level = 0 AND index = 0", "root IS NULL"])
async def test_a_month_whose_leaves_are_not_kept_stays(database: Database, missing: str) -> None:
    async with database.connect("wk_ledger") as connection:
        [march, _] = await months(connection)
        runs = await runs_of(connection, march)
    await said(database, runs)
    await change(database, f"DELETE FROM ledger.tile WHERE {missing}")  # noqa: S608  # ours
    with pytest.raises(asyncpg.PostgresError) as refused:
        await dropped(database, march)
    assert refused.value.sqlstate == "WK024"


@pytest.mark.usefixtures("past")
async def test_who_appends_does_not_wait_for_what_a_drop_takes_long_for(database: Database, tenant: UUID) -> None:
    async with database.connect("wk_ledger") as connection:
        [march, _] = await months(connection)
        runs = await runs_of(connection, march)
    await said(database, runs)
    async with writing(database, seconds=10.0) as writer:
        async with database.connect() as connection, connection.transaction():
            await connection.execute("SELECT FROM ledger.entry_subject FOR UPDATE")
            dropping = asyncio.create_task(dropped(database, march))
            async with asyncio.timeout(60), database.connect() as observer:
                while not await observer.fetchval(_WAITING):  # noqa: ASYNC110  # for a lock in the database
                    await asyncio.sleep(0.01)
            await writer.append(tenant, prepared())
        assert await dropping == 303


@pytest.mark.usefixtures("past")
async def test_nobody_else_drops_a_month(database: Database) -> None:
    for role in ("wk_app", "wk_ledger", "wk_jobs"):
        async with database.connect(role) as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(_DROP, MARCH)


def test_years_are_counted_by_the_calendar() -> None:
    assert years_before(datetime(2026, 5, 4, 3, tzinfo=UTC), 6) == datetime(2020, 5, 4, 3, tzinfo=UTC)
    assert years_before(datetime(2028, 2, 29, tzinfo=UTC), 7) == datetime(2021, 2, 28, tzinfo=UTC)


@pytest.mark.usefixtures("past")
async def test_no_setting_gets_below_six_years(database: Database) -> None:
    later = datetime(2025, 3, 31, tzinfo=UTC)
    async with database.connect("wk_ledger") as connection:
        assert await due(connection, now=later, years=1) == []
        assert len(await due(connection, now=later + timedelta(days=1), years=1)) == 1
        assert await due(connection, now=later, years=7) == []


async def test_a_month_that_ends_where_a_tile_does_needs_no_partial_one(database: Database, tenant: UUID) -> None:
    await live_through(database, {}, [(MARCH, tenant, prepared(255)), (datetime.now(UTC), tenant, prepared(3))])
    async with database.connect("wk_ledger") as connection:
        [march] = await months(connection)
        [_, run] = await runs_of(connection, march)
        assert (run.first, run.upto) == (0, 256)
        root = await keep_leaves(connection, run)
        assert root == await root_at(TileStore(connection, tenant=tenant, epoch=1), 256)
    async with database.connect() as connection:
        tiles = await connection.fetch("SELECT level, index, root FROM ledger.tile WHERE tenant_id = $1", tenant)
    assert [tuple(row) for row in tiles] == [(0, 0, root)]
