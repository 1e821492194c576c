"""The guard: a server that could lose or log what we promise to keep is refused, with the statement that mends it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from database import ENVIRONMENT, Database, Server
from wellkeep.base.errors import DatabaseUnavailable, Misconfigured
from wellkeep.base.secrets import Secret
from wellkeep.db import deployment, guard
from wellkeep.db.connection import Connection
from wellkeep.db.context import ContextKey
from wellkeep.db.dsn import Endpoint
from wellkeep.db.provision import connected, provision


@pytest.fixture
async def superuser(database: Database) -> AsyncIterator[Connection]:
    async with database.connect() as connection:
        yield connection


async def test_fit_server_passes_and_is_described(superuser: Connection) -> None:
    assert await guard.problems(superuser) == []
    facts = await guard.assert_fit(superuser)
    assert facts.version >= 150000
    assert facts.data_checksums


@pytest.mark.parametrize("role", ["wk_app", "wk_ledger", "wk_auth", "wk_jobs"])
async def test_every_role_can_judge_the_server(database: Database, role: str) -> None:
    async with database.connect(role) as connection:
        assert await guard.problems(connection) == []
        await guard.assert_bound(connection)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("synchronous_commit", "off"),
        ("log_error_verbosity", "default"),
        ("log_parameter_max_length", "-1"),
        ("log_parameter_max_length_on_error", "100"),
        ("log_min_error_statement", "error"),
        ("log_statement", "all"),
        ("log_min_duration_statement", "0"),
        ("log_transaction_sample_rate", "1"),
        ("default_transaction_isolation", "serializable"),
        ("standard_conforming_strings", "off"),
    ],
)
async def test_bad_setting_is_refused_with_what_mends_it(superuser: Connection, name: str, bad: str) -> None:
    await superuser.execute(f"SET {name} = '{bad}'")
    with pytest.raises(Misconfigured, match=f"ALTER SYSTEM SET {name} = "):
        await guard.assert_fit(superuser)
    found = await guard.problems(superuser)
    assert len(found) == 1
    await superuser.execute("RESET ALL")
    assert await guard.problems(superuser) == []


@pytest.mark.parametrize("name", ["fsync", "full_page_writes"])
async def test_lost_durability_is_refused(pg_server: Server, name: str) -> None:
    """A server that somebody else runs, with the setting that benchmarks love."""
    if pg_server.embedded is None:
        pytest.skip("the server under test is not ours to change")
    async with connected(pg_server.administrator) as connection:
        await connection.execute(f"ALTER SYSTEM SET {name} = off")
        try:
            await connection.execute("SELECT pg_reload_conf()")
            await _until(connection, name, "off")
            with pytest.raises(Misconfigured, match=f"{name} is off, so acknowledged data can be lost"):
                await guard.assert_fit(connection)
        finally:
            await connection.execute(f"ALTER SYSTEM RESET {name}")
            await connection.execute("SELECT pg_reload_conf()")
            await _until(connection, name, "on")


async def _until(connection: Connection, name: str, value: str) -> None:
    for _ in range(3000):
        if await connection.fetchval("SELECT current_setting($1)", name) == value:
            return
        await connection.fetchval("SELECT pg_sleep(0.01)")
    raise AssertionError(f"{name} did not become {value}")


async def test_old_version_and_encoding_are_refused(superuser: Connection) -> None:
    settings = await guard._read(superuser)
    assert "older than 15" in guard._judge({**settings, "server_version_num": "140011"})[0]
    assert "UTF8" in guard._judge({**settings, "server_encoding": "SQL_ASCII"})[0]


async def test_role_above_the_wall_is_refused(superuser: Connection) -> None:
    with pytest.raises(Misconfigured, match="above row security"):
        await guard.assert_bound(superuser)


async def test_database_of_another_environment_is_refused(database: Database) -> None:
    ours = database.server.deployment
    async with database.connect("wk_app") as connection:
        await deployment.assert_belongs(connection, deployment=ours, environment=ENVIRONMENT)
        with pytest.raises(Misconfigured, match=r"another environment \(test, not production\)"):
            await deployment.assert_belongs(connection, deployment=ours, environment="production")
        with pytest.raises(Misconfigured, match="another deployment"):
            await deployment.assert_belongs(connection, deployment=uuid4(), environment=ENVIRONMENT)
    async with database.connect("wk_migrate") as connection:
        await deployment.install(connection, deployment=ours, environment=ENVIRONMENT)
        with pytest.raises(Misconfigured, match="another environment"):
            await deployment.install(connection, deployment=ours, environment="production")


async def test_unmarked_database_is_refused(database: Database) -> None:
    async with database.connect() as connection:
        await connection.execute("DELETE FROM wk.deployment")
        with pytest.raises(Misconfigured, match="wellkeep init"):
            await deployment.assert_belongs(connection, deployment=uuid4(), environment=ENVIRONMENT)


async def test_provisioning_again_changes_nothing_and_another_environment_is_refused(database: Database) -> None:
    server = database.server
    arguments = {
        "database": database.name,
        "passwords": server.passwords,
        "deployment_id": server.deployment,
        "context_key": ContextKey(Secret(os.urandom(32))),
    }
    await provision(server.administrator, environment=ENVIRONMENT, **arguments)  # type: ignore[arg-type]
    with pytest.raises(Misconfigured, match="another environment"):
        await provision(server.administrator, environment="production", **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same database", "another database"])
async def test_a_second_deployment_on_one_server_is_refused_and_the_first_still_works(
    database: Database, *, elsewhere: bool
) -> None:
    """Roles and their passwords belong to the whole server: setting them anew would lock the first one out."""
    server = database.server
    with pytest.raises(Misconfigured, match=r"another deployment uses them.*Nothing was changed"):
        await provision(
            server.administrator,
            database=f"wk_second_{uuid4().hex[:8]}" if elsewhere else database.name,
            passwords={role: Secret(f"another {role} {uuid4()}") for role in server.passwords},
            deployment_id=uuid4(),
            environment=ENVIRONMENT,
        )
    async with database.connect("wk_app") as connection:
        await deployment.assert_belongs(connection, deployment=server.deployment, environment=ENVIRONMENT)


async def test_a_database_marked_as_another_s_is_refused_before_anything_is_changed(database: Database) -> None:
    server = database.server
    async with database.connect() as connection:
        before = await connection.fetch("SELECT rolname, rolpassword FROM pg_authid ORDER BY 1")
        with pytest.raises(Misconfigured, match="another deployment"):
            await provision(
                server.administrator,
                database=database.name,
                passwords=server.passwords,
                deployment_id=uuid4(),
                environment=ENVIRONMENT,
            )
        assert await connection.fetch("SELECT rolname, rolpassword FROM pg_authid ORDER BY 1") == before


async def test_server_that_is_not_there_is_unavailable() -> None:
    nowhere = Endpoint(host="/nonexistent", port=5432, database="x", user="x", password=None)
    with pytest.raises(DatabaseUnavailable):
        async with connected(nowhere):
            pass
