"""Whatever changes who sees what is named, and nothing that a server's keeper may tune."""

from __future__ import annotations

import pytest

from database import Database
from wellkeep.db import schema
from wellkeep.db.roles import ALL_ROLES
from wellkeep.db.schema import Difference, How

_MONTH = "(SELECT max(inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = 'ledger.entry'::regclass)"
_BODY = "LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS"


def on_a_month(sql: str) -> str:
    """Return `sql` for the last month's table, whose name is the month's."""
    return f"DO $do$ BEGIN EXECUTE format($sql${sql}$sql$, {_MONTH}); END $do$"


ATTACKS: dict[str, tuple[str, tuple[str, str, How]]] = {
    "rows hidden by a policy": (
        "CREATE POLICY hide ON ledger.entry AS RESTRICTIVE FOR SELECT TO wk_app USING (actor <> 'me')",
        ("policy", "ledger.entry.hide", How.ADDED),
    ),
    "rows shown by a policy": (
        "CREATE POLICY show ON vault.record FOR SELECT TO wk_app USING (true)",
        ("policy", "vault.record.show", How.ADDED),
    ),
    "a policy opened": (
        "ALTER POLICY tenant ON wk.tenants USING (true)",
        ("policy", "wk.tenants.tenant", How.CHANGED),
    ),
    "a policy taken away": (
        "DROP POLICY tenant ON ledger.entry_subject",
        ("policy", "ledger.entry_subject.tenant", How.MISSING),
    ),
    "rows dropped by a rule": (
        "CREATE RULE drop AS ON INSERT TO ledger.entry_subject DO INSTEAD NOTHING",
        ("rule", "ledger.entry_subject.drop", How.ADDED),
    ),
    "rows dropped by a trigger": (
        "CREATE TRIGGER drop BEFORE UPDATE ON ledger.seal EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        ("trigger", "ledger.seal.drop", How.ADDED),
    ),
    "a trigger put to sleep": (
        "ALTER TABLE wk.tenants DISABLE TRIGGER follow_tenant",
        ("trigger", "wk.tenants.follow_tenant", How.CHANGED),
    ),
    "what guards references put to sleep": (
        "ALTER TABLE vault.blob DISABLE TRIGGER ALL",
        ("table", "vault.blob", How.CHANGED),
    ),
    "row security off": (
        "ALTER TABLE ledger.entry DISABLE ROW LEVEL SECURITY",
        ("table", "ledger.entry", How.CHANGED),
    ),
    "row security not forced": (
        "ALTER TABLE ledger.entry NO FORCE ROW LEVEL SECURITY",
        ("table", "ledger.entry", How.CHANGED),
    ),
    "another body": (
        f"CREATE OR REPLACE FUNCTION wk.tenant() RETURNS uuid {_BODY} $$ BEGIN RETURN wk.platform(); END $$",
        ("function", "wk.tenant()", How.CHANGED),
    ),
    "another search path": (
        "ALTER FUNCTION wk.tenant() SET search_path = public",
        ("function", "wk.tenant()", How.CHANGED),
    ),
    "a function that does as its caller may": (
        "ALTER FUNCTION wk.tenant() SECURITY INVOKER",
        ("function", "wk.tenant()", How.CHANGED),
    ),
    "a function for everybody": (
        "GRANT EXECUTE ON FUNCTION ledger.provide_partitions() TO PUBLIC",
        ("function", "ledger.provide_partitions()", How.CHANGED),
    ),
    "a function more": (
        "CREATE FUNCTION ledger.more() RETURNS int LANGUAGE sql RETURN 1",
        ("function", "ledger.more()", How.ADDED),
    ),
    "another owner": ("ALTER TABLE ledger.seal OWNER TO wk_app", ("table", "ledger.seal", How.CHANGED)),
    "a right": ("GRANT DELETE ON ledger.entry TO wk_app", ("table", "ledger.entry", How.CHANGED)),
    "a right to hand on": (
        "GRANT SELECT ON ledger.entry TO wk_app WITH GRANT OPTION",
        ("table", "ledger.entry", How.CHANGED),
    ),
    "a right for everybody": ("GRANT SELECT ON ledger.entry TO PUBLIC", ("table", "ledger.entry", How.CHANGED)),
    "a right on a column": (
        "GRANT UPDATE (actor) ON ledger.entry TO wk_app",
        ("table", "ledger.entry", How.CHANGED),
    ),
    "a schema for everybody": ("GRANT CREATE ON SCHEMA ledger TO PUBLIC", ("schema", "ledger", How.CHANGED)),
    "a table more": ("CREATE TABLE wk.more (id int)", ("table", "wk.more", How.ADDED)),
    "rows of another table": (
        "CREATE TABLE ledger.ghost () INHERITS (ledger.seal)",
        ("table", "ledger.ghost", How.ADDED),
    ),
    "a view in the place of a table": (
        "ALTER TABLE ledger.seal RENAME TO old; CREATE VIEW ledger.seal AS SELECT * FROM ledger.old",
        ("table", "ledger.seal", How.CHANGED),
    ),
}
ON_A_MONTH: dict[str, tuple[str, str, str, How]] = {
    "rows hidden": ("CREATE POLICY hide ON %s USING (true)", "policy", ".hide", How.ADDED),
    "a right": ("GRANT SELECT ON %s TO wk_app", "table", "", How.CHANGED),
    "row security off": ("ALTER TABLE %s DISABLE ROW LEVEL SECURITY", "table", "", How.CHANGED),
    "taken out": ("ALTER TABLE ledger.entry DETACH PARTITION %s", "table", "", How.CHANGED),
}
TUNED = (
    "ALTER TABLE ledger.seal SET (autovacuum_vacuum_scale_factor = 0.01)",
    "CREATE INDEX ON ledger.seal (key_id)",
    "ALTER TABLE ledger.seal ALTER key_id SET STATISTICS 500",
    "CREATE SCHEMA theirs CREATE TABLE theirs.things (id int)",
    "ANALYZE ledger.seal",
)


