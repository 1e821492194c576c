"""The signed tenant context: inside one tenant, whatever SQL is injected."""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import Callable
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from database import ENVIRONMENT, Database
from wellkeep.base.errors import Conflict, Misconfigured, TenantContextRefused
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.secrets import Secret
from wellkeep.db import context
from wellkeep.db.context import ContextKey

_REFUSED = asyncpg.InsufficientPrivilegeError
_TENANT = "SELECT wk.tenant()"
_ENTER = "SELECT wk.enter($1)"


async def test_pool_enters_the_tenant(database: Database, tenant: UUID) -> None:
    async with database.pool() as pool, pool.tenant_transaction(tenant=tenant) as connection:
        assert await connection.fetchval(_TENANT) == tenant
        assert [row["id"] for row in await connection.fetch("SELECT id FROM wk.tenants")] == [tenant]


async def test_no_context_raises_and_never_means_no_rows(database: Database, tenant: UUID) -> None:
    async with database.connect("wk_app") as connection:
        with pytest.raises(_REFUSED, match=r"^wellkeep: no valid tenant context$"):
            await connection.fetch("SELECT id FROM wk.tenants")


async def test_context_ends_with_its_transaction(database: Database, tenant: UUID) -> None:
    async with database.connect("wk_app") as connection:
        async with connection.transaction():
            await connection.execute(_ENTER, database.token(connection, tenant))
            assert await connection.fetchval(_TENANT) == tenant
        with pytest.raises(_REFUSED):
            await connection.fetchval(_TENANT)


async def test_entering_again_changes_the_tenant(database: Database, tenant: UUID, other_tenant: UUID) -> None:
    """What a batch function does: one transaction, many tenants, each row under its own signature."""
    async with database.entered(tenant) as connection:
        await connection.execute(_ENTER, database.token(connection, other_tenant))
        assert [row["id"] for row in await connection.fetch("SELECT id FROM wk.tenants")] == [other_tenant]


Forge = Callable[[ContextKey, UUID, int], str]


def _mint(key: ContextKey, tenant: UUID, pid: int, *, at: float = 0, ttl: int = 55) -> str:
    return key.mint(tenant=tenant, pid=pid, now=time.time() + at, ttl=ttl)


def _other_tenant(key: ContextKey, tenant: UUID, pid: int) -> str:
    return _mint(key, tenant, pid).replace(tenant.hex, uuid4().hex)


def _longer(key: ContextKey, tenant: UUID, pid: int) -> str:
    parts = _mint(key, tenant, pid).split(".")
    parts[2] = str(int(parts[2]) + 1)
    return ".".join(parts)


def _other_pid(key: ContextKey, tenant: UUID, pid: int) -> str:
    return _mint(key, tenant, pid + 1)


def _pid_exchanged(key: ContextKey, tenant: UUID, pid: int) -> str:
    return _mint(key, tenant, pid + 1).replace(f".{pid + 1}.", f".{pid}.")


def _without_domain(key: ContextKey, tenant: UUID, pid: int) -> str:
    signed = f"wkt1.{tenant.hex}.{int(time.time()) + 55}.{pid}"
    return f"{signed}.{hmac.digest(key._key.reveal(), signed.encode(), 'sha256').hex()}"


def _unkeyed(_: ContextKey, tenant: UUID, pid: int) -> str:
    signed = f"wkt1.{tenant.hex}.{int(time.time()) + 55}.{pid}"
    digest = hashlib.sha256(b"wk/context/v1\n" + signed.encode()).hexdigest()
    return f"{signed}.{digest}"


