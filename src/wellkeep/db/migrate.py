"""The migration runner: what the schema is, is what was reviewed.

Rules: numbered pairs of SQL files, applied in order under an advisory lock, each in one transaction, as `wk_owner`. The
database keeps the hash of each file and chains them (chain n = SHA-256 of chain n-1, number, name, up, down), so an
edited, missing or unknown migration is found at start and named, whoever edited it where. The threat is a schema that
drifts from the reviewed one: a policy that somebody dropped from an old file, a newer database under an older program.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files

import asyncpg

from wellkeep.base.errors import Misconfigured
from wellkeep.db.connection import Connection

_LOCK_KEY = 0x776B_6D69  # "wkmi"
_LOCK_SECONDS = "60s"
_GENESIS = bytes(32)
_FILE = re.compile(r"(?P<number>\d{4})_(?P<name>[a-z][a-z0-9_]*)\.(?P<direction>up|down)\.sql")

_BOOTSTRAP = """
CREATE SCHEMA wk;
CREATE TABLE wk.migration (
  number integer PRIMARY KEY CHECK (number > 0),
  name text NOT NULL UNIQUE,
  up_sha256 bytea NOT NULL CHECK (length(up_sha256) = 32),
  down_sha256 bytea NOT NULL CHECK (length(down_sha256) = 32),
  chain_sha256 bytea NOT NULL CHECK (length(chain_sha256) = 32),
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE wk.migration IS 'The migrations applied here, hash-chained; compared with the program at every start.';
GRANT USAGE ON SCHEMA wk TO wk_migrate, wk_app, wk_ledger, wk_auth, wk_jobs, wk_backup;
GRANT SELECT ON wk.migration TO wk_migrate, wk_app, wk_ledger, wk_auth, wk_jobs, wk_backup;
"""
_BOOTSTRAPPED = "SELECT to_regclass('wk.migration') IS NOT NULL"
_BECOME_OWNER = "SET LOCAL ROLE wk_owner"
_LIMITS = "SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = 0; SET LOCAL search_path = pg_catalog, pg_temp"
_SET_LOCK_TIMEOUT = "SELECT set_config('lock_timeout', $1, false)"
_LOCK = "SELECT pg_advisory_lock($1)"
_UNLOCK = "SELECT pg_advisory_unlock($1)"
_APPLIED = "SELECT number, name, up_sha256, down_sha256, chain_sha256 FROM wk.migration ORDER BY number"
_RECORD = "INSERT INTO wk.migration (number, name, up_sha256, down_sha256, chain_sha256) VALUES ($1, $2, $3, $4, $5)"
_FORGET = "DELETE FROM wk.migration WHERE number = $1"


class State(StrEnum):
    """How a migration of the program and of the database relate."""

    APPLIED = "applied"
    PENDING = "pending"
    EDITED = "edited"
    MISSING = "missing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Migration:
    """One pair of files; `number` orders them."""

    number: int
    name: str
    up: str
    down: str

    @property
    def label(self) -> str:
        """The file's stem, as people know it."""
        return f"{self.number:04d}_{self.name}"

    @property
    def up_sha256(self) -> bytes:
        """SHA-256 of the up file's bytes."""
        return hashlib.sha256(self.up.encode()).digest()

    @property
    def down_sha256(self) -> bytes:
        """SHA-256 of the down file's bytes."""
        return hashlib.sha256(self.down.encode()).digest()


@dataclass(frozen=True, slots=True)
class Status:
    """A migration and its state here."""

    number: int
    name: str
    state: State

    @property
    def label(self) -> str:
        """The file's stem, as people know it."""
        return f"{self.number:04d}_{self.name}"


def packaged() -> tuple[Migration, ...]:
    """Return the migrations of this program, in order.

    Raises Misconfigured where a file is misnamed, a number is used twice or one of a pair is missing.
    """
    texts: dict[tuple[int, str], dict[str, str]] = {}
    for entry in files("wellkeep.db.migrations").iterdir():
        if not entry.name.endswith(".sql"):
            continue
        found = _FILE.fullmatch(entry.name)
        if found is None:
            raise Misconfigured(f"{entry.name} is not named like a migration: NNNN_name.up.sql")
        key = (int(found["number"]), found["name"])
        texts.setdefault(key, {})[found["direction"]] = entry.read_text(encoding="utf-8")
    migrations = []
    for (number, name), pair in sorted(texts.items()):
        if set(pair) != {"up", "down"}:
            raise Misconfigured(f"Migration {number:04d}_{name} lacks its up or its down file.")
        migrations.append(Migration(number=number, name=name, up=pair["up"], down=pair["down"]))
    if len({migration.number for migration in migrations}) != len(migrations):
        raise Misconfigured("Two migrations have the same number.")
    return tuple(migrations)


def chain(previous: bytes, number: int, name: str, up_sha256: bytes, down_sha256: bytes) -> bytes:
    """Return the chain hash after a migration: SHA-256(previous, number as u32, name, NUL, up hash, down hash)."""
    return hashlib.sha256(
        previous + number.to_bytes(4, "big") + name.encode() + b"\x00" + up_sha256 + down_sha256
    ).digest()


async def status(connection: Connection, migrations: Sequence[Migration] | None = None) -> list[Status]:
    """Return the state of each migration that the program or the database knows, in order."""
    known = packaged() if migrations is None else migrations
    return _compare(known, await _applied(connection))


async def assert_current(connection: Connection, migrations: Sequence[Migration] | None = None) -> None:
    """Raise Misconfigured unless exactly the program's migrations are applied, naming the first that differs."""
    states = await status(connection, migrations)
    _refuse_divergence(states)
    pending = [entry for entry in states if entry.state is State.PENDING]
    if pending:
        raise Misconfigured(
            f"Migration {pending[0].label} has not been applied to this database. Run `wellkeep db migrate`."
        )


async def migrate(
    connection: Connection, *, to: int | None = None, migrations: Sequence[Migration] | None = None
) -> list[Migration]:
    """Apply what is pending, up to and including number `to`, and return what was applied.

    `connection` is `wk_migrate`'s (or an administrator's). Doing it again applies nothing. Raises Misconfigured on an
    edited, missing or unknown migration; a migration that fails leaves the ones before it applied and itself undone.
    """
    known = packaged() if migrations is None else migrations
    async with _exclusive(connection):
        if not await connection.fetchval(_BOOTSTRAPPED):
            async with _as_owner(connection):
                await connection.execute(_BOOTSTRAP)
        applied = await _applied(connection)
        _refuse_divergence(_compare(known, applied))
        done = {row["number"] for row in applied}
        head = bytes(applied[-1]["chain_sha256"]) if applied else _GENESIS
        pending = [entry for entry in known if entry.number not in done and (to is None or entry.number <= to)]
        for migration in pending:
            up, down = migration.up_sha256, migration.down_sha256
            head = chain(head, migration.number, migration.name, up, down)
            async with _as_owner(connection):
                await _run(connection, migration.up, migration.label)
                await connection.execute(_RECORD, migration.number, migration.name, up, down, head)
    return pending


async def rollback(
    connection: Connection,
    *,
    steps: int | None = None,
    to: int | None = None,
    migrations: Sequence[Migration] | None = None,
) -> list[Migration]:
    """Undo the last `steps` migrations, or all above number `to`, newest first, and return them.

    Raises Misconfigured unless exactly one of the two is given, or where the database diverges from the program.
    """
    if (steps is None) == (to is None):
        raise Misconfigured("Say either how many migrations to undo, or the number to go back to.")
    known = packaged() if migrations is None else migrations
    async with _exclusive(connection):
        applied = await _applied(connection)
        _refuse_divergence(_compare(known, applied))
        done = {row["number"] for row in applied}
        newest_first = [entry for entry in reversed(known) if entry.number in done]
        undone = newest_first[:steps] if to is None else [entry for entry in newest_first if entry.number > to]
        for migration in undone:
            async with _as_owner(connection):
                await _run(connection, migration.down, migration.label)
                await connection.execute(_FORGET, migration.number)
    return undone


async def _run(connection: Connection, sql: str, label: str) -> None:
    """Run one file. A migration holds no data of anybody's, so the server's message may be shown."""
    try:
        await connection.execute(sql)
    except asyncpg.PostgresError as error:
        raise Misconfigured(f"Migration {label} failed and was undone: {error.sqlstate} {error.args[0]}") from None


async def _applied(connection: Connection) -> list[asyncpg.Record]:
    if not await connection.fetchval(_BOOTSTRAPPED):
        return []
    return await connection.fetch(_APPLIED)


def _compare(known: Iterable[Migration], applied: Sequence[asyncpg.Record]) -> list[Status]:
    program = {migration.number: migration for migration in known}
    newest = applied[-1]["number"] if applied else 0
    states: dict[int, Status] = {}
    head = _GENESIS
    for row in applied:
        number, name, up, down = row["number"], row["name"], bytes(row["up_sha256"]), bytes(row["down_sha256"])
        head = chain(head, number, name, up, down)
        ours = program.get(number)
        if ours is None:
            state = State.UNKNOWN
        elif (ours.name, ours.up_sha256, ours.down_sha256, head) != (name, up, down, bytes(row["chain_sha256"])):
            state = State.EDITED
        else:
            state = State.APPLIED
        states[number] = Status(number=number, name=name, state=state)
    for migration in program.values():
        if migration.number not in states:
            state = State.PENDING if migration.number > newest else State.MISSING
            states[migration.number] = Status(number=migration.number, name=migration.name, state=state)
    return [states[number] for number in sorted(states)]


_DIVERGENCE = {
    State.EDITED: "was edited after it was applied. Put the released file (or the database's row) back; a change of "
    "the schema is a new migration.",
    State.MISSING: "is missing in this database, though a later one is applied. Restore the database from a backup.",
    State.UNKNOWN: "is applied to this database but unknown to this program. Run the newer wellkeep that applied it, "
    "or roll it back with that one (`wellkeep db rollback`).",
}


def _refuse_divergence(states: Iterable[Status]) -> None:
    for entry in states:
        if entry.state in _DIVERGENCE:
            raise Misconfigured(f"Migration {entry.label} {_DIVERGENCE[entry.state]}")


@asynccontextmanager
async def _as_owner(connection: Connection) -> AsyncIterator[None]:
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(_LIMITS)
        await connection.execute(_BECOME_OWNER)
        yield


@asynccontextmanager
async def _exclusive(connection: Connection) -> AsyncIterator[None]:
    await connection.execute(_SET_LOCK_TIMEOUT, _LOCK_SECONDS)
    try:
        await connection.execute(_LOCK, _LOCK_KEY)
    except asyncpg.LockNotAvailableError:
        raise Misconfigured("Another process is migrating this database. Wait for it, then try again.") from None
    try:
        yield
    finally:
        await connection.execute(_UNLOCK, _LOCK_KEY)
