"""The pool: bounded waits, errors of ours, nothing left behind, and recovery by itself."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from uuid import UUID

import asyncpg
import pytest

from database import Background, Database, Server, chosen_migrations, launch, scratch_home
from wellkeep.base.errors import (
    Conflict,
    DatabaseUnavailable,
    Internal,
    Misconfigured,
    NotFound,
    TenantContextRefused,
    Validation,
)
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db import postmaster
from wellkeep.db.pool import Limits, Pool

_CANARY = "canary-7c1f"
_SHORT = Limits(max_size=2, acquire_seconds=3.0, connect_seconds=3.0, command_seconds=3.0, lock_seconds=2.0)


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    async with database.pool(limits=Limits(max_size=2)) as opened:
        yield opened


@pytest.fixture
def faulty(pg_server: Server) -> Iterator[Database]:
    """Start a cluster of this test's own, to stop and kill."""
    if pg_server.embedded is None:
        pytest.skip("the server under test is not ours to kill")
    home = scratch_home()
    background = Background()
    server = launch(home, background)
    try:
        background.run(server.prepare())
        yield Database(server=server, name=server.template)
    finally:
        _signal_all(server, signal.SIGCONT)
        assert server.embedded is not None
        server.embedded.stop()
        background.close()
        shutil.rmtree(home, ignore_errors=True)


def _signal_all(server: Server, which: signal.Signals) -> None:
    assert server.embedded is not None
    for pid in postmaster.processes_of(server.embedded.data):
        os.kill(pid, which)


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


async def test_server_settings(pool: Pool) -> None:
    async with pool.connection() as connection:
        wanted = {
            "application_name": "wellkeep/wk_app",
            "search_path": "pg_catalog, pg_temp",
            "statement_timeout": "10s",
            "lock_timeout": "5s",
            "idle_in_transaction_session_timeout": "30s",
            "jit": "off",
            "TimeZone": "UTC",
        }
        assert {name: await connection.fetchval(f"SHOW {name}") for name in wanted} == wanted


async def test_transaction_commits_and_rolls_back(database: Database, pool: Pool) -> None:
    async with database.connect() as superuser:
        await superuser.execute(
            "CREATE TABLE public.counted (n int); GRANT USAGE ON SCHEMA public TO wk_app;"
            "GRANT ALL ON public.counted TO wk_app"
        )
        async with pool.transaction() as connection:
            await connection.execute("INSERT INTO public.counted VALUES (1)")
        with pytest.raises(Validation):  # noqa: PT012 -- the block is one transaction
            async with pool.transaction() as connection:
                await connection.execute("INSERT INTO public.counted VALUES (2)")
                raise Validation
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 -- the block is one transaction
            async with pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
                await connection.execute("INSERT INTO public.counted VALUES (3)")
                raise ZeroDivisionError
        assert [row["n"] for row in await superuser.fetch("SELECT n FROM public.counted")] == [1]


async def test_transaction_is_read_committed_even_where_the_role_says_otherwise(database: Database) -> None:
    async with database.pool() as pool:
        async with pool.connection() as connection:
            await connection.execute("SET default_transaction_isolation = 'serializable'")
        async with pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            assert await connection.fetchval("SHOW transaction_isolation") == "read committed"


async def test_savepoints_work_inside(pool: Pool, tenant: UUID) -> None:
    async with pool.tenant_transaction(tenant=tenant) as connection:
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with connection.transaction():
                await connection.fetchval("SELECT 1/0")
        assert await connection.fetchval("SELECT wk.tenant()") == tenant


async def test_release_sends_nothing_unless_a_transaction_is_open(database: Database) -> None:
    async with database.pool(limits=Limits(max_size=1)) as pool, database.connect() as superuser:
        last = "SELECT query FROM pg_stat_activity WHERE application_name = 'wellkeep/wk_app'"
        async with pool.connection() as connection:
            await connection.fetchval("SELECT 1 AS the_last_one")
        assert await superuser.fetchval(last) == "SELECT 1 AS the_last_one"
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the driver reports the open transaction
        async with pool.connection() as connection:
            await connection.execute("BEGIN")
        assert await superuser.fetchval(last) == "ROLLBACK"


