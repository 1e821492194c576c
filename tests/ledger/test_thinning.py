"""What was signed over a day ago is thinned to one a minute; what was shown to anybody, and the newest, stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from database import Database
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.ledger import thinning
from wellkeep.ledger.thinning import thin

NOW = datetime(2026, 5, 20, 12, 30, tzinfo=UTC)
OLD = NOW - timedelta(days=1, minutes=20)
_SIGNED = "SELECT size FROM ledger.checkpoint WHERE tenant_id = $1 ORDER BY size"


async def signed(database: Database, tenant: UUID, first: int, *times: datetime) -> None:
    """Store a checkpoint of each time, of sizes from `first` on."""
    rows = [(tenant, 1, first + number, bytes(32), at, bytes(68)) for number, at in enumerate(times)]
    async with database.connect("wk_ledger") as connection:
        await connection.execute("SELECT ledger.add_checkpoints($1)", rows)


async def covered(database: Database, tenant: UUID, size: int) -> None:
    async with database.connect() as connection:
        await connection.execute(
            "INSERT INTO ledger.covered VALUES ($1, 1, $2, sha256($3), $4, 0)", tenant, size, b"", uuid4()
        )


async def thinned(database: Database) -> int:
    async with database.pool("wk_ledger") as pool:
        return await thin(pool, now=NOW, stopping=lambda: False)


async def left(database: Database, tenant: UUID) -> list[int]:
    async with database.connect() as connection:
        return [row["size"] for row in await connection.fetch(_SIGNED, tenant)]


def seconds(begin: datetime, *after: int) -> list[datetime]:
    return [begin + timedelta(seconds=each) for each in after]


async def test_one_a_minute_is_kept_and_each_that_was_covered(
    database: Database, tenant: UUID, other_tenant: UUID
) -> None:
    for each in (tenant, other_tenant, PLATFORM_TENANT):
        await signed(database, each, 1, *seconds(OLD, 0, 1, 30, 59, 60, 119, 121))
    await covered(database, tenant, 2)
    assert await thinned(database) == 3 + 4
    assert await left(database, tenant) == [2, 4, 6, 7]
    assert await left(database, other_tenant) == [4, 6, 7]
    assert await left(database, PLATFORM_TENANT) == [1, 2, 3, 4, 5, 6, 7]
    assert await thinned(database) == 0


async def test_a_day_is_kept_whole(database: Database, tenant: UUID) -> None:
    """To the minute: what is younger keeps nothing older."""
    await signed(database, tenant, 1, *seconds(NOW - timedelta(days=1, seconds=2), 0, 1, 2, 3))
    assert await thinned(database) == 1
    assert await left(database, tenant) == [2, 3, 4]


async def test_a_log_that_grew_no_more_keeps_its_end(database: Database, tenant: UUID) -> None:
    await signed(database, tenant, 1, OLD - timedelta(days=30), OLD)
    assert await thinned(database) == 0
    assert await left(database, tenant) == [1, 2]


async def test_what_an_outage_left_is_caught_up_with(
    database: Database, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours in which nothing grew lie between, and each holds more than one statement takes."""
    monkeypatch.setattr(thinning, "_SHARE", 2)
    hours = (40, 37, 35, 34, 2)
    for number, hour in enumerate(hours):
        await signed(database, tenant, 1 + 10 * number, *seconds(OLD - timedelta(hours=hour - 1), 1, 2, 3, 4, 5, 6))
    assert await thinned(database) == 5, "the last hours, and what lies a day before them is not looked for"
    await signed(database, tenant, 100, *seconds(OLD - timedelta(hours=30), 1, 2))
    async with database.pool("wk_ledger") as pool:
        later = NOW - timedelta(hours=29)  # as it was when that was the last hour
        assert await thin(pool, now=later, stopping=lambda: False) == 1 + 4 * 5
    assert await left(database, tenant) == [6, 16, 26, 36, 46, 101]


async def test_whoever_stops_is_not_held_up(database: Database, tenant: UUID) -> None:
    await signed(database, tenant, 1, *seconds(OLD, 1, 2))
    answers = iter([False, True, True])
    async with database.pool("wk_ledger") as pool:
        assert await thin(pool, now=NOW, stopping=lambda: next(answers)) == 0
        assert await thin(pool, now=NOW, stopping=lambda: True) == 0
    assert await left(database, tenant) == [1, 2]
