"""access.tenant_wall: arbitrary SQL inside the application's own session shows no row of another tenant.

The probe is the attacker in the worst place: it signs in to PostgreSQL as the application does, holds tenant A's valid
context, and tries to reach tenant B.
"""

from __future__ import annotations

from uuid import UUID

import asyncpg
import httpx

from wellkeep.db.connection import Connection
from wellkeep.prove.canary import Canary
from wellkeep.prove.deployment import Unseen, created
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.planting import plant, plant_files
from wellkeep.prove.probe import Probe
from wellkeep.prove.sample import PEOPLE, person
from wellkeep.prove.stage import Stage
from wellkeep.prove.world import World

_TABLES = """
SELECT format('%I.%I', n.nspname, c.relname) AS name,
       EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id') AS walled
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname IN ('wk', 'findings', 'ledger', 'keys', 'access', 'vault', 'queue')
ORDER BY 1
"""
_FORCED = """
SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relrowsecurity AND c.relforcerowsecurity
"""
_CONTEXT_OF = "SELECT set_config('wk.token', $1, false)"

_INJECTIONS: tuple[tuple[str, str], ...] = (
    ("become the owner", "SET ROLE wk_owner"),
    ("become the migrator", "SET SESSION AUTHORIZATION wk_migrate"),
    ("switch row security off", "SET row_security = off; SELECT count(*) FROM vault.record"),
    ("disable the policies", "ALTER TABLE vault.record DISABLE ROW LEVEL SECURITY"),
    ("drop a policy", "DO $$ BEGIN EXECUTE 'DROP POLICY tenant ON vault.record'; END $$"),
    (
        "replace the context's function",
        "CREATE OR REPLACE FUNCTION wk.tenant() RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid'",
    ),
    ("shadow it in a temporary schema", "CREATE TEMP TABLE record (tenant_id uuid)"),
    ("read the signing key", "SELECT * FROM wk.context_key"),
    ("copy rows in past the policies", "COPY vault.counter FROM STDIN"),
    ("run a program", "COPY (SELECT 1) TO PROGRAM 'true'"),
    ("read a file", "SELECT pg_read_file('PG_VERSION')"),
    ("append to the ledger", "INSERT INTO ledger.entry DEFAULT VALUES"),
    ("delete from the ledger", "DELETE FROM ledger.entry"),
    ("learn the names of prepared statements", "SELECT name FROM pg_prepared_statements"),
    ("leave a large object behind", "SELECT lo_from_bytea(0, 'x')"),
    ("take a lock that others wait for", "SELECT pg_try_advisory_lock(1)"),
    ("take the ledger's turn to drain", "SELECT ledger.take_drain()"),
    ("read the planner's statistics", "SELECT * FROM pg_statistic"),
)


async def run(world: World, notes: Notes) -> None:
    """Write a record for B, then try to see it with everything but B's own credentials."""
    live = await world.live()
    client = await live.client(live.b.keys["integration"])
    record = await created(client, f"/v1/collections/{PEOPLE}/records", person())
    await _spread(client, notes)

    other = await live.client(live.a.keys["integration"])
    answer = await other.get(f"/v1/collections/{PEOPLE}/records/{record['id']}")
    notes.check(
        "asked for B's record over the API with A's key",
        held=answer.status_code == httpx.codes.NOT_FOUND,
        seen=_http(answer.status_code),
    )

    async with live.as_role("wk_app") as connection:
        tables = await connection.fetch(_TABLES)
        walled = [row["name"] for row in tables if row["walled"]]
        await _without_context(connection, notes, walled)
        await _forged_contexts(live, connection, notes)
        await _as_tenant_a(live, connection, notes, walled)
        await _injections(connection, notes)


async def _without_context(connection: Connection, notes: Notes, tables: list[str]) -> None:
    """Read every table; an empty one gives no row to ask the policy about, so there it must at least be forced."""
    forced = {row["name"] for row in await connection.fetch(_FORCED)}
    answered = {name: await _rows(connection, name) for name in tables}
    open_tables = [name for name, rows in answered.items() if rows or (rows == 0 and name not in forced)]
    notes.check(
        f"read each of {len(tables)} tenant tables without a context",
        held=bool(tables) and not open_tables,
        seen="each was refused" if not open_tables else f"answered: {', '.join(open_tables[:5])}",
    )


async def _spread(client: httpx.AsyncClient, notes: Notes) -> None:
    """Have B use everything that writes rows, so that there is something of B's to be seen."""
    try:
        await plant(client, 0, in_clear=Canary.make("in clear"))
        await plant_files(client)
    except Unseen as unseen:
        notes.blind("filled each of B's tables", why=str(unseen))


