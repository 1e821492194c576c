"""Who did what to whom, found page by page, in one's own tenant alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from database import Database
from ledger.making import ACTOR, SetClock, prepared, writing
from wellkeep.base.ids import uuid7
from wellkeep.ledger.actions import Action
from wellkeep.ledger.search import Filters, Found, Place, search

OTHER = "0198d7b2-0000-7000-8000-0000000000bb"


async def found(
    database: Database, tenant: UUID, *, before: Place | None = None, limit: int = 200, **filters: Any
) -> list[Found]:
    async with database.entered(tenant) as connection:
        return (await search(connection, Filters(**filters), before=before, limit=limit)).entries


def seqs(entries: list[Found]) -> list[int]:
    return [each.place.seq for each in entries]


async def test_filters_pages_and_walls(database: Database, tenant: UUID, other_tenant: UUID) -> None:
    subject, clock = uuid7(), SetClock()
    async with writing(database, clock=clock) as writer:
        clock.off = timedelta(minutes=-4)
        await writer.append(tenant, prepared(3))
        clock.off = timedelta()
        between = clock.now() - timedelta(minutes=1)
        await writer.append(tenant, prepared(2, subject=subject))
        await writer.append(tenant, prepared(1, actor_id=OTHER, action=Action.RECORD_CHANGE))
        await writer.append(tenant, prepared(1, subject=None, subjects=(uuid7(), subject)))
        await writer.append(other_tenant, prepared(2, subject=subject))
    assert seqs(await found(database, tenant)) == [7, 6, 5, 4, 3, 2, 1, 0]
    assert seqs(await found(database, tenant, limit=2, before=Place(1, 6))) == [5, 4]
    assert seqs(await found(database, tenant, actor=ACTOR, before=Place(1, 5))) == [4, 3, 2, 1]
    assert seqs(await found(database, tenant, actor=OTHER, action=Action.RECORD_CHANGE)) == [6]
    assert seqs(await found(database, tenant, actor=ACTOR, action=Action.RECORD_CHANGE)) == []
    assert seqs(await found(database, tenant, action=Action.RECORD_CHANGE)) == [6]
    assert seqs(await found(database, tenant, subject=subject)) == [7, 5, 4]
    assert seqs(await found(database, tenant, subject=subject, limit=1, before=Place(1, 7))) == [5]
    assert seqs(await found(database, tenant, subject=subject, limit=2)) == [7, 5]
    assert seqs(await found(database, tenant, subject=subject, actor=OTHER)) == []
    assert seqs(await found(database, tenant, since=between)) == [7, 6, 5, 4]
    assert seqs(await found(database, tenant, since=clock.now() + timedelta(hours=1))) == []
    assert len(await found(database, other_tenant, subject=subject)) == 2
    entry = (await found(database, tenant, limit=0))[0]
    assert entry.entry.startswith(b'{"event":{"action":"record.read"')
    assert len(entry.leaf) == 32


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO ledger.entry SELECT * FROM ledger.entry",
        "UPDATE ledger.entry SET seq = 1",
        "DELETE FROM ledger.entry",
        "SELECT * FROM ledger.seal",
        "DELETE FROM ledger.outbox",
        "SELECT * FROM ledger.heads('{}')",
        "SELECT * FROM ledger.append_batch('{}', '{}', '{}', '{}')",
        "INSERT INTO ledger.outbox VALUES (wk.tenant(), wk.platform(), decode(repeat('00', 40), 'hex'), 'epoch')",
        "INSERT INTO ledger.outbox (tenant_id, event_id, event) SELECT wk.platform(), wk.platform(), sha256('')||'{}'",
    ],
)
async def test_the_application_can_only_read_and_leave_in_the_outbox(
    database: Database, tenant: UUID, statement: str
) -> None:
    async with database.entered(tenant) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)


@pytest.mark.parametrize("table", ["log", "entry", "seal", "entry_subject", "outbox"])
async def test_the_writers_role_touches_no_table(database: Database, table: str) -> None:
    async with database.connect("wk_ledger") as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch(f"SELECT * FROM ledger.{table}")  # noqa: S608 -- names above
