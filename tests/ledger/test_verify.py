"""What verification covers, says, and costs no more than it must."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from database import Database
from ledger.making import KEYS, SetClock, change, into_outbox, prepared, verified, writing
from wellkeep.ledger import verify_log
from wellkeep.ledger.report import HOLDS, What
from wellkeep.ledger.verify import verify


async def test_an_empty_ledger_holds(database: Database) -> None:
    report = await verified(database)
    assert (report.exit_code, report.first_bad, report.logs) == (HOLDS, None, 0)


async def test_counts_progress_and_chunks(database: Database, tenant: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_log, "CHUNK", 7)
    async with writing(database) as writer:
        for _ in range(5):
            await writer.append(tenant, prepared(4))
        await into_outbox(database, tenant, prepared())
        told: list[tuple[str, int, int]] = []
        report = await verified(database, progress=lambda log, done, size: told.append((log, done, size)))
    assert report.ok
    assert (report.logs, report.entries, report.seals) == (2, 23, 6)
    assert report.outbox_seconds > 0
    assert told[-1][1:] == (21, 21)
    assert [done for log, done, _ in told if str(tenant) in log] == [7, 14, 21, 21]


async def test_since_reads_the_content_of_what_came_later(database: Database, tenant: UUID) -> None:
    clock = SetClock()
    async with writing(database, clock=clock) as writer:
        clock.off = timedelta(minutes=-4)
        await writer.append(tenant, prepared(6))
        clock.off = timedelta()
        since = clock.now() - timedelta(minutes=1)
        await writer.append(tenant, prepared(6))
    assert (await verified(database, since=since)).ok
    await change(database, "UPDATE ledger.entry SET actor = 'x' WHERE tenant_id = $1 AND seq = 2", tenant)
    assert (await verified(database, since=since)).ok
    await change(database, "UPDATE ledger.entry SET leaf = sha256(leaf) WHERE tenant_id = $1 AND seq = 2", tenant)
    report = await verified(database, since=since)
    assert report.first_bad is not None
    assert (report.first_bad.seq, report.first_bad.what) == (0, What.SEAL)
    await change(database, "DELETE FROM ledger.entry WHERE tenant_id = $1 AND seq = 2", tenant)
    report = await verified(database, since=since)
    assert report.first_bad is not None
    assert (report.first_bad.seq, report.first_bad.what) == (2, What.SEQ)


async def test_the_application_can_not_verify(database: Database) -> None:
    async with database.connect("wk_app") as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await verify(connection, keys=KEYS)