async def _forged_contexts(live: Stage, connection: Connection, notes: Notes) -> None:
    target, pid, soon = live.b.id, connection.get_server_pid(), int(live.operator.core.clock.seconds()) + 60
    zeros = "0" * 64
    signed = live.context_token(live.a.id, connection)
    forged = {
        "an unsigned one": str(target),
        "one signed with zeros": f"wkt1.{target.hex}.{soon}.{pid}.{zeros}",
        "an empty signature": f"wkt1.{target.hex}.{soon}.{pid}.",
        "an injected one": f"wkt1.{target.hex}' OR true --.{soon}.{pid}.{zeros}",
        "A's own with B's name": signed.replace(live.a.id.hex, target.hex),
        "A's own with B's name in front": f"wkt1.{target.hex}.{signed}",
        "B's own, two minutes old": live.context_token(target, connection, seconds_ago=120),
    }
    believed = []
    for name, token in forged.items():
        await connection.execute(_CONTEXT_OF, token)
        if await _rows(connection, "vault.record") is not None:
            believed.append(name)
    await connection.execute(_CONTEXT_OF, "")
    notes.check(
        f"set {len(forged)} forged contexts for B",
        held=not believed,
        seen="each was refused (SQLSTATE 42501)" if not believed else f"believed: {', '.join(believed)}",
    )


async def _as_tenant_a(live: Stage, connection: Connection, notes: Notes, tables: list[str]) -> None:
    """Hold A's own valid context, as SQL injected into a request of A's would, and look for rows of anybody else."""
    token = live.context_token(live.a.id, connection)
    await connection.execute(_CONTEXT_OF, token)
    seen, readable = [], 0
    for name in tables:
        others = await _rows(connection, name, "tenant_id IS DISTINCT FROM $1", live.a.id)
        readable += others is not None
        if others:
            seen.append(name)
    held = await _held_by(live, live.b.id, tables)
    notes.check(
        f"read all {len(tables)} tenant tables with A's context, for rows that are not A's",
        held=not seen and readable > 0,
        seen=f"no such row in the {readable} that the application may read; B has rows in {held}"
        if not seen
        else f"rows in: {', '.join(seen)}",
    )
    own = await _rows(connection, "vault.collection", "tenant_id = $1", live.a.id)
    notes.check("positive control: A's own rows under A's context", held=bool(own), seen=f"{own or 0} rows")
    written = await _refused(
        connection,
        "INSERT INTO vault.counter (tenant_id, next) VALUES ($1, 1)",
        live.b.id,
    )
    notes.check("wrote a row into B with A's context", held=written, seen="refused" if written else "it was taken")
    async with live.as_role("wk_app") as another:
        await another.execute(_CONTEXT_OF, token)
        stolen = await _rows(another, "vault.record") is None
    notes.check("used A's context on another backend", held=stolen, seen="refused" if stolen else "it was believed")


async def _held_by(live: Stage, tenant: UUID, tables: list[str]) -> str:
    """Return in how many of `tables` the tenant has rows, as the superuser sees it."""
    try:
        async with live.as_superuser() as connection:
            counts = [await _rows(connection, name, "tenant_id = $1", tenant) for name in tables]
    except Unseen:
        return "tables that only their superuser could count"
    return f"{sum(bool(count) for count in counts)} of the {len(tables)}"


async def _injections(connection: Connection, notes: Notes) -> None:
    done = [name for name, sql in _INJECTIONS if not await _refused(connection, sql)]
    notes.check(
        f"injected {len(_INJECTIONS)} statements into the application's session",
        held=not done,
        seen="each was refused" if not done else f"possible: {', '.join(done)}",
    )


async def _rows(connection: Connection, table: str, condition: str = "true", *values: object) -> int | None:
    """Return how many rows of `table` (a name from the catalogue) are seen, or None where the database refuses.

    A context that is no token at all may be refused as data, before anybody asks whose it is.
    """
    try:
        # The name comes from PostgreSQL's own catalogue, quoted by format(%I); the condition is a literal of ours.
        count: int = await connection.fetchval(f"SELECT count(*) FROM {table} WHERE {condition}", *values)  # noqa: S608
    except (asyncpg.InsufficientPrivilegeError, asyncpg.DataError):
        return None
    return count


async def _refused(connection: Connection, sql: str, *values: object) -> bool:
    """Try a statement inside a transaction that is rolled back; say whether the database refused it."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(sql, *values)
    except asyncpg.PostgresError:
        return True
    else:
        return False
    finally:
        await transaction.rollback()


def _http(status: int) -> str:
    return f"HTTP {status}"


PROBE = Probe(claim="access.tenant_wall", where=Where.LIVE, run=run)