_FORGERIES: dict[str, Forge] = {
    "absent": lambda *_: "",
    "a bare tenant": lambda _, tenant, __: str(tenant),
    "another tenant in a signed token": _other_tenant,
    "another key": lambda _, tenant, pid: _mint(ContextKey(Secret(os.urandom(32))), tenant, pid),
    "no key at all": _unkeyed,
    "signed for something else": _without_domain,
    "expired": lambda key, tenant, pid: _mint(key, tenant, pid, at=-56),
    "expired this second": lambda key, tenant, pid: _mint(key, tenant, pid, at=-2, ttl=1),
    "good for longer than a minute": lambda key, tenant, pid: _mint(key, tenant, pid, at=30, ttl=60),
    "expiry moved": _longer,
    "another backend's": _other_pid,
    "another backend's, pid exchanged": _pid_exchanged,
    "MAC cut off": lambda key, tenant, pid: _mint(key, tenant, pid)[:-64],
    "MAC shortened": lambda key, tenant, pid: _mint(key, tenant, pid)[:-2],
    "MAC in capitals": lambda key, tenant, pid: _mint(key, tenant, pid)[:-64] + _mint(key, tenant, pid)[-64:].upper(),
    "MAC of zeroes": lambda key, tenant, pid: _mint(key, tenant, pid)[:-64] + "0" * 64,
    "something before": lambda key, tenant, pid: "x" + _mint(key, tenant, pid),
    "something behind": lambda key, tenant, pid: _mint(key, tenant, pid) + " ",
    "no hex": lambda key, tenant, pid: _mint(key, tenant, pid)[:-64] + "é" * 64,
    "rubbish": lambda *_: "wkt1....",
    "very long": lambda *_: "wkt1." * 100_000,
}


@pytest.mark.parametrize("forgery", _FORGERIES)
async def test_forged_token_is_refused(database: Database, tenant: UUID, forgery: str) -> None:
    async with database.connect("wk_app") as connection, connection.transaction():
        token = _FORGERIES[forgery](database.context_key, tenant, connection.get_server_pid())
        await connection.execute(_ENTER, token)
        with pytest.raises(_REFUSED, match=r"^wellkeep: no valid tenant context$"):
            await connection.fetchval(_TENANT)


@pytest.mark.parametrize(
    "injected",
    [
        "SET wk.token = '{victim}'",
        "SELECT set_config('wk.token', '{victim}', false)",
        "SET app.tenant = '{victim}'",
        "SET SESSION AUTHORIZATION wk_owner",
        "SET ROLE wk_owner",
        "SET row_security = off",
        "CREATE TEMP TABLE tenants (id uuid)",
        "CREATE TEMP VIEW tenants AS SELECT 1 AS id",
        "CREATE SCHEMA mine",
        "CREATE TABLE public.tenants (id uuid)",
        "CREATE FUNCTION pg_temp.sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT $1'",
        "CREATE FUNCTION public.sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT $1'",
        "CREATE OR REPLACE FUNCTION wk.tenant() RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid'",
        "ALTER FUNCTION wk.tenant() SET search_path = pg_temp",
        "SELECT wk.install_context_key(sha256('a') || sha256('b'), sha256('a') || sha256('b'))",
        "SELECT * FROM wk.context_key",
        "COPY wk.context_key TO STDOUT",
        "ALTER TABLE wk.tenants DISABLE ROW LEVEL SECURITY",
        "DROP POLICY tenant ON wk.tenants",
        "CREATE POLICY mine ON wk.tenants USING (true)",
        "UPDATE wk.tenants SET state = 'closed'",
        "DELETE FROM wk.tenants",
        "CALL wk.protect('wk.tenants', 'wk_app')",
        "SELECT wk.require_platform()",
        "SELECT wk.list_tenants()",
        "SELECT wk.close_tenant('{victim}')",
        "SELECT wk.create_tenant('{fresh}', 'mine', 'live', 'test')",
        "SELECT wk.install_deployment('{fresh}', 'test')",
        "SELECT pg_read_file('postgresql.conf')",
        "SELECT rolpassword FROM pg_authid",
        "COPY (SELECT 1) TO PROGRAM 'true'",
    ],
)
async def test_injected_sql_stays_inside_its_tenant(
    database: Database, tenant: UUID, other_tenant: UUID, injected: str
) -> None:
    """Whatever runs in our session under one tenant is refused, or leaves the session where it was, or nowhere."""
    async with database.entered(tenant) as connection:
        try:
            async with connection.transaction():
                await connection.execute(injected.format(victim=other_tenant, fresh=uuid7()))
        except (asyncpg.PostgresError, asyncpg.InterfaceError):
            assert [row["id"] for row in await connection.fetch("SELECT id FROM wk.tenants")] == [tenant]
            return
        try:
            seen = [row["id"] for row in await connection.fetch("SELECT id FROM wk.tenants")]
        except asyncpg.PostgresError:
            seen = []
        assert seen in ([], [tenant]), "another tenant's row was seen"
    async with database.connect() as superuser:
        assert await superuser.fetchval("SELECT state FROM wk.tenants WHERE id = $1", other_tenant) == "active"