@pytest.mark.parametrize(
    ("sql", "arguments", "expected"),
    [
        ("INSERT INTO public.unique_one VALUES ($1)", (_CANARY,), Conflict),
        ("INSERT INTO public.unique_one VALUES ('other-canary-7c1f-' || repeat('x', 99))", (), Internal),
        ("SELECT $1::text::int", (_CANARY,), Internal),
        ("SELECT $1::int", (_CANARY,), Internal),
        ("SELECT 'canary-7c1f'::int", (), Internal),
        ("SELECT * FROM wk.tenants", (), TenantContextRefused),
        ("SELECT * FROM wk.context_key", (), TenantContextRefused),
        ("SELECT no_such_column_canary_7c1f", (), Internal),
        ("SELECT pg_terminate_backend(pg_backend_pid())", (), DatabaseUnavailable),
        ("SELECT public.raise_canary('WK404')", (), NotFound),
        ("SELECT public.raise_canary('WK999')", (), Internal),
        ("SELECT public.raise_canary('53100')", (), DatabaseUnavailable),
        ("SELECT public.raise_canary('53300')", (), DatabaseUnavailable),
        ("SELECT public.raise_canary('40P01')", (), DatabaseUnavailable),
        ("SELECT public.raise_canary('25006')", (), DatabaseUnavailable),
    ],
)
async def test_driver_text_never_goes_on(
    database: Database, sql: str, arguments: tuple[object, ...], expected: type[Exception]
) -> None:
    """The canary is in PostgreSQL's or the driver's message each time, and in nothing that leaves the pool."""
    async with database.connect() as superuser:
        await superuser.execute(
            """
            GRANT USAGE ON SCHEMA public TO wk_app;
            CREATE TABLE public.unique_one (t varchar(99) PRIMARY KEY);
            GRANT INSERT ON public.unique_one TO wk_app;
            INSERT INTO public.unique_one VALUES ('canary-7c1f');
            CREATE FUNCTION public.raise_canary(code text) RETURNS void LANGUAGE plpgsql
              AS $$ BEGIN RAISE EXCEPTION 'canary-7c1f' USING ERRCODE = code, DETAIL = 'canary-7c1f'; END $$;
            GRANT EXECUTE ON FUNCTION public.raise_canary(text) TO wk_app;
            """
        )
    async with database.pool(codes={"WK404": NotFound}) as pool:
        with pytest.raises(expected) as caught:
            async with pool.connection() as connection:
                await connection.fetch(sql, *arguments)
        assert type(caught.value) is expected
        assert caught.value.__context__ is None
        assert caught.value.__cause__ is None
        printed = "".join(traceback.format_exception(caught.value))
        shown = str(caught.value) + repr(caught.value) + "".join(getattr(caught.value, "__notes__", []))
        assert _CANARY not in shown
        assert not [line for line in printed.splitlines() if _CANARY in line and "fetch(" not in line]
        async with pool.connection() as connection:
            assert await connection.fetchval("SELECT 1") == 1


async def test_note_names_the_constraint_for_our_own_log(database: Database, pool: Pool) -> None:
    with pytest.raises(Conflict) as caught:  # noqa: PT012 -- the block is one transaction
        async with pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            await connection.execute("SELECT wk.create_tenant($1, 'x', 'live', 'test')", UUID(int=1))
            await connection.execute("SELECT wk.create_tenant($1, 'x', 'live', 'test')", UUID(int=2))
    assert caught.value.__notes__ == ["SQLSTATE 23505 (schema wk, table tenants, constraint tenants_name_key)"]


async def test_errors_of_ours_pass_unchanged(pool: Pool) -> None:
    mine = Validation("as it was")
    with pytest.raises(Validation) as caught:
        async with pool.transaction():
            raise mine
    assert caught.value is mine


async def test_pool_without_a_key_enters_no_tenant(database: Database) -> None:
    async with Pool(database.endpoint("wk_ledger"), context_key=None) as pool:
        with pytest.raises(Misconfigured):
            async with pool.tenant_transaction(tenant=PLATFORM_TENANT):
                pass


async def test_exhausted_pool_ends_in_a_503_and_recovers(database: Database) -> None:
    async with database.pool(limits=_SHORT) as pool:
        async with pool.connection(), pool.connection():
            with _within(20), pytest.raises(DatabaseUnavailable) as caught:
                async with pool.connection():
                    pass
            assert caught.value.retry_after == 2
        async with pool.connection() as connection:
            assert await connection.fetchval("SELECT 1") == 1


async def test_slow_statement_ends_in_a_503(database: Database) -> None:
    async with database.pool(limits=_SHORT) as pool:
        with _within(20), pytest.raises(DatabaseUnavailable):
            async with pool.transaction() as connection:
                await connection.execute("SELECT pg_sleep(60)")
        async with pool.connection() as connection:
            assert await connection.fetchval("SELECT 1") == 1


async def test_lock_not_granted_ends_in_a_503(database: Database) -> None:
    async with database.connect() as superuser, database.pool(limits=_SHORT) as pool:
        async with superuser.transaction():
            await superuser.execute("LOCK TABLE wk.tenants IN ACCESS EXCLUSIVE MODE")
            with _within(20), pytest.raises(DatabaseUnavailable):
                async with pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
                    await connection.fetch("SELECT id FROM wk.tenants")
        async with pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            assert len(await connection.fetch("SELECT id FROM wk.tenants")) == 1


