"""What the ledger's tests are made of: events, a writer on a real database, a list of what was reported."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from database import Database
from wellkeep.base.clock import Clock, SystemClock
from wellkeep.base.ids import uuid7
from wellkeep.base.principal import ActorType, AuthMethod
from wellkeep.base.secrets import Secret
from wellkeep.db.pool import Limits
from wellkeep.findings.grammar import Kind, Severity
from wellkeep.ledger.actions import Action, Outcome
from wellkeep.ledger.event import Event, PreparedEvent, prepare
from wellkeep.ledger.report import Report
from wellkeep.ledger.seal import SealKey
from wellkeep.ledger.verify import verify
from wellkeep.ledger.writer import LedgerWriter

HOST = "wellkeep.test"
ACTOR = "0198d7b2-0000-7000-8000-0000000000aa"
SEAL_KEY = SealKey("seal-1", Secret(bytes(range(32))))
KEYS = {SEAL_KEY.key_id: SEAL_KEY}


@dataclass
class Reports:
    """A reporter that keeps what it was told."""

    kinds: list[Kind] = field(default_factory=list)
    details: list[Mapping[str, str | int]] = field(default_factory=list)

    def note(self, tenant: UUID, *, kind: Kind, severity: Severity, key: str, detail: Mapping[str, str | int]) -> None:
        assert isinstance(severity, Severity)
        assert tenant.int
        assert key.startswith(kind)
        self.kinds.append(kind)
        self.details.append(detail)


class SetClock(SystemClock):
    """The machine's clock, off by what a test says."""

    def __init__(self) -> None:
        self.off = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.off


def event(**changes: Any) -> Event:
    """Return a read of one record, changed as asked."""
    plain = Event(
        id=uuid7(),
        action=Action.RECORD_READ,
        actor_type=ActorType.API_KEY,
        actor_id=ACTOR,
        roles=("clinician",),
        method=AuthMethod.API_KEY,
        resource_type="patients",
        resource_id=str(uuid7()),
        subject=uuid7(),
        count=1,
        outcome=Outcome.AUTHORISED,
        request=uuid7(),
        rule="role:clinician/record:read",
    )
    return msgspec.structs.replace(plain, **changes)


def prepared(count: int = 1, **changes: Any) -> list[PreparedEvent]:
    """Return `count` different events, ready to be chained."""
    return [prepare(event(**changes)) for _ in range(count)]


@asynccontextmanager
async def writing(
    database: Database,
    *,
    clock: Clock | None = None,
    reports: Reports | None = None,
    seconds: float = 10.0,
    older_keys: Sequence[SealKey] = (),
) -> AsyncIterator[LedgerWriter]:
    """Run a writer on `database`; each of its statements may take `seconds`."""
    limits = Limits(max_size=2, command_seconds=seconds, acquire_seconds=seconds, connect_seconds=seconds)
    async with database.pool("wk_ledger", limits=limits) as pool:
        writer = LedgerWriter(
            pool,
            host=HOST,
            seal_key=SEAL_KEY,
            older_keys=older_keys,
            clock=clock or SystemClock(),
            reporter=reports if reports is not None else Reports(),
        )
        await writer.start()
        try:
            yield writer
        finally:
            await writer.stop()


async def verified(database: Database, **options: Any) -> Report:
    """Verify `database` as the local operator does."""
    async with database.connect("wk_migrate") as connection:
        return await verify(connection, keys=KEYS, **options)


async def change(database: Database, sql: str, *arguments: Any) -> str:
    """Do what the database's administrator can do to it."""
    async with database.connect() as connection:
        return await connection.execute(sql, *arguments)


async def into_outbox(database: Database, tenant: UUID, events: list[PreparedEvent]) -> None:
    """Write the outbox rows of committed changes, as the application does."""
    async with database.entered(tenant) as connection:
        await connection.executemany(
            "INSERT INTO ledger.outbox (tenant_id, event_id, event) VALUES ($1, $2, $3)",
            [(tenant, each.event.id, SEAL_KEY.outboxed(tenant=tenant, event=each.encoded)) for each in events],
        )