async def test_names_cannot_be_shadowed_through_the_search_path(database: Database, tenant: UUID) -> None:
    """Even where somebody did make a schema with functions of the same names, the wall calls the real ones."""
    async with database.connect() as superuser:
        await superuser.execute(
            f"""
            CREATE SCHEMA evil;
            CREATE FUNCTION evil.sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT pg_catalog.sha256(''x'')';
            CREATE FUNCTION evil.split_part(text, text, int) RETURNS text LANGUAGE sql AS $$SELECT '{uuid4()}'$$;
            CREATE FUNCTION evil.pg_backend_pid() RETURNS int LANGUAGE sql AS 'SELECT 1';
            CREATE FUNCTION evil.set_config(text, text, bool) RETURNS text LANGUAGE sql AS 'SELECT $2';
            GRANT USAGE ON SCHEMA evil TO PUBLIC;
            GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA evil TO PUBLIC;
            """
        )
    async with database.connect("wk_app") as connection, connection.transaction():
        await connection.execute("SET LOCAL search_path = evil, pg_catalog")
        await connection.execute("SELECT wk.enter($1)", database.token(connection, tenant))
        assert await connection.fetchval("SELECT wk.tenant()") == tenant
        await connection.execute("SELECT wk.enter($1)", "wkt1.forged")
        with pytest.raises(_REFUSED):
            await connection.fetchval("SELECT wk.tenant()")


async def test_old_key_is_good_for_a_moment_and_then_never(database: Database, tenant: UUID) -> None:
    """A new key does not refuse what is under way; two keys ago, or two minutes ago, is refused."""
    async with database.connect("wk_app") as app, database.connect("wk_migrate") as migrator:
        old = database.token(app, tenant)
        await context.install(migrator, ContextKey(Secret(os.urandom(32))))
        async with app.transaction():
            await app.execute(_ENTER, old)
            assert await app.fetchval(_TENANT) == tenant
        async with database.connect() as superuser:
            await superuser.execute("UPDATE wk.context_key SET valid_until = clock_timestamp() WHERE id = 2")
        async with app.transaction():
            await app.execute(_ENTER, old)
            with pytest.raises(_REFUSED):
                await app.fetchval(_TENANT)


async def test_installing_the_same_key_twice_changes_nothing(database: Database) -> None:
    async with database.connect("wk_migrate") as migrator, database.connect() as superuser:
        await context.install(migrator, database.context_key)
        assert await superuser.fetchval("SELECT count(*) FROM wk.context_key") == 1


async def test_tenants_are_made_under_the_platform_alone(database: Database, tenant: UUID) -> None:
    sql = "SELECT wk.create_tenant($1, $2, $3, $4)"
    async with database.pool() as pool:
        async with pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            await connection.execute(sql, uuid7(), "second", "synthetic", ENVIRONMENT)
            assert len(await connection.fetch("SELECT * FROM wk.list_tenants()")) == 3
            assert await connection.fetchval("SELECT wk.close_tenant($1)", tenant)
        with pytest.raises(Conflict):
            async with pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
                await connection.execute(sql, uuid7(), "second", "live", ENVIRONMENT)
        with pytest.raises(TenantContextRefused):
            async with pool.tenant_transaction(tenant=tenant) as connection:
                await connection.execute(sql, uuid7(), "third", "live", ENVIRONMENT)


