"""What SQL injected into one tenant's session leaves behind there: nothing that the next tenant on it would meet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from database import Database
from wellkeep.base.errors import DatabaseUnavailable, TenantContextRefused
from wellkeep.db import shared_functions
from wellkeep.db.pool import Limits, Pool

_COUNT = "SELECT count(*) FROM wk.tenants"


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    """Lend one connection, the same to everybody."""
    async with database.pool(limits=Limits(max_size=1)) as opened:
        yield opened


async def _works(pool: Pool, tenant: UUID) -> None:
    async with pool.tenant_transaction(tenant=tenant) as connection:
        assert await connection.fetchval(_COUNT) == 1
        assert await connection.fetchval("SELECT pg_current_xact_id() IS NOT NULL")


async def test_names_of_prepared_statements_are_told_to_nobody(pool: Pool, tenant: UUID) -> None:
    await _works(pool, tenant)
    for told in ("SELECT name FROM pg_prepared_statements", "SELECT name FROM pg_cursors"):
        with pytest.raises(TenantContextRefused):
            async with pool.tenant_transaction(tenant=tenant) as connection:
                await connection.fetch(told)


async def test_two_connections_share_no_prefix(database: Database) -> None:
    async with database.pool(limits=Limits(max_size=2)) as pool, pool.connection() as one, pool.connection() as two:
        names = [driver._get_unique_id("stmt") for driver in (one, two)]  # type: ignore[union-attr]
        savepoint = one._get_unique_id("savepoint")  # type: ignore[union-attr]
    secrets = [name.split("_")[2] for name in (*names, savepoint)]
    assert len(set(secrets)) == 3
    assert all(len(secret) >= 16 for secret in secrets)


async def test_statements_that_are_gone_cost_one_answer(pool: Pool, tenant: UUID, other_tenant: UUID) -> None:
    await _works(pool, tenant)
    async with pool.tenant_transaction(tenant=tenant) as connection:
        await connection.execute("DEALLOCATE ALL")
    with pytest.raises(DatabaseUnavailable):
        await _works(pool, other_tenant)
    await _works(pool, other_tenant)


@pytest.mark.parametrize(
    ("name", "value"),
    [("default_transaction_read_only", "on"), ("standard_conforming_strings", "off"), ("TimeZone", "Asia/Kathmandu")],
)
async def test_a_setting_that_the_server_reports_ends_with_its_tenant(
    pool: Pool, tenant: UUID, other_tenant: UUID, name: str, value: str
) -> None:
    async with pool.tenant_transaction(tenant=tenant) as connection:
        before = await connection.fetchval("SELECT current_setting($1)", name)
        await connection.execute("SELECT set_config($1, $2, false)", name, value)
    async with pool.tenant_transaction(tenant=other_tenant) as connection:
        assert await connection.fetchval("SELECT current_setting($1)", name) == before
    await _works(pool, other_tenant)


async def test_a_time_limit_that_was_left_behind_costs_one_answer(pool: Pool, tenant: UUID, other_tenant: UUID) -> None:
    async with pool.tenant_transaction(tenant=tenant) as connection:
        await connection.execute("SELECT set_config('statement_timeout', '20', false)")
    with pytest.raises(DatabaseUnavailable):
        async with pool.tenant_transaction(tenant=other_tenant) as connection:
            await connection.execute("SELECT pg_sleep(0.2)")
    async with pool.tenant_transaction(tenant=other_tenant) as connection:
        await connection.execute("SELECT pg_sleep(0.2)")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT lo_from_bytea(0, 'x')",
        "SELECT lo_creat(-1)",
        "SELECT pg_try_advisory_lock(1)",
        "SELECT pg_advisory_xact_lock_shared(1, 2)",
        "SELECT * FROM pg_prepared_statement()",
    ],
)
@pytest.mark.parametrize("role", ["wk_app", "wk_auth", "wk_ledger", "wk_backup"])
async def test_what_reaches_past_the_wall_is_closed(database: Database, role: str, sql: str) -> None:
    async with database.connect(role) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(sql)


async def test_who_needs_an_advisory_lock_has_it(database: Database) -> None:
    for role in ("wk_migrate", "wk_jobs"):
        async with database.connect(role) as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(1)")


async def test_closing_is_said_where_it_can_not_be_done(database: Database) -> None:
    async with database.connect("wk_migrate") as connection:
        assert not await shared_functions.close(connection)
        assert await shared_functions.still_open(connection) == []
    async with database.connect() as connection:
        await connection.execute("GRANT EXECUTE ON FUNCTION pg_try_advisory_lock(bigint) TO PUBLIC")
        assert await shared_functions.still_open(connection) == ["pg_try_advisory_lock"]
        assert await shared_functions.close(connection)
        assert await shared_functions.still_open(connection) == []
