"""Nothing acknowledged is lost, nothing is chained twice, no log forks: the writer's promises on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from database import Database
from ledger.making import HOST, SEAL_KEY, Reports, SetClock, change, into_outbox, prepared, verified, writing
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import LedgerUnavailable, Misconfigured
from wellkeep.base.ids import uuid7
from wellkeep.findings.grammar import Kind
from wellkeep.ledger import writer as writer_module
from wellkeep.ledger.splice import Appended
from wellkeep.ledger.writer import LedgerWriter


async def count(database: Database, sql: str, *arguments: Any) -> int:
    async with database.connect() as connection:
        found: int = await connection.fetchval(sql, *arguments)
        return found


async def test_first_entry_opens_the_log_and_the_root_says_so(database: Database, tenant: UUID) -> None:
    async with writing(database) as writer:
        places = await writer.append(tenant, prepared(3))
        assert [(place.epoch, place.seq) for place in places] == [(1, 1), (1, 2), (1, 3)]
        assert await writer.append(tenant, []) == []
        assert writer.healthy
        assert writer.outbox_age(tenant) == 0.0
    report = await verified(database)
    assert report.ok
    assert (report.logs, report.entries) == (2, 6)
    assert not writer.healthy


async def test_sixty_four_callers_on_eight_writers_make_one_chain(database: Database, tenant: UUID) -> None:
    """No fork: every writer splices for itself, and the head decides."""

    async def caller(writer: LedgerWriter) -> list[Appended]:
        return [place for _ in range(3) for place in await writer.append(tenant, prepared())]

    async def process() -> list[Appended]:
        async with writing(database) as writer:
            return [place for places in await asyncio.gather(*(caller(writer) for _ in range(64))) for place in places]

    places = [place for each in await asyncio.gather(*(process() for _ in range(8))) for place in each]
    assert sorted(place.seq for place in places) == list(range(1, 8 * 64 * 3 + 1))
    assert (await verified(database)).ok


async def test_the_naive_way_forks(database: Database, tenant: UUID) -> None:
    """Negative control: reading the last row `FOR UPDATE` and adding one to it does not serialise."""
    await change(
        database, "CREATE TABLE public.naive (id bigint GENERATED ALWAYS AS IDENTITY, seq bigint, prev bigint)"
    )
    await change(database, "INSERT INTO public.naive (seq, prev) VALUES (0, -1)")

    async def append() -> None:
        async with database.connect() as connection:
            for _ in range(25):
                async with connection.transaction():
                    last = await connection.fetchval("SELECT seq FROM public.naive ORDER BY id DESC LIMIT 1 FOR UPDATE")
                    await connection.execute("INSERT INTO public.naive (seq, prev) VALUES ($1 + 1, $1)", last)

    await asyncio.gather(*(append() for _ in range(8)))
    assert await count(database, "SELECT count(*) - count(DISTINCT prev) FROM public.naive") > 0


async def test_the_same_event_again_keeps_its_place(database: Database, tenant: UUID) -> None:
    events = prepared(3)
    async with writing(database) as writer:
        first = await writer.append(tenant, events[:2])
        again = await writer.append(tenant, [*events, events[2]])
    assert again[:2] == first
    assert again[2] == again[3]
    assert await count(database, "SELECT count(*) FROM ledger.entry WHERE tenant_id = $1", tenant) == 4
    assert (await verified(database)).ok


async def test_the_same_id_with_another_event_is_refused(database: Database, tenant: UUID) -> None:
    reports = Reports()
    event_id = uuid7()
    async with writing(database, reports=reports) as writer:
        await writer.append(tenant, prepared(id=event_id))
        with pytest.raises(LedgerUnavailable):
            await writer.append(tenant, prepared(id=event_id))
        await writer.append(tenant, prepared())
    assert reports.details == [{"what": "event"}]
    assert (await verified(database)).ok


async def test_outbox_rows_are_chained_once_by_two_drainers(database: Database, tenant: UUID) -> None:
    events = prepared(40)
    async with writing(database) as one, writing(database) as two:
        await into_outbox(database, tenant, events)
        await asyncio.gather(
            one.append(tenant, events, outbox=True),
            two.append(tenant, events, outbox=True),
            one.drain_outbox(older_than=0.0),
            two.drain_outbox(older_than=0.0),
        )
    assert await count(database, "SELECT count(*) FROM ledger.outbox") == 0
    assert await count(database, "SELECT count(*) FROM ledger.entry WHERE tenant_id = $1", tenant) == 41
    assert (await verified(database)).ok


async def test_leftovers_are_found_again_at_start(database: Database, tenant: UUID) -> None:
    """However young they are: whoever wrote them may be dead, and changes wait for them."""
    await into_outbox(database, tenant, prepared(700))
    async with writing(database) as writer:
        await writer.append(tenant, prepared())
        assert writer.outbox_age(tenant) == 0.0
    assert await count(database, "SELECT count(*) FROM ledger.entry WHERE tenant_id = $1", tenant) == 702
    assert (await verified(database)).ok


async def test_leftovers_of_another_process_are_chained_before_they_hold_changes_up(
    database: Database, tenant: UUID
) -> None:
    async with writing(database) as writer:
        await writer.append(tenant, prepared())
        await into_outbox(database, tenant, prepared(3))
        ages = []
        while await count(database, "SELECT count(*) FROM ledger.outbox"):
            ages.append(writer.outbox_age(tenant))
            await asyncio.sleep(0.1)
        assert await count(database, "SELECT count(*) FROM ledger.entry WHERE tenant_id = $1", tenant) == 5
    assert len(ages) < 40
    assert (await verified(database)).ok


async def test_an_event_whose_outbox_row_vanished_is_not_chained(database: Database, tenant: UUID) -> None:
    """A change whose row was taken away: no entry is made up, and it is reported."""
    reports = Reports()
    events = prepared(2)
    async with writing(database, reports=reports) as writer:
        await into_outbox(database, tenant, events)
        await change(database, "DELETE FROM ledger.outbox WHERE event_id = $1", events[0].event.id)
        with pytest.raises(LedgerUnavailable):
            await writer.append(tenant, events, outbox=True)
    assert reports.details == [{"what": "outbox"}]
    assert await count(database, "SELECT count(*) FROM ledger.entry WHERE event_id = $1", events[0].event.id) == 0
    assert await count(database, "SELECT count(*) FROM ledger.entry WHERE event_id = $1", events[1].event.id) == 1


async def test_a_cancelled_read_is_skipped_and_a_cancelled_change_is_not(database: Database, tenant: UUID) -> None:
    read, written = prepared(), prepared()
    async with writing(database) as writer:
        await into_outbox(database, tenant, written)
        calls = [
            asyncio.create_task(writer.append(tenant, read)),
            asyncio.create_task(writer.append(tenant, written, outbox=True)),
        ]
        await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await writer.append(tenant, prepared())
    assert await count(database, "SELECT count(*) FROM ledger.entry WHERE event_id = $1", read[0].event.id) == 0
    assert await count(database, "SELECT count(*) FROM ledger.entry WHERE event_id = $1", written[0].event.id) == 1


async def test_a_full_queue_refuses(database: Database, tenant: UUID) -> None:
    async with writing(database) as writer:
        many = prepared(1) * (writer_module.QUEUE_ENTRIES + 1)
        with pytest.raises(LedgerUnavailable) as refused:
            await writer.append(tenant, many)
    assert refused.value.retry_after


async def test_stop_chains_what_is_queued_and_then_refuses(database: Database, tenant: UUID) -> None:
    async with writing(database) as writer:
        calls = [asyncio.create_task(writer.append(tenant, prepared())) for _ in range(1200)]
        await asyncio.sleep(0)
        await writer.stop()
        assert len({places[0].seq for places in await asyncio.gather(*calls)}) == 1200
        with pytest.raises(LedgerUnavailable):
            await writer.append(tenant, prepared())
        with pytest.raises(LedgerUnavailable):
            await writer.drain_outbox()


@pytest.mark.parametrize(
    ("back", "forward"),
    [(timedelta(minutes=6), timedelta(minutes=6)), (timedelta(days=2), timedelta(days=60))],
    ids=["minutes", "days"],
)
async def test_a_clock_that_jumps_is_refused_with_a_finding(
    database: Database, tenant: UUID, back: timedelta, forward: timedelta
) -> None:
    clock, reports = SetClock(), Reports()
    async with writing(database, clock=clock, reports=reports) as writer:
        await writer.append(tenant, prepared())
        clock.off = -back
        with pytest.raises(LedgerUnavailable):
            await writer.append(tenant, prepared())
        clock.off = forward
        with pytest.raises(LedgerUnavailable):
            await writer.append(tenant, prepared())
        clock.off = timedelta(seconds=-3)
        await writer.append(tenant, prepared())
    assert reports.kinds == [Kind.LEDGER_CLOCK, Kind.LEDGER_CLOCK]
    assert (await verified(database)).ok


async def test_a_clock_that_takes_postgresql_s_along_is_refused_all_the_same(database: Database, tenant: UUID) -> None:
    """On one machine both clocks jump together: here PostgreSQL's stands between two that are ours."""
    clock, reports = SetClock(), Reports()
    clock.off = timedelta(minutes=-4)
    async with writing(database, clock=clock, reports=reports) as writer:
        await writer.append(tenant, prepared())
        clock.off = timedelta(minutes=4)  # within PostgreSQL's five minutes, and after the head
        with pytest.raises(LedgerUnavailable):
            await writer.append(tenant, prepared())
        assert writer.healthy
        clock.off = timedelta(minutes=-3)
        await writer.append(tenant, prepared())
    [(kind, detail)] = zip(reports.kinds, reports.details, strict=True)
    assert kind is Kind.LEDGER_CLOCK
    assert 479 <= int(detail["seconds"]) <= 481
    assert (await verified(database)).ok


