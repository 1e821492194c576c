"""The catalogue sees every change that matters, and nothing else."""

from __future__ import annotations

import pytest

from database import Database
from wellkeep.db import catalogue

_CHANGES = {
    "a policy dropped": ("DROP POLICY tenant ON wk.tenants", "- policy wk.tenants.tenant"),
    "a policy opened": ("ALTER POLICY tenant ON wk.tenants USING (true)", "~ policy wk.tenants.tenant"),
    "row security not forced": ("ALTER TABLE wk.tenants NO FORCE ROW LEVEL SECURITY", "~ relation wk.tenants"),
    "a right more": ("GRANT DELETE ON wk.tenants TO wk_app", "~ relation wk.tenants"),
    "a right on a column": ("GRANT UPDATE (name) ON wk.tenants TO wk_app", "~ column wk.tenants.name"),
    "a search path unpinned": ("ALTER FUNCTION wk.tenant() RESET search_path", "~ function wk.tenant()"),
    "a function for all": ("GRANT EXECUTE ON FUNCTION wk.tenant() TO PUBLIC", "~ function wk.tenant()"),
    "an owner": ("ALTER TABLE wk.deployment OWNER TO CURRENT_USER", "~ relation wk.deployment"),
    "a column's storage": ("ALTER TABLE wk.tenants ALTER name SET STORAGE EXTERNAL", "~ column wk.tenants.name"),
    "a column's statistics": ("ALTER TABLE wk.tenants ALTER name SET STATISTICS 0", "~ column wk.tenants.name"),
    "a constraint": (
        "ALTER TABLE wk.tenants DROP CONSTRAINT tenants_name_key",
        "- constraint wk.tenants.tenants_name_key",
    ),
    "a comment": ("COMMENT ON TABLE wk.tenants IS 'mine'", "~ comment table wk.tenants"),
    "a type": ("CREATE TYPE wk.colour AS ENUM ('red')", "+ type wk.colour"),
    "default rights": (
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
        "+ default rights wk_admin in * for r",
    ),
    "a trigger": (
        "CREATE TRIGGER t BEFORE UPDATE ON wk.tenants EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "+ trigger wk.tenants.t",
    ),
    "a rule": ("CREATE RULE r AS ON DELETE TO wk.tenants DO INSTEAD NOTHING", "+ rule wk.tenants.r"),
    "a setting of a role here": (
        "DO $$ BEGIN EXECUTE format('ALTER ROLE wk_app IN DATABASE %I SET jit = on', current_database()); END $$",
        "~ role wk_app",
    ),
}


@pytest.mark.parametrize("change", _CHANGES)
async def test_each_change_is_seen(database: Database, change: str) -> None:
    sql, expected = _CHANGES[change]
    async with database.connect() as connection:
        before = await catalogue.snapshot(connection)
        assert before.differences(await catalogue.snapshot(connection)) == []
        await connection.execute(sql)
        seen = before.differences(await catalogue.snapshot(connection))
    if "wk_admin" in expected and database.server.embedded is None:
        expected = expected.replace("wk_admin", database.superuser.user)
    assert expected in seen


async def test_two_copies_are_equal(database: Database) -> None:
    """What a copy of the template holds is what the template holds: no oid, no order slips in."""
    other = f"{database.name}_b"
    await database.server.create(other, database.server.template)
    try:
        async with database.connect() as connection:
            mine = await catalogue.snapshot(connection)
        async with Database(server=database.server, name=other).connect() as connection:
            assert mine.differences(await catalogue.snapshot(connection)) == []
    finally:
        await database.server.drop(other)
