"""The outbox: what of one tenant can't be chained stops nobody else, and is neither lost nor hidden."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from database import Database
from ledger.making import SEAL_KEY, Reports, SetClock, change, event, into_outbox, prepared, verified, writing
from wellkeep.base.errors import LedgerUnavailable
from wellkeep.base.ids import uuid7
from wellkeep.base.secrets import Secret
from wellkeep.findings.grammar import Kind
from wellkeep.ledger import outbox as outbox_module
from wellkeep.ledger.event import prepare
from wellkeep.ledger.report import What
from wellkeep.ledger.seal import SealKey, log_of

_INSERT = "INSERT INTO ledger.outbox (tenant_id, event_id, event) VALUES ($1, $2, $3)"
_REASONS = "SELECT reason FROM ledger.quarantine WHERE tenant_id = $1 ORDER BY reason"


async def _read(database: Database, sql: str, *arguments: object) -> list[object]:
    async with database.connect() as connection:
        return [row[0] for row in await connection.fetch(sql, *arguments)]


async def _put(database: Database, tenant: UUID, event_id: UUID, encoded: bytes) -> None:
    """Put a row there whose MAC holds."""
    async with database.entered(tenant) as connection:
        await connection.execute(_INSERT, tenant, event_id, SEAL_KEY.outboxed(tenant=tenant, event=encoded))


async def test_a_row_that_is_no_event_goes_to_quarantine_and_stops_nobody(
    database: Database, tenant: UUID, other_tenant: UUID
) -> None:
    reports = Reports()
    good, other = prepared(2)
    await _put(database, tenant, uuid7(), b"{}")
    await _put(database, tenant, uuid7(), other.encoded)
    await into_outbox(database, tenant, [good])
    await into_outbox(database, other_tenant, [other])
    async with writing(database, reports=reports) as writer:
        await writer.drain_outbox(older_than=0.0)
        assert writer.healthy
        assert (writer.outbox_age(tenant), writer.outbox_age(other_tenant)) == (0.0, 0.0)
        await writer.append(tenant, prepared())
    assert reports.kinds == [Kind.LEDGER_BROKEN]
    assert await _read(database, _REASONS, tenant) == ["form", "form"]
    assert await _read(database, "SELECT count(*) FROM ledger.outbox") == [0]
    report = await verified(database)
    assert report.quarantined == 2
    assert [(bad.what, str(tenant) in bad.log, bad.seq) for bad in report.bad] == [(What.QUARANTINE, True, 3)]
    assert (await verified(database, tenant=other_tenant)).ok


async def test_a_row_that_did_not_come_from_the_gate_is_not_chained(
    database: Database, tenant: UUID, other_tenant: UUID
) -> None:
    """Whoever can only write to the database can't have an entry made: neither anew nor from another tenant's row."""
    forged, taken = prepared(2)
    stranger = SealKey(SEAL_KEY.key_id, Secret(bytes(32)))
    async with database.entered(tenant) as connection:
        for each, row in (
            (forged, stranger.outboxed(tenant=tenant, event=forged.encoded)),
            (taken, SEAL_KEY.outboxed(tenant=other_tenant, event=taken.encoded)),
        ):
            await connection.execute(_INSERT, tenant, each.event.id, row)
    async with writing(database) as writer:
        await writer.drain_outbox(older_than=0.0)
    assert await _read(database, _REASONS, tenant) == ["form", "form"]
    assert await _read(database, "SELECT count(*) FROM ledger.entry WHERE tenant_id = $1", tenant) == [0]


async def test_a_row_under_an_older_seal_key_is_chained(database: Database, tenant: UUID) -> None:
    older = SealKey("older", Secret(b"o" * 32))
    [left] = prepared()
    async with database.entered(tenant) as connection:
        await connection.execute(_INSERT, tenant, left.event.id, older.outboxed(tenant=tenant, event=left.encoded))
    async with writing(database, older_keys=[older]) as writer:
        await writer.drain_outbox(older_than=0.0)
    assert await _read(database, "SELECT event_id FROM ledger.entry WHERE event_id = $1", left.event.id)


async def test_an_id_that_stands_for_other_bytes_goes_to_quarantine(database: Database, tenant: UUID) -> None:
    reports = Reports()
    first = event()
    again = prepare(event(id=first.id))
    async with writing(database, reports=reports) as writer:
        await writer.append(tenant, [prepare(first)])
        await into_outbox(database, tenant, [again, *prepared()])
        await writer.drain_outbox(older_than=0.0)
        assert writer.healthy
    assert await _read(database, _REASONS, tenant) == ["taken"]
    assert {"what": "outbox"} in reports.details
    assert await _read(database, "SELECT count(*) FROM ledger.outbox") == [0]


async def test_quarantine_takes_no_row_that_could_be_chained(database: Database, tenant: UUID) -> None:
    [waiting] = prepared()
    await into_outbox(database, tenant, [waiting])
    async with database.connect("wk_ledger") as connection:
        moved = await connection.fetch("SELECT * FROM ledger.quarantine($1, 'taken')", [(tenant, waiting.event.id)])
    assert moved == []
    assert await _read(database, "SELECT count(*) FROM ledger.outbox") == [1]


async def test_of_a_log_that_nobody_opened_quarantine_is_told_too(database: Database, tenant: UUID) -> None:
    await _put(database, tenant, uuid7(), b"{}")
    async with writing(database) as writer:
        await writer.drain_outbox(older_than=0.0)
    report = await verified(database)
    # No head says the host; the name is one of ours all the same, and leads back to the tenant.
    assert [(bad.log, bad.seq, bad.what) for bad in report.bad] == [
        (f"localhost/ledger/{tenant}/1", 0, What.QUARANTINE)
    ]
    assert log_of(report.bad[0].log) == (tenant, 1)


async def test_a_head_ahead_of_the_clock_stops_its_tenant_alone(
    database: Database, tenant: UUID, other_tenant: UUID
) -> None:
    clock, reports = SetClock(), Reports()
    async with writing(database, clock=clock, reports=reports) as writer:
        await writer.append(tenant, prepared())
        await writer.append(other_tenant, prepared())
        await change(
            database, 'UPDATE ledger.log SET "time" = "time" + interval \'1 hour\' WHERE tenant_id = $1', tenant
        )
    async with writing(database, clock=clock, reports=reports) as writer:
        await into_outbox(database, tenant, prepared(3))
        await into_outbox(database, other_tenant, prepared(3))
        assert await writer.drain_outbox(older_than=0.0) == 3
        assert writer.healthy
        assert writer.outbox_age(tenant) > 0.0
        assert writer.outbox_age(other_tenant) == 0.0
    assert set(reports.kinds) == {Kind.LEDGER_CLOCK}


async def test_a_head_that_only_the_database_refuses_stops_its_tenant_alone(
    database: Database, tenant: UUID, other_tenant: UUID
) -> None:
    """Our clock is a little ahead, the head a little more: each within bounds, both together not."""
    clock, reports = SetClock(), Reports()
    async with writing(database, clock=clock, reports=reports) as writer:
        await writer.append(tenant, prepared())
        await writer.append(other_tenant, prepared())
        await change(
            database, 'UPDATE ledger.log SET "time" = "time" + interval \'7 minutes\' WHERE tenant_id = $1', tenant
        )
        clock.off = timedelta(minutes=3)
    async with writing(database, clock=clock, reports=reports) as writer:
        await into_outbox(database, tenant, prepared(2))
        await into_outbox(database, other_tenant, prepared(2))
        assert await writer.drain_outbox(older_than=0.0) == 2
        assert writer.healthy
    assert set(reports.kinds) == {Kind.LEDGER_CLOCK}


@pytest.mark.parametrize("seen", [True, False], ids=["by one that wrote to it", "by one that is new"])
async def test_a_log_that_is_gone_stops_its_tenant_alone(
    database: Database, tenant: UUID, other_tenant: UUID, *, seen: bool
) -> None:
    reports = Reports()
    async with writing(database, reports=reports) as writer, writing(database) as other:
        await (writer if seen else other).append(tenant, prepared())
        await other.stop()
        await change(database, "DELETE FROM ledger.log WHERE tenant_id = $1", tenant)
        await into_outbox(database, tenant, prepared(2))
        await into_outbox(database, other_tenant, prepared(2))
        assert await writer.drain_outbox(older_than=0.0) == 2
        with pytest.raises(LedgerUnavailable):
            await writer.append(tenant, prepared())
        assert writer.healthy
        await change(database, "DELETE FROM ledger.entry WHERE tenant_id = $1", tenant)
        with pytest.raises(LedgerUnavailable):
            await writer.append(tenant, prepared())
        await writer.append(other_tenant, prepared())
    assert {"what": "behind" if seen else "log"} in reports.details


async def test_a_root_log_that_is_gone_stops_everybody(database: Database, tenant: UUID, other_tenant: UUID) -> None:
    reports = Reports()
    async with writing(database, reports=reports) as writer:
        await writer.append(tenant, prepared())
    await change(database, "DELETE FROM ledger.log WHERE tenant_id <> $1", tenant)
    async with writing(database, reports=reports) as writer:
        with pytest.raises(LedgerUnavailable):
            await writer.append(other_tenant, prepared())
        assert not writer.healthy


async def test_many_rows_of_one_tenant_leave_the_others_their_share(
    database: Database, tenant: UUID, other_tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "_ROWS", 6)
    await into_outbox(database, tenant, prepared(20))
    [last] = prepared()
    await into_outbox(database, other_tenant, [last])
    async with database.connect("wk_ledger") as connection:
        rows = await connection.fetch(
            "SELECT tenant_id FROM ledger.outbox_leftovers(clock_timestamp(), 6, '{}'::uuid[])"
        )
        assert other_tenant in {row["tenant_id"] for row in rows}
    async with writing(database) as writer:
        await writer.append(tenant, prepared())
    assert await _read(database, "SELECT count(*) FROM ledger.outbox") == [0]
    assert (await verified(database)).ok


async def test_one_drains_at_a_time(database: Database, tenant: UUID) -> None:
    async with writing(database) as writer:
        await writer.drain_outbox()  # a writer drains at its start; that one is over now
        await into_outbox(database, tenant, prepared(3))
        async with database.connect("wk_ledger") as other, other.transaction():
            assert await other.fetchval("SELECT ledger.take_drain()")
            assert await writer.drain_outbox(older_than=0.0) == 0
        assert await writer.drain_outbox(older_than=0.0) == 3


async def test_a_drain_that_fails_says_so(database: Database, tenant: UUID) -> None:
    function = "ON FUNCTION ledger.outbox_leftovers(timestamptz, integer, uuid[])"
    async with writing(database) as writer:
        await writer.append(tenant, prepared())
        await change(database, f"REVOKE EXECUTE {function} FROM wk_ledger")
        with pytest.raises(LedgerUnavailable):
            await writer.drain_outbox()
        assert not writer.healthy
        await change(database, f"GRANT EXECUTE {function} TO wk_ledger")
        assert await writer.drain_outbox() == 0
        assert writer.healthy