async def after(database: Database, sql: str) -> list[Difference]:
    """Return what is seen after somebody did `sql`, by an account that may do nothing with it."""
    async with database.connect() as connection:
        await connection.execute(sql)
    async with database.connect("wk_backup") as connection:
        return await schema.differences(connection)


async def test_the_record_is_what_the_migrations_make(database: Database) -> None:
    async with database.connect() as connection:
        made = await schema.found(connection)
    assert schema.written(made) == schema.packaged(), (
        "a migration was edited: run scripts/record-schema, and read the diff"
    )


@pytest.mark.parametrize("role", [None, *(role for role in ALL_ROLES if role != "wk_owner")])
async def test_whoever_asks_sees_that_nothing_differs(database: Database, role: str | None) -> None:
    async with database.connect(role) as connection:
        assert await schema.differences(connection) == []


@pytest.mark.parametrize("attack", ATTACKS)
async def test_what_changes_who_sees_what_is_named(database: Database, attack: str) -> None:
    sql, (kind, name, how) = ATTACKS[attack]
    assert Difference(kind, name, how) in await after(database, sql)


@pytest.mark.parametrize("attack", ON_A_MONTH)
async def test_a_month_is_like_the_others(database: Database, attack: str) -> None:
    sql, kind, suffix, how = ON_A_MONTH[attack]
    async with database.connect() as connection:
        month = await connection.fetchval(f"SELECT {_MONTH}")
    assert await after(database, on_a_month(sql)) == [Difference(kind, f"{month}{suffix}", how)]


async def test_a_month_more_or_less_is_nothing(database: Database) -> None:
    await after(database, on_a_month("DROP TABLE %s"))
    assert await after(database, "SELECT ledger.provide_partitions()") == []


@pytest.mark.parametrize("sql", TUNED)
async def test_what_may_be_tuned_is_nothing(database: Database, sql: str) -> None:
    assert await after(database, sql) == []


@pytest.mark.parametrize("kind", ["schema", "table", "policy", "trigger", "rule", "function"])
async def test_without_its_part_of_the_comparison_nothing_is_seen(
    database: Database, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The negative control: each part is what sees the attacks of its kind."""
    recorded = {key: detail for key, detail in schema.recorded().items() if key[0] != kind}
    monkeypatch.setattr(schema, "_QUERIES", {name: sql for name, sql in schema._QUERIES.items() if name != kind})
    monkeypatch.setattr(schema, "recorded", lambda: recorded)
    seen = [expected for _, expected in ATTACKS.values() if expected[0] == kind]
    assert seen, "no attack of this kind is tried"
    async with database.connect() as connection:
        for sql, expected in ATTACKS.values():
            if expected[0] == kind:
                transaction = connection.transaction(isolation="repeatable_read")
                await transaction.start()
                await connection.execute(sql)
                assert not [one for one in await schema.differences(connection) if one.kind == kind]
                await transaction.rollback()


def test_what_differs_is_said_in_words() -> None:
    said = Difference("policy", "ledger.entry.hide", How.ADDED)
    assert (str(said), said.schema, said.of_ledger) == ("policy ledger.entry.hide was added", "ledger", True)
    gone = Difference("table", "vault.record\x1b[2J", How.MISSING)
    assert (str(gone), gone.schema, gone.of_ledger) == (r"table 'vault.record\x1b[2J' is missing", "vault", False)
    assert Difference("schema", "wk", How.CHANGED).of_ledger