async def test_a_log_that_is_gone_is_not_opened_again(database: Database, tenant: UUID) -> None:
    reports = Reports()
    async with writing(database, reports=reports) as writer:
        await writer.append(tenant, prepared())
    await change(database, "DELETE FROM ledger.log WHERE tenant_id = $1", tenant)
    async with writing(database, reports=reports) as writer:
        with pytest.raises(LedgerUnavailable):
            await writer.append(tenant, prepared())
    assert {"what": "log"} in reports.details


async def test_only_read_committed_is_appended_to(database: Database, tenant: UUID) -> None:
    await change(database, "ALTER ROLE wk_ledger SET default_transaction_isolation = 'repeatable read'")
    try:
        async with writing(database) as writer:
            with pytest.raises(LedgerUnavailable):
                await writer.append(tenant, prepared())
    finally:
        await change(database, "ALTER ROLE wk_ledger RESET default_transaction_isolation")


async def test_a_lost_connection_is_replaced(database: Database, tenant: UUID) -> None:
    async with writing(database) as writer:
        await writer.append(tenant, prepared())
        await change(
            database,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'wk_ledger' AND datname = $1",
            database.name,
        )
        await asyncio.sleep(0.05)
        outcomes = []
        for _ in range(3):
            try:
                outcomes.append(await writer.append(tenant, prepared()))
            except LedgerUnavailable:
                outcomes.append([])
        assert outcomes[-1]
        assert writer.healthy
    assert (await verified(database)).ok


