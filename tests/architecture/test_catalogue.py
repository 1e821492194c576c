"""Nothing is in the database that people did not review: tables, partitions, rights, policies, functions."""

from __future__ import annotations

import pytest

from architecture.walk import findings, look, reviewed
from database import Database

_VIOLATIONS = {
    "a table nobody reviewed": (
        "CREATE TABLE wk.extra (tenant_id uuid PRIMARY KEY)",
        "wk.extra: this table is not on the list",
    ),
    "row security switched off": (
        "ALTER TABLE wk.tenants DISABLE ROW LEVEL SECURITY",
        "wk.tenants: a tenant's table without ENABLE and FORCE",
    ),
    "row security not forced": (
        "ALTER TABLE wk.tenants NO FORCE ROW LEVEL SECURITY",
        "wk.tenants: a tenant's table without ENABLE and FORCE",
    ),
    "a policy opened": ("ALTER POLICY tenant ON wk.tenants USING (true)", "wk.tenants: policies are"),
    "a policy more": ("CREATE POLICY more ON wk.tenants TO wk_app USING (true)", "wk.tenants: policies are"),
    "a right more": ("GRANT DELETE ON wk.tenants TO wk_app", "wk.tenants: grants are"),
    "a right on a column": ("GRANT UPDATE (state) ON wk.tenants TO wk_app", "wk.tenants: grants are"),
    "the key readable": ("GRANT SELECT ON wk.context_key TO wk_app", "wk.context_key: grants are"),
    "a right for all": ("GRANT SELECT ON wk.deployment TO PUBLIC", "wk.deployment: PUBLIC has rights"),
    "truncate": ("GRANT TRUNCATE ON wk.tenants TO wk_app", "wk.tenants: TRUNCATE and TRIGGER go round"),
    "another owner": ("ALTER TABLE wk.tenants OWNER TO wk_app", "wk.tenants: belongs to wk_app"),
    "a primary key without the tenant": (
        "ALTER TABLE wk.tenants DROP CONSTRAINT tenants_pkey, ADD PRIMARY KEY (name)",
        "wk.tenants: the primary key does not begin with the tenant",
    ),
    "a partition without a wall": (
        """SET ROLE wk_owner;
        CREATE TABLE wk.parted (tenant_id uuid, day date, PRIMARY KEY (tenant_id, day)) PARTITION BY RANGE (day);
        CREATE TABLE wk.part PARTITION OF wk.parted DEFAULT;
        CALL wk.protect('wk.parted', 'wk_app');
        GRANT SELECT ON wk.part TO wk_app;""",
        "wk.part: a partition with rights of its own",
    ),
    "a view of the owner's": ("CREATE VIEW wk.all_tenants AS SELECT * FROM wk.tenants", "reads as its owner"),
    "a foreign key across tenants": (
        "CREATE TABLE wk.child (tenant_id uuid, parent uuid REFERENCES wk.tenants, PRIMARY KEY (tenant_id, parent))",
        "wk.child: foreign key child_parent_fkey can cross tenants",
    ),
    "a function nobody reviewed": (
        "CREATE FUNCTION wk.extra() RETURNS int LANGUAGE sql SET search_path = pg_catalog, pg_temp RETURN 1",
        "wk.extra(): this function is not on the list",
    ),
    "a search path not pinned": ("ALTER FUNCTION wk.tenant() RESET search_path", "wk.tenant(): its search_path"),
    "a search path with public": (
        "ALTER FUNCTION wk.tenant() SET search_path = public, pg_catalog",
        "wk.tenant(): its search_path",
    ),
    "a function for all": ("GRANT EXECUTE ON FUNCTION wk.tenant() TO PUBLIC", "wk.tenant(): PUBLIC may execute it"),
    "a function for one more": (
        "GRANT EXECUTE ON FUNCTION wk.install_context_key(bytea, bytea) TO wk_app",
        "wk.install_context_key(bytea,bytea): is",
    ),
    "a definer more": ("ALTER FUNCTION wk.enter(text) SECURITY DEFINER", "wk.enter(text): is"),
    "temporary tables": (
        "DO $$ BEGIN EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO wk_app', current_database()); END $$",
        "database: TEMPORARY for wk_app",
    ),
    "the schema public open": ("GRANT USAGE ON SCHEMA public TO PUBLIC", "schema public: USAGE"),
}


async def test_everything_in_the_database_was_reviewed(database: Database) -> None:
    async with database.connect() as connection:
        seen = await look(connection)
    found = findings(seen, reviewed())
    assert not found, "\n".join(found)


@pytest.mark.parametrize("violation", _VIOLATIONS)
async def test_the_walk_finds(database: Database, violation: str) -> None:
    """The negative controls: each defence taken away is found and named."""
    sql, expected = _VIOLATIONS[violation]
    async with database.connect() as connection:
        await connection.execute(sql)
        await connection.execute("RESET ROLE")
        found = findings(await look(connection), reviewed())
    assert any(expected in finding for finding in found), found


async def test_no_role_steps_over_the_wall(database: Database) -> None:
    async with database.connect() as connection:
        rows = await connection.fetch(
            "SELECT rolname::text AS name, rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication"
            " AS too_much, rolcanlogin AS login, rolinherit AS inherits FROM pg_roles WHERE rolname = ANY($1)",
            ["wk_owner", "wk_migrate", "wk_app", "wk_ledger", "wk_auth", "wk_jobs", "wk_backup"],
        )
        members = await connection.fetch(
            "SELECT member::regrole::text AS member, roleid::regrole::text AS granted FROM pg_auth_members "
            "WHERE member::regrole::text LIKE 'wk\\_%' AND NOT (SELECT rolsuper FROM pg_roles r WHERE r.oid = member)"
        )
    assert {row["name"]: row["login"] for row in rows} == {
        "wk_owner": False,
        "wk_migrate": True,
        "wk_app": True,
        "wk_ledger": True,
        "wk_auth": True,
        "wk_jobs": True,
        "wk_backup": True,
    }
    assert not [row["name"] for row in rows if row["too_much"]]
    assert [row["name"] for row in rows if row["inherits"]] == ["wk_owner"], "from the one role that it is a member of"
    assert {(row["member"], row["granted"]) for row in members} == {
        ("wk_migrate", "wk_owner"),
        ("wk_owner", "pg_read_all_stats"),
    }
