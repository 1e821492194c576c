"""Entries lie in a partition a month: made ahead, one event once across all of them, and the wall on each."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from database import Database
from ledger.making import Reports, event, prepared, verified, writing
from ledger.past import live_through
from wellkeep.base.errors import LedgerUnavailable
from wellkeep.ledger.event import prepare
from wellkeep.ledger.report import What
from wellkeep.ledger.splice import Head

_MONTHS = """
SELECT c.relname FROM pg_inherits AS p JOIN pg_class AS c ON c.oid = p.inhrelid
WHERE p.inhparent = 'ledger.entry'::regclass ORDER BY 1
"""
_OLD_ID = UUID("018f0000-0000-7000-8000-0000000000aa")
"""Made in April 2024."""


def months_from(first: datetime, count: int) -> list[str]:
    return [
        f"entry_{first.year + (first.month - 1 + ahead) // 12}_{(first.month - 1 + ahead) % 12 + 1:02}"
        for ahead in range(count)
    ]


async def test_partitions_are_made_from_last_month_to_three_ahead(database: Database) -> None:
    last = (datetime.now(UTC).replace(day=1) - timedelta(days=1)).replace(day=1)
    async with database.connect() as connection:
        assert [row[0] for row in await connection.fetch(_MONTHS)] == months_from(last, 5)
        await connection.execute(f"DROP TABLE ledger.{months_from(last, 5)[-1]}")
    async with database.connect("wk_ledger") as one, database.connect("wk_ledger") as two:
        made = await asyncio.gather(*(each.fetchval("SELECT ledger.provide_partitions()") for each in (one, two)))
    assert sum(made) == 1


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
async def test_a_month_is_one_of_utc_wherever_the_session_is(database: Database, zone: str) -> None:
    async with database.connect() as connection:
        before = [row[0] for row in await connection.fetch(_MONTHS)]
        for name in before:
            await connection.execute(f"DROP TABLE ledger.{name}")
        await connection.execute("SELECT set_config('timezone', $1, false)", zone)
        assert await connection.fetchval("SELECT ledger.provide_partitions()") == len(before)
        assert await connection.fetchval("SELECT ledger.provide_partition('2024-02-29 23:59:59Z')")
        assert not await connection.fetchval("SELECT ledger.provide_partition('2024-02-01 00:00:00Z')")
        assert [row[0] for row in await connection.fetch(_MONTHS)] == ["entry_2024_02", *before]


async def test_a_writer_makes_the_partition_that_is_missing(database: Database, tenant: UUID) -> None:
    async with database.connect() as connection:
        for name in months_from(datetime.now(UTC).replace(day=1), 1):
            await connection.execute(f"DROP TABLE ledger.{name}")
    async with writing(database) as writer:
        await writer.append(tenant, prepared())
    assert (await verified(database)).ok


async def test_nobody_reaches_past_the_wall_by_a_partition(database: Database, tenant: UUID) -> None:
    async with writing(database) as writer:
        await writer.append(tenant, prepared())
    [name] = months_from(datetime.now(UTC).replace(day=1), 1)
    async with database.entered(tenant) as connection:
        assert await connection.fetchval("SELECT count(*) FROM ledger.entry") > 1
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetchval(f"SELECT count(*) FROM ledger.{name}")  # noqa: S608  # a partition's name
    async with database.connect() as connection:
        await connection.execute("SET ROLE wk_owner")
        assert await connection.fetchval(f"SELECT count(*) FROM ledger.{name}") == 0  # noqa: S608


async def test_an_event_of_an_earlier_month_keeps_its_place(database: Database, tenant: UUID) -> None:
    old = prepare(event(id=_OLD_ID))
    await live_through(
        database,
        heads := dict[UUID, Head](),
        [(datetime(2024, 5, 1, tzinfo=UTC), tenant, [old]), (datetime(2026, 1, 2, tzinfo=UTC), tenant, prepared())],
    )
    assert heads[tenant].size == 3
    async with writing(database) as writer:
        [place] = await writer.append(tenant, [old])
        assert (place.epoch, place.seq) == (1, 1)
        both = await writer.append(tenant, [*prepared(), old])
    assert [one.seq for one in both] == [3, 1]
    assert (await verified(database)).ok


async def test_an_event_entered_in_two_months_is_found(database: Database, tenant: UUID) -> None:
    """No index sees it, and whoever owns the database and the seal key could write it."""
    old = prepare(event(id=_OLD_ID))
    months = [datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 7, 1, tzinfo=UTC)]
    await live_through(database, {}, [(month, tenant, [old, *prepared(2)]) for month in months])
    report = await verified(database)
    assert [(bad.what, bad.seq) for bad in report.bad] == [(What.EVENT_ID, 4)]


async def test_a_log_opened_in_one_month_is_not_opened_again_in_another(database: Database, tenant: UUID) -> None:
    """The ids of such events tell no time: they are looked for in every month."""
    await live_through(database, {}, [(datetime(2024, 5, 1, tzinfo=UTC), tenant, prepared())])
    async with database.connect() as connection:
        await connection.execute("DELETE FROM ledger.log WHERE tenant_id = $1", tenant)
    reports = Reports()
    async with writing(database, reports=reports) as writer:
        with pytest.raises(LedgerUnavailable):
            await writer.append(tenant, prepared())
    assert reports.details == [{"what": "log"}]
