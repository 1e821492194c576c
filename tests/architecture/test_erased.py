"""Promise: what is erased is gone from every table, those included that nobody has thought of yet.

A row of a tenant is put into each table that the catalogue has; then the tenant is erased. What is left must be on the
list below, with the reason why it may stay.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from database import Database
from vault.stack import PATIENTS, Stack, open_stack
from wellkeep.access.approvals import Approvals
from wellkeep.access.operators import operator
from wellkeep.assembly.sweeping import Sweeper
from wellkeep.base.errors import ApprovalNeeded, TenantContextRefused
from wellkeep.base.ids import uuid7
from wellkeep.db.connection import Connection
from wellkeep.gate.acts import Caller
from wellkeep.vault.erasure import Erased, Erasures
from wellkeep.vault.erasure_tenant import TenantErasures

STAYS = {
    "access.approval": "ids alone, and who the two people were who decided to erase",
    "access.egress_place": "the platform's own, as a constraint says",
    "wk.evidence": "the platform's own, as a constraint says",
    "access.session_watch": "the platform's own",
    "findings.finding": "ids, codes and counts: what was noticed about the deployment",
    "keys.rotation": "ids and counts of what was done",
    "keys.signal": "when keys changed: a time",
    "queue.job": "ids and times, forgotten after thirty days",
    "vault.tombstone": "what says that it is erased",
}
"""The ledger stays too (its own promise): its entries hold ids, their reasons are deleted by the erasure."""

_TABLES = """
SELECT c.oid::regclass::text AS name FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'ledger'
ORDER BY 1
"""
_CHECKS = """
SELECT CASE WHEN k.contypid <> 0
  THEN format('ALTER DOMAIN %s DROP CONSTRAINT %I', k.contypid::regtype, k.conname)
  ELSE format('ALTER TABLE %s DROP CONSTRAINT %I', k.conrelid::regclass, k.conname) END AS sql
FROM pg_constraint AS k WHERE k.contype = 'c' AND k.connamespace::regnamespace::text NOT LIKE 'pg\\_%'
  AND k.connamespace::regnamespace::text NOT IN ('information_schema', 'ledger') AND k.coninhcount = 0
"""
_COLUMNS = """
SELECT a.attname::text AS name, format_type(coalesce(nullif(t.typbasetype, 0), t.oid), NULL) AS type
FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped
  AND a.attgenerated = '' AND a.attidentity = ''
  AND (a.attnotnull OR a.attname IN ('tenant_id', 'subject_id')) AND (NOT a.atthasdef OR a.attname = 'tenant_id')