async def test_a_hanging_database_ends_as_unavailable_and_recovers(database: Database, tenant: UUID) -> None:
    """Whoever holds the head's lock makes the ledger wait; the caller hears of it in time, and nothing is lost."""
    committed = prepared()
    async with writing(database, seconds=2.0) as writer:
        await writer.append(tenant, prepared())
        await into_outbox(database, tenant, committed)
        async with database.connect() as blocker, blocker.transaction():
            await blocker.execute("SELECT FROM ledger.log WHERE tenant_id = $1 FOR UPDATE", tenant)
            with pytest.raises(LedgerUnavailable):
                await writer.append(tenant, committed, outbox=True)
            failed = not writer.healthy
        assert failed
        for _ in range(600):
            await asyncio.sleep(0.1)
            if writer.healthy and not await count(database, "SELECT count(*) FROM ledger.outbox"):
                break
        assert writer.healthy
        assert await count(database, "SELECT count(*) FROM ledger.entry WHERE event_id = $1", committed[0].event.id)
    assert (await verified(database)).ok


async def test_contended_heads_are_locked_at_last(database: Database, tenant: UUID) -> None:
    """A writer that keeps losing the race gets its turn."""
    async with writing(database) as one, writing(database) as two, writing(database) as three:

        async def push(writer: LedgerWriter) -> None:
            for _ in range(40):
                await writer.append(tenant, prepared())

        await asyncio.gather(*(push(writer) for writer in (one, two, three)))
    report = await verified(database)
    assert report.ok
    assert report.entries == 3 * 40 + 3


async def test_a_host_that_is_no_name_is_refused(database: Database) -> None:
    pool = database.pool("wk_ledger")
    with pytest.raises(Misconfigured):
        LedgerWriter(pool, host="No Host", seal_key=SEAL_KEY, clock=SystemClock(), reporter=Reports())
    assert (
        LedgerWriter(pool, host=HOST, seal_key=SEAL_KEY, clock=SystemClock(), reporter=Reports()).outbox_age(uuid7())
        == 0.0
    )