async def test_cancelled_caller_leaves_a_usable_pool(database: Database) -> None:
    async with database.pool(limits=Limits(max_size=1)) as pool:

        async def slow() -> None:
            async with pool.transaction() as connection:
                await connection.execute("SELECT pg_sleep(60)")

        task = asyncio.create_task(slow())
        await asyncio.sleep(0.1)
        task.cancel()
        with _within(20), pytest.raises(asyncio.CancelledError):
            await task
        async with pool.connection() as connection:
            assert not connection.is_in_transaction()
            assert await connection.fetchval("SELECT 1") == 1


async def test_missing_server_ends_in_a_503(database: Database) -> None:
    nowhere = database.endpoint("wk_app")
    pool = Pool(type(nowhere)("/nonexistent", 5432, "x", "wk_app", nowhere.password), context_key=None)
    with pytest.raises(DatabaseUnavailable) as caught:
        await pool.open()
    assert "/nonexistent" not in str(caught.value)


async def test_wrong_password_says_nothing(database: Database) -> None:
    endpoint = database.endpoint("wk_app").as_role("wk_app", database.server.passwords["wk_jobs"])
    with pytest.raises(DatabaseUnavailable) as caught:
        await Pool(endpoint, context_key=None).open()
    assert caught.value.__notes__ == ["SQLSTATE 28P01"]


@pytest.mark.fault
async def test_hanging_server_ends_in_a_503_and_recovers(faulty: Database) -> None:
    """SIGSTOP to every process of the cluster: bounded waits, then the same pool works again by itself."""
    async with faulty.pool(limits=_SHORT) as pool:
        async with pool.connection() as connection:
            await connection.fetchval("SELECT 1")
        _signal_all(faulty.server, signal.SIGSTOP)
        for _ in range(3):
            with _within(20), pytest.raises(DatabaseUnavailable):
                async with pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
                    await connection.fetchval("SELECT wk.tenant()")
        _signal_all(faulty.server, signal.SIGCONT)
        async with pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            assert await connection.fetchval("SELECT wk.tenant()") == PLATFORM_TENANT


@pytest.mark.fault
async def test_hang_in_the_middle_of_a_transaction(faulty: Database) -> None:
    async with faulty.pool(limits=_SHORT) as pool:
        with _within(20), pytest.raises(DatabaseUnavailable):  # noqa: PT012 -- the block is one transaction
            async with pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
                _signal_all(faulty.server, signal.SIGSTOP)
                await connection.fetchval("SELECT 1")
        _signal_all(faulty.server, signal.SIGCONT)
        async with pool.connection() as connection:
            assert await connection.fetchval("SELECT 1") == 1


@pytest.mark.fault
async def test_killed_server_restarts_and_the_pool_goes_on(faulty: Database) -> None:
    """After kill -9 of the postmaster: 503 meanwhile, nothing committed is lost, the same pool works again."""
    embedded = faulty.server.embedded
    assert embedded is not None
    async with faulty.pool(limits=_SHORT) as pool:
        tenant = await faulty.create_tenant()
        pid = embedded.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        with _within(20), pytest.raises(DatabaseUnavailable):  # noqa: PT012 -- the block is one transaction
            async with pool.tenant_transaction(tenant=tenant) as connection:
                await asyncio.sleep(0.2)
                await connection.fetchval("SELECT 1")
        await asyncio.to_thread(embedded.start)
        assert embedded.pid not in {None, pid}
        async with pool.tenant_transaction(tenant=tenant) as connection:
            assert [row["id"] for row in await connection.fetch("SELECT id FROM wk.tenants")] == [tenant]


@pytest.mark.fault
async def test_server_without_connections_left(faulty: Database) -> None:
    """The server's own limit: 503, and service again as soon as somebody leaves."""
    async with faulty.connect() as superuser:
        await superuser.execute("ALTER ROLE wk_jobs CONNECTION LIMIT 1")
        async with faulty.connect("wk_jobs"):
            pool = faulty.pool("wk_jobs", limits=_SHORT)
            with pytest.raises(DatabaseUnavailable):
                await pool.open()
        for _ in range(1500):
            busy = await superuser.fetchval("SELECT count(*) FROM pg_stat_activity WHERE usename = 'wk_jobs'")
            if not busy:
                break
            await asyncio.sleep(0.02)
        async with pool, pool.connection() as connection:
            assert await connection.fetchval("SELECT 1") == 1


def test_chosen_migrations_follow_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WELLKEEP_TEST_MIGRATIONS", "1")
    chosen = chosen_migrations()
    assert chosen is not None
    assert [migration.label for migration in chosen] == ["0001_tenancy"]
