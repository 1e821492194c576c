"""The roles: made once, refused where they could step over the wall; passwords never in a statement."""

from __future__ import annotations

import pytest

from database import Database, Server
from wellkeep.base.errors import Misconfigured
from wellkeep.base.secrets import Secret
from wellkeep.db import roles
from wellkeep.db.passwords import scram_verifier
from wellkeep.db.provision import connected


async def test_making_them_twice_changes_nothing_else(pg_server: Server) -> None:
    attributes = "SELECT rolname, rolsuper, rolinherit, rolcanlogin, rolbypassrls FROM pg_roles ORDER BY 1"
    async with connected(pg_server.administrator) as connection:
        before = await connection.fetch(attributes)
        await roles.ensure_roles(connection, pg_server.passwords)
        assert await connection.fetch(attributes) == before


@pytest.mark.parametrize(
    ("too_much", "back"),
    [
        ("ALTER ROLE wk_app BYPASSRLS", "ALTER ROLE wk_app NOBYPASSRLS"),
        ("ALTER ROLE wk_app SUPERUSER", "ALTER ROLE wk_app NOSUPERUSER"),
        ("ALTER ROLE wk_jobs CREATEROLE", "ALTER ROLE wk_jobs NOCREATEROLE"),
        ("ALTER ROLE wk_backup REPLICATION", "ALTER ROLE wk_backup NOREPLICATION"),
        ("ALTER ROLE wk_owner LOGIN", "ALTER ROLE wk_owner NOLOGIN"),
        ("GRANT wk_owner TO wk_app", "REVOKE wk_owner FROM wk_app"),
        ("GRANT pg_read_all_data TO wk_app", "REVOKE pg_read_all_data FROM wk_app"),
    ],
)
async def test_role_that_may_too_much_is_refused(pg_server: Server, too_much: str, back: str) -> None:
    async with connected(pg_server.administrator) as connection:
        await connection.execute(too_much)
        try:
            with pytest.raises(Misconfigured, match=r"wk_(app|jobs|backup|owner)"):
                await roles.ensure_roles(connection, pg_server.passwords)
        finally:
            await connection.execute(back)
        await roles.ensure_roles(connection, pg_server.passwords)


async def test_missing_password_is_named(pg_server: Server) -> None:
    async with connected(pg_server.administrator) as connection:
        with pytest.raises(Misconfigured, match="wk_ledger"):
            await roles.ensure_roles(
                connection, {role: secret for role, secret in pg_server.passwords.items() if role != "wk_ledger"}
            )


async def test_server_keeps_scram_verifiers_alone(database: Database) -> None:
    async with database.connect() as connection:
        kept = await connection.fetch("SELECT rolpassword FROM pg_authid WHERE rolname LIKE 'wk\\_%' AND rolcanlogin")
    assert kept
    assert all(row["rolpassword"].startswith("SCRAM-SHA-256$4096:") for row in kept)


async def test_nobody_makes_temporary_objects_or_enters_public(database: Database) -> None:
    async with database.connect() as connection:
        for role in roles.LOGIN_ROLES:
            rights = await connection.fetchrow(
                "SELECT has_database_privilege($1, current_database(), 'TEMP') AS temp,"
                " has_database_privilege($1, current_database(), 'CREATE') AS creates,"
                " has_schema_privilege($1, 'public', 'USAGE') AS public,"
                " has_schema_privilege($1, 'wk', 'CREATE') AS wk",
                role,
            )
            assert rights is not None
            assert dict(rights) == {"temp": False, "creates": False, "public": False, "wk": False}


async def test_migrate_is_the_owner_only_by_set_role(database: Database) -> None:
    async with database.connect("wk_migrate") as connection:
        assert not await connection.fetchval("SELECT has_table_privilege('wk.context_key', 'SELECT')")
        await connection.execute("SET ROLE wk_owner")
        assert await connection.fetchval("SELECT has_table_privilege('wk.context_key', 'SELECT')")


def test_verifier_is_salted_and_refuses_what_saslprep_changes() -> None:
    password = Secret("the same")
    assert scram_verifier(password) != scram_verifier(password)
    for text in ("", "pässword", "a\nb"):
        with pytest.raises(Misconfigured):
            scram_verifier(Secret(text))
