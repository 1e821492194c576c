"""Migrations: reversible, hash-chained, and nothing else than what was reviewed."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from database import Database, Server, chosen_migrations
from wellkeep.base.errors import Misconfigured
from wellkeep.db import catalogue, migrate
from wellkeep.db.migrate import Migration, State

_ONE = Migration(number=1, name="one", up="CREATE SCHEMA one", down="DROP SCHEMA one")
_TWO = Migration(number=2, name="two", up="CREATE TABLE one.two (id uuid PRIMARY KEY)", down="DROP TABLE one.two")
_THREE = Migration(number=3, name="three", up="CREATE SCHEMA three", down="DROP SCHEMA three")
_ALL = (_ONE, _TWO, _THREE)


@pytest.fixture
async def empty(pg_server: Server) -> AsyncIterator[Database]:
    """Make a database in which no migration ever ran."""
    database = Database(server=pg_server, name=f"wk_empty_{secrets.token_hex(4)}")
    await pg_server.create(database.name, "template1")
    yield database
    await pg_server.drop(database.name)


async def test_up_down_up_gives_the_identical_catalogue(empty: Database) -> None:
    """The packaged migrations: each is undone by its `down`, one by one, and done again without a trace."""
    async with empty.connect("wk_migrate") as connection:
        await migrate.migrate(connection, to=0)
        stages = [await catalogue.snapshot(connection)]
        for migration in migrate.packaged():
            assert [done.number for done in await migrate.migrate(connection, to=migration.number)] == [
                migration.number
            ]
            stages.append(await catalogue.snapshot(connection))
        for before in reversed(stages[:-1]):
            assert len(await migrate.rollback(connection, steps=1)) == 1
            assert before.differences(await catalogue.snapshot(connection)) == []
        await migrate.migrate(connection)
        assert stages[-1].differences(await catalogue.snapshot(connection)) == []
        await migrate.assert_current(connection)


def test_packaged_numbers_have_no_gap() -> None:
    numbers = [migration.number for migration in migrate.packaged()]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_migrating_twice_changes_nothing(empty: Database) -> None:
    async with empty.connect("wk_migrate") as connection:
        assert await migrate.migrate(connection, migrations=_ALL) == list(_ALL)
        before = await catalogue.snapshot(connection)
        assert await migrate.migrate(connection, migrations=_ALL) == []
        assert before.differences(await catalogue.snapshot(connection)) == []


async def test_everything_belongs_to_the_owner(empty: Database) -> None:
    async with empty.connect("wk_migrate") as connection:
        await migrate.migrate(connection, migrations=_ALL)
        owners = await connection.fetch(
            "SELECT DISTINCT relowner::regrole::text AS owner FROM pg_class "
            "WHERE relnamespace IN ('one'::regnamespace, 'three'::regnamespace, 'wk'::regnamespace)"
        )
        assert [row["owner"] for row in owners] == ["wk_owner"]


async def test_edited_file_is_named(empty: Database) -> None:
    edited = (_ONE, replace(_TWO, up=_TWO.up + " "), _THREE)
    async with empty.connect("wk_migrate") as connection:
        await migrate.migrate(connection, migrations=_ALL)
        for work in (migrate.assert_current, migrate.migrate, migrate.rollback):
            arguments = {"steps": 1} if work is migrate.rollback else {}
            with pytest.raises(Misconfigured, match="0002_two was edited"):
                await work(connection, migrations=edited, **arguments)
        assert [entry.state for entry in await migrate.status(connection, edited)] == [
            State.APPLIED,
            State.EDITED,
            State.APPLIED,
        ]


@pytest.mark.parametrize("column", ["name", "up_sha256", "down_sha256", "chain_sha256"])
async def test_edited_row_is_named(empty: Database, column: str) -> None:
    """Whoever edits a row, even consistently with a forged file, breaks the chain."""
    forged = "'forged'" if column == "name" else "sha256('forged')"
    async with empty.connect("wk_migrate") as connection:
        await migrate.migrate(connection, migrations=_ALL)
        async with empty.connect() as superuser:
            await superuser.execute(f"UPDATE wk.migration SET {column} = {forged} WHERE number = 2")  # noqa: S608
        with pytest.raises(Misconfigured, match=r"0002_.* was edited"):
            await migrate.assert_current(connection, _ALL)


async def test_missing_migration_is_named(empty: Database) -> None:
    async with empty.connect("wk_migrate") as connection:
        await migrate.migrate(connection, migrations=(_ONE, _THREE))
        with pytest.raises(Misconfigured, match="0002_two is missing"):
            await migrate.assert_current(connection, _ALL)


async def test_unknown_migration_is_named(empty: Database) -> None:
    async with empty.connect("wk_migrate") as connection:
        await migrate.migrate(connection, migrations=_ALL)
        with pytest.raises(Misconfigured, match="0003_three is applied to this database but unknown"):
            await migrate.assert_current(connection, (_ONE, _TWO))


async def test_pending_migration_is_named(empty: Database) -> None:
    async with empty.connect("wk_migrate") as connection:
        with pytest.raises(Misconfigured, match="0001_one has not been applied"):
            await migrate.assert_current(connection, _ALL)
        await migrate.migrate(connection, to=2, migrations=_ALL)
        with pytest.raises(Misconfigured, match="0003_three has not been applied"):
            await migrate.assert_current(connection, _ALL)


async def test_failing_migration_is_undone_whole(empty: Database) -> None:
    broken = Migration(number=2, name="broken", up="CREATE SCHEMA kept; SELECT 1/0", down="DROP SCHEMA kept")
    async with empty.connect("wk_migrate") as connection:
        with pytest.raises(Misconfigured, match="0002_broken failed and was undone: 22012"):
            await migrate.migrate(connection, migrations=(_ONE, broken))
        assert not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'kept')")
        assert [entry.state for entry in await migrate.status(connection, (_ONE, broken))] == [
            State.APPLIED,
            State.PENDING,
        ]


async def test_rollback_to_a_number(empty: Database) -> None:
    async with empty.connect("wk_migrate") as connection:
        await migrate.migrate(connection, migrations=_ALL)
        assert await migrate.rollback(connection, to=1, migrations=_ALL) == [_THREE, _TWO]
        with pytest.raises(Misconfigured, match="either"):
            await migrate.rollback(connection, migrations=_ALL)


async def test_two_at_once_apply_each_migration_once(empty: Database) -> None:
    async with empty.connect("wk_migrate") as first, empty.connect("wk_migrate") as second:
        applied = await asyncio.gather(
            migrate.migrate(first, migrations=_ALL), migrate.migrate(second, migrations=_ALL)
        )
    assert sorted(len(each) for each in applied) == [0, 3]


@pytest.mark.parametrize("role", ["wk_app", "wk_ledger", "wk_auth", "wk_jobs", "wk_backup"])
async def test_every_role_may_check_and_none_may_change(database: Database, role: str) -> None:
    async with database.connect(role) as connection:
        await migrate.assert_current(connection, chosen_migrations())
        rights = await connection.fetchval(
            "SELECT has_table_privilege('wk.migration', 'INSERT, UPDATE, DELETE, TRUNCATE')"
        )
        assert rights is False
