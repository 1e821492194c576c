"""A house with a gate in it, and batched functions of the tests' own that misbehave when told to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import orjson

from database import Database
from wellkeep.access.roles import load
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import LedgerUnavailable
from wellkeep.base.ids import uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.principal import ActorType, AuthMethod, Principal
from wellkeep.base.purpose import Purpose
from wellkeep.base.secrets import Secret
from wellkeep.db.connection import Record
from wellkeep.db.pool import Limits, Pool
from wellkeep.findings.findings import Findings
from wellkeep.gate.acts import Act, Caller
from wellkeep.gate.calls import BatchedSql, Row
from wellkeep.gate.gate import Gate
from wellkeep.gate.policy import Policy
from wellkeep.ledger.event import Action, PreparedEvent
from wellkeep.ledger.seal import SealKey
from wellkeep.ledger.splice import Appended
from wellkeep.ledger.writer import LedgerWriter

SLOW = 1.0
"""How long a slow one takes, in seconds."""
SCHEMA = """
CREATE SCHEMA trial;
GRANT USAGE ON SCHEMA trial TO wk_app;
CREATE SEQUENCE trial.tries;
GRANT ALL ON SEQUENCE trial.tries TO wk_app;
CREATE TABLE trial.note (tenant_id uuid, id uuid, body text, PRIMARY KEY (tenant_id, id));
CALL wk.protect('trial.note', 'wk_app');
GRANT SELECT, INSERT ON trial.note TO wk_app;
CREATE TYPE trial.read_in AS (token text, credential uuid, id uuid, mood text);
CREATE TYPE trial.write_in AS (
  token text, credential uuid, id uuid, body text, mood text, event_id uuid, event bytea);
GRANT USAGE ON TYPE trial.read_in, trial.write_in TO wk_app;

CREATE PROCEDURE trial.suffer(mood text) LANGUAGE plpgsql AS $$
BEGIN
  CASE mood
    WHEN 'poison' THEN RAISE EXCEPTION 'a value: 999-12-3456' USING ERRCODE = '22012';
    WHEN 'wall' THEN RAISE EXCEPTION 'no context' USING ERRCODE = '42501';
    WHEN 'full' THEN RAISE EXCEPTION 'disk full' USING ERRCODE = '53100';
    WHEN 'twice' THEN
      IF nextval('trial.tries') < 3 THEN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END IF;
    WHEN 'always' THEN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01';
    WHEN 'die' THEN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(5);
    WHEN 'die_alone' THEN
      IF nextval('trial.tries') = 1 THEN RAISE EXCEPTION 'first' USING ERRCODE = '22012'; END IF;
      PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(5);
    WHEN 'slow_poison' THEN PERFORM pg_sleep(1.0); RAISE EXCEPTION 'late' USING ERRCODE = '22012';
    WHEN 'slow' THEN PERFORM pg_sleep(1.0);
    ELSE NULL;
  END CASE;
END $$;
GRANT EXECUTE ON PROCEDURE trial.suffer(text) TO wk_app;

CREATE FUNCTION trial.read_batch(elements trial.read_in[])
RETURNS TABLE (i integer, status text, tenant_id uuid, id uuid, body text) LANGUAGE plpgsql AS $$
DECLARE element trial.read_in; place integer := 0;
BEGIN
  FOREACH element IN ARRAY elements LOOP
    place := place + 1;
    PERFORM wk.enter(element.token);
    CALL trial.suffer(element.mood);
    IF NOT access.stands(element.credential) THEN
      RETURN QUERY SELECT place, 'revoked', NULL::uuid, NULL::uuid, NULL::text;
    ELSIF element.mood = 'astray' THEN
      RETURN QUERY SELECT place + 64, 'ok', NULL::uuid, NULL::uuid, NULL::text;
    ELSE
      RETURN QUERY SELECT place, 'ok', n.tenant_id, n.id, n.body FROM trial.note n WHERE n.id = element.id;
    END IF;
  END LOOP;
END $$;
CREATE FUNCTION trial.write_batch(elements trial.write_in[])
RETURNS TABLE (i integer, status text) LANGUAGE plpgsql AS $$
DECLARE element trial.write_in; place integer := 0;
BEGIN
  FOREACH element IN ARRAY elements LOOP
    place := place + 1;
    PERFORM wk.enter(element.token);
    CALL trial.suffer(element.mood);
    IF NOT access.stands(element.credential) THEN
      RETURN QUERY SELECT place, 'revoked';
    ELSIF element.mood IN ('conflict', 'replay') THEN
      RETURN QUERY SELECT place, element.mood;
    ELSIF element.mood <> 'mute' THEN
      INSERT INTO trial.note VALUES (wk.tenant(), element.id, element.body);
      INSERT INTO ledger.outbox (tenant_id, event_id, event) VALUES (wk.tenant(), element.event_id, element.event);
      RETURN QUERY SELECT place, 'ok';
    END IF;
  END LOOP;