"""
_VALUES = {
    "uuid": "gen_random_uuid()",
    "text": "'x'",
    "integer": "1",
    "bigint": "1",
    "smallint": "1",
    "boolean": "false",
    "bytea": "'\\x00'",
    "jsonb": "'{}'",
    "inet": "'192.0.2.1'",
    "interval": "'1 minute'",
    "timestamp with time zone": "clock_timestamp()",
    "double precision": "1",
}
_MEANT = {("keys.tenant_key", "purpose"): "'DATA'", ("keys.tenant_key", "epoch"): "7"}
"""Where a policy lets the application delete only what looks right."""
_HOLDS = "SELECT EXISTS (SELECT FROM {} WHERE tenant_id = $1)"
_LEFT = "SELECT tenant_id, subject_id FROM {}"
_OF_SUBJECTS = """
SELECT k.conrelid::regclass::text || '.' || a.attname AS place FROM pg_constraint AS k
JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey) AND a.attname <> 'tenant_id'
WHERE k.contype = 'f' AND k.confrelid = 'vault.subject'::regclass AND k.connamespace = 'access'::regnamespace
UNION
SELECT a.attrelid::regclass || '.' || a.attname FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
WHERE c.relnamespace = 'access'::regnamespace AND c.relkind = 'r' AND a.attname ~ 'subject|patient'
"""


@pytest.fixture
async def stack(database: Database, tenant: UUID, other_tenant: UUID) -> AsyncIterator[Stack]:
    async with open_stack(database, tenant, other_tenant) as opened:
        yield opened


async def fill(connection: Connection, table: str, tenant: UUID, subject: UUID) -> None:
    """Put a row of `tenant` into `table`, about `subject` where the table is about patients."""
    names, values = [], []
    for column in await connection.fetch(_COLUMNS, table):
        names.append(column["name"])
        if column["name"] == "tenant_id":
            values.append(f"'{tenant}'")
        elif column["name"] == "subject_id":
            values.append(f"'{subject}'")
        elif column["type"].endswith("[]"):
            values.append("'{}'")
        else:
            values.append(_MEANT.get((table, column["name"]), _VALUES[column["type"]]))
    into = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(values)})"  # noqa: S608 - names of ours
    await connection.execute(into)


async def filled(stack: Stack, tenants: tuple[UUID, ...], *, only: str = "") -> list[str]:
    """Put a row of each tenant into each table (whose name begins with `only`), whatever they should look like."""
    async with stack.database.connect() as connection:
        tables = [row["name"] for row in await connection.fetch(_TABLES) if row["name"].startswith(only)]
        for row in await connection.fetch(_CHECKS):
            await connection.execute(row["sql"])
        await connection.execute("SET session_replication_role = replica")
        for tenant in tenants:
            for table in tables:
                await fill(connection, table, tenant, uuid7())
    return tables


async def holding(stack: Stack, tables: list[str], tenant: UUID) -> set[str]:
    """Return the tables that hold a row of `tenant`."""
    async with stack.database.connect() as connection:
        return {table for table in tables if await connection.fetchval(_HOLDS.format(table), tenant)}


async def erase_tenant(stack: Stack) -> None:
    """Erase the first tenant as two operators do, and sweep."""
    ada, grace = (Caller(operator(name), None, uuid7()) for name in ("ada", "grace"))
    approvals = Approvals(gate=stack.gate, clock=stack.clock)
    told: list[Erased] = []
    erasures = TenantErasures(gate=stack.gate, approvals=approvals, clock=stack.clock, remember=told.extend)
    await stack.as_superuser("UPDATE wk.tenants SET state = 'closed' WHERE id = $1", stack.tenant)
    stack.gate.tenants.forget(stack.tenant)
    with pytest.raises(ApprovalNeeded) as waiting:
        await erasures.erase(ada, stack.tenant)
    assert waiting.value.resource is not None
    await approvals.decide(grace, waiting.value.resource, give=True)
    await erasures.erase(ada, stack.tenant)


async def test_an_erased_tenant_is_left_in_no_table_but_those_with_a_reason(stack: Stack) -> None:
    tables = await filled(stack, (stack.tenant, stack.other))
    before = await holding(stack, tables, stack.other)
    assert before == set(tables), "a row in every table"
    await erase_tenant(stack)
    people = {table for table in await holding(stack, tables, stack.tenant) if table.startswith("access.")}
    assert people <= set(STAYS), "in the erasure's own transaction, before any sweep"
    await Sweeper(stack.pool).all(stack.tenant)
    assert await holding(stack, tables, stack.tenant) <= set(STAYS)
    assert await holding(stack, tables, stack.other) == before, "nobody else's"
    assert set(STAYS) <= set(tables)


async def test_an_erased_patient_is_in_nobodys_care_and_behind_nobodys_glass(stack: Stack) -> None:
    await stack.declare(PATIENTS)
    made = [await stack.vault.records.create(stack.integration, "patients", {"family": name}) for name in ("Ada", "Bo")]
    gone, stays = (one.subject for one in made)
    assert gone is not None
    assert stays is not None
    about = {place.rpartition(".")[0] for place in await places(stack)}
    assert {"access.care_team", "access.break_glass"} <= about
    await filled(stack, ())
    async with stack.database.connect() as connection:
        await connection.execute("SET session_replication_role = replica")
        for table in about:
            for subject in (gone, stays):
                await fill(connection, table, stack.tenant, subject)
            await fill(connection, table, stack.other, gone)  # the same id elsewhere is somebody else
    told: list[Erased] = []
    await Erasures(stack.vault.context, remember=told.extend).erase(stack.caller("privacy_officer"), gone)
    for table in about:
        left = await stack.as_superuser(_LEFT.format(table))
        assert {(row["tenant_id"], row["subject_id"]) for row in left} == {(stack.tenant, stays), (stack.other, gone)}


async def test_whatever_is_about_a_patient_says_so_by_one_name(stack: Stack) -> None:
    """The erasure finds these rows by the name of the column."""
    assert {place.rpartition(".")[2] for place in await places(stack)} == {"subject_id"}


async def places(stack: Stack) -> set[str]:
    """Return the columns of the room `access` that name patients."""
    async with stack.database.connect() as connection:
        return {row["place"] for row in await connection.fetch(_OF_SUBJECTS)}


async def test_nobody_deletes_people_who_are_not_erased(stack: Stack) -> None:
    await filled(stack, (stack.tenant,), only="access.person")
    async with stack.pool.tenant_transaction(tenant=stack.tenant) as connection:
        assert await connection.fetchval("SELECT access.forget_erased()") == 0
    assert await holding(stack, ["access.person"], stack.tenant)
    with pytest.raises(TenantContextRefused):
        async with stack.pool.tenant_transaction(tenant=stack.tenant) as connection:
            await connection.execute("DELETE FROM access.person")