async def test_the_owner_is_bound_too(database: Database, tenant: UUID) -> None:
    """FORCE: the owner of the tables sees no tenant without the platform's context."""
    async with database.connect("wk_migrate") as connection, connection.transaction():
        await connection.execute("SET LOCAL ROLE wk_owner")
        with pytest.raises(_REFUSED):
            await connection.fetch("SELECT * FROM wk.tenants")


async def test_protect_demands_the_tenant_first(database: Database) -> None:
    async with database.connect("wk_migrate") as connection, connection.transaction():
        await connection.execute("SET LOCAL ROLE wk_owner")
        await connection.execute("CREATE TABLE wk.loose (id uuid PRIMARY KEY, tenant_id uuid)")
        with pytest.raises(asyncpg.RaiseError, match="must begin with tenant_id"):
            await connection.execute("CALL wk.protect('wk.loose', 'wk_app')")


async def test_protected_table_holds_both_ways(database: Database, tenant: UUID, other_tenant: UUID) -> None:
    """Reading another tenant's rows finds none; writing a row into another tenant is refused."""
    async with database.connect("wk_migrate") as connection, connection.transaction():
        await connection.execute(
            "SET LOCAL ROLE wk_owner; CREATE TABLE wk.thing (tenant_id uuid, id int, PRIMARY KEY (tenant_id, id));"
            "CALL wk.protect('wk.thing', 'wk_app'); GRANT SELECT, INSERT, UPDATE, DELETE ON wk.thing TO wk_app"
        )
    async with database.entered(tenant) as connection:
        await connection.execute("INSERT INTO wk.thing VALUES ($1, 1)", tenant)
    async with database.entered(other_tenant) as connection:
        assert await connection.fetch("SELECT * FROM wk.thing") == []
        assert await connection.execute("UPDATE wk.thing SET id = 2") == "UPDATE 0"
        assert await connection.execute("DELETE FROM wk.thing") == "DELETE 0"
        with pytest.raises(_REFUSED):
            await connection.execute("INSERT INTO wk.thing VALUES ($1, 3)", tenant)


@given(st.uuids(), st.integers(1, 2**22), st.floats(0, 4e9))
def test_token_has_one_form(tenant: UUID, pid: int, now: float) -> None:
    key = ContextKey(Secret(bytes(32)))
    parts = key.mint(tenant=tenant, pid=pid, now=now).split(".")
    assert parts[:4] == ["wkt1", tenant.hex, str(int(now) + 55), str(pid)]
    ipad, opad = key.pads()
    inner = hashlib.sha256(ipad + b"wk/context/v1\n" + ".".join(parts[:4]).encode()).digest()
    assert hashlib.sha256(opad + inner).hexdigest() == parts[4]


def test_token_is_reused_for_twenty_seconds_on_its_own_backend_alone() -> None:
    key, tenant = ContextKey(Secret(bytes(32))), uuid7()
    first = key.token(tenant=tenant, pid=1, now=1000.0)
    assert key.token(tenant=tenant, pid=1, now=1019.9) == first
    assert key.token(tenant=tenant, pid=1, now=1020.1) != first
    assert key.token(tenant=tenant, pid=2, now=1020.1) != key.token(tenant=tenant, pid=1, now=1020.1)
    assert key.token(tenant=tenant, pid=1, now=900.0) == key.mint(tenant=tenant, pid=1, now=900.0)


def test_key_and_lifetime_are_checked() -> None:
    with pytest.raises(Misconfigured):
        ContextKey(Secret(b"short"))
    with pytest.raises(Misconfigured):
        ContextKey(Secret(bytes(32))).mint(tenant=uuid7(), pid=1, now=0, ttl=61)