END $$;
GRANT EXECUTE ON FUNCTION trial.read_batch(trial.read_in[]), trial.write_batch(trial.write_in[]) TO wk_app;
"""

READ = BatchedSql("trial.read", "SELECT * FROM trial.read_batch($1::trial.read_in[])", "read")
WRITE = BatchedSql("trial.write", "SELECT * FROM trial.write_batch($1::trial.write_in[])", "write")


@dataclass(frozen=True)
class ReadNote:
    id: UUID
    mood: object = "well"
    credential: UUID | None = None
    batch: BatchedSql = READ

    def row(self, token: str) -> Row:
        return (token, self.credential, self.id, self.mood)


@dataclass(frozen=True)
class WriteNote:
    id: UUID
    body: str = "a note"
    mood: str = "well"
    credential: UUID | None = None
    batch: BatchedSql = WRITE

    def row(self, token: str, event_id: UUID, event: bytes) -> Row:
        if self.mood == "unwritable":
            raise ValueError(self.body)
        return (token, self.credential, self.id, self.body, self.mood, event_id, event)


class StubbornWriter(LedgerWriter):
    """The real writer, whose ledger can be made to refuse, as an outage of it would."""

    refusing = False
    hold: tuple[UUID, float] | None = None

    @property
    def healthy(self) -> bool:
        return super().healthy and not self.refusing

    async def append(self, tenant: UUID, events: Sequence[PreparedEvent], *, outbox: bool = False) -> list[Appended]:
        if self.refusing:
            raise LedgerUnavailable
        return await super().append(tenant, events, outbox=outbox)

    async def drain_outbox(self, *, older_than: float = 0.0) -> int:
        if self.refusing:
            raise LedgerUnavailable
        return await super().drain_outbox(older_than=older_than)

    def outbox_age(self, tenant: UUID) -> float:
        if self.hold is not None and self.hold[0] == tenant:
            return self.hold[1]
        return super().outbox_age(tenant)


@dataclass
class House:
    database: Database
    pool: Pool
    auth_pool: Pool
    writer: StubbornWriter
    gate: Gate
    findings: Findings
    clock: SystemClock = field(default_factory=SystemClock)

    async def entries(self, tenant: UUID) -> list[Record]:
        """Return the entries of a tenant's log, oldest first."""
        async with self.database.entered(tenant) as connection:
            rows: list[Record] = await connection.fetch("SELECT * FROM ledger.entry ORDER BY seq")
        return rows

    async def events(self, tenant: UUID) -> list[dict[str, object]]:
        """Return the events of a tenant's log, oldest first, without the one that opened it."""
        events = [orjson.loads(row["entry"])["event"] for row in await self.entries(tenant)]
        return [event for event in events if event["action"] != "log.opened"]

    async def put(self, tenant: UUID, note: UUID, body: str) -> None:
        async with self.database.entered(tenant) as connection:
            await connection.execute("INSERT INTO trial.note VALUES ($1, $2, $3)", tenant, note, body)

    async def notes(self, tenant: UUID) -> dict[UUID, str]:
        async with self.database.entered(tenant) as connection:
            return {row["id"]: row["body"] for row in await connection.fetch("SELECT id, body FROM trial.note")}

    async def outbox(self) -> int:
        async with self.database.connect() as connection:
            count: int = await connection.fetchval("SELECT count(*) FROM ledger.outbox")
        return count


@asynccontextmanager
async def house(database: Database, *, connections: int = 8) -> AsyncIterator[House]:
    """Open everything that a gate stands on, over the test's own database."""
    clock = SystemClock()
    async with database.connect() as connection:
        if not await connection.fetchval("SELECT to_regnamespace('trial') IS NOT NULL"):
            await connection.execute(SCHEMA)
    limits = Limits(min_size=0, max_size=connections, command_seconds=5.0, acquire_seconds=5.0)
    async with (
        database.pool("wk_app", limits=limits) as pool,
        database.pool("wk_auth") as auth_pool,
        database.pool("wk_ledger") as ledger_pool,
    ):
        findings = Findings(pool)
        seal = SealKey("test", Secret(bytes(32)))
        writer = StubbornWriter(ledger_pool, host="localhost", seal_key=seal, clock=clock, reporter=findings)
        await writer.start()
        gate = Gate(pool=pool, writer=writer, policy=Policy(load()), findings=findings, clock=clock)
        try:
            yield House(database, pool, auth_pool, writer, gate, findings)
        finally:
            await gate.stop()
            await writer.stop()
            await findings.stop()


def caller(
    tenant: UUID,
    *roles: str,
    purpose: Purpose | None = None,
    credential: UUID | None = None,
    scopes: frozenset[Permission] | None = None,
) -> Caller:
    """Return a caller with an API key's principal of `tenant`."""
    principal = Principal(
        type=ActorType.API_KEY,
        id=str(credential or uuid7()),
        tenant=tenant,
        roles=roles or ("integration",),
        method=AuthMethod.API_KEY,
        credential=credential,
        scopes=scopes,
    )
    return Caller(principal, purpose, uuid7(), "192.0.2.7", "0123456789abcdef")


def reading(note: UUID | None = None) -> Act:
    return Act(Permission.RECORD_READ, Action.RECORD_READ, "record", None if note is None else str(note))


def writing(note: UUID | None = None) -> Act:
    return Act(Permission.RECORD_CREATE, Action.RECORD_CREATE, "record", None if note is None else str(note))
