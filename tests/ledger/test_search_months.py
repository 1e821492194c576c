"""Promise: what looks for a patient or an entry, or goes on verifying, reads no more of a ledger that is years old.

PostgreSQL counts the pages that it looks at. A month that a question has no business with may cost the descent of an
index, where nothing says in which months the patient stands; it never costs one for every entry that is found.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from database import Database
from ledger.making import HOST, change, prepared
from ledger.past import make_month
from wellkeep.base.ids import uuid7
from wellkeep.db.connection import Connection
from wellkeep.ledger.disclosures import Patient, naming
from wellkeep.ledger.grammar import EventRefused
from wellkeep.ledger.proof import is_there
from wellkeep.ledger.report import State
from wellkeep.ledger.seal import origin
from wellkeep.ledger.search import PLANNED, Filters, search, window
from wellkeep.ledger.splice import Head
from wellkeep.ledger.tile_store import TileStore
from wellkeep.ledger.verify import one_state
from wellkeep.ledger.verify_beside import beside
from wellkeep.ledger.verify_orphans import orphans
from wellkeep.ledger.walk import LogWalk

NAMED, PAGE = 600, 40
OLDER = 18
PER_MONTH = 20
NEWEST_SEQ = 1_000_000
NEWEST = uuid7()
"""The id of the newest entry's event."""
NOW = datetime.now(UTC)
ENTRY = b'{"event":%b,"time":"2026-05-04T00:00:00.000000Z"}' % prepared()[0].encoded
_DESCENT, _OTHERWISE = 2, 5
"""Pages from an index's root to a row, here where few stand in each; and what may be due to chance."""

_PATIENT = """
WITH made AS (
  INSERT INTO ledger.entry (tenant_id, epoch, seq, event_id, "time", actor, action, outcome, request, leaf, entry)
    SELECT $1, 1, $3 + n, ('f' || substr(gen_random_uuid()::text, 2))::uuid, now() - ($4 - n) * interval '1 second',
           'a', 'record.search', 'authorised', gen_random_uuid(), sha256(n::text::bytea), $5
    FROM generate_series(1, $4) AS n
    RETURNING tenant_id, epoch, seq, "time"
)
INSERT INTO ledger.entry_subject (tenant_id, subject, epoch, seq, "time")
  SELECT m.tenant_id, s.id, m.epoch, m.seq, m."time"
  FROM made AS m CROSS JOIN LATERAL (VALUES ($2::uuid), (gen_random_uuid())) AS s (id)
"""
_OTHERS = """
WITH made AS (
  INSERT INTO ledger.entry (tenant_id, epoch, seq, event_id, "time", actor, action, subject, outcome, request, leaf,
                            entry)
    SELECT $1, 1, $2 + n, ('f' || substr(gen_random_uuid()::text, 2))::uuid,
           $3::timestamptz + n * interval '1 second', 'b', 'record.read', gen_random_uuid(), 'authorised',
           gen_random_uuid(), sha256(n::text::bytea), '{}'
    FROM generate_series(1, $4) AS n
    RETURNING tenant_id, epoch, seq, "time"
)
INSERT INTO ledger.entry_subject (tenant_id, subject, epoch, seq, "time")
  SELECT m.tenant_id, gen_random_uuid(), m.epoch, m.seq, m."time" FROM made AS m
"""
_LOG = """
INSERT INTO ledger.log (tenant_id, epoch, origin, size, leaf, "time", frontier)
  VALUES ($1, 1, $2, $3, sha256(''), now(), '{}')
"""
_BY_ID = "UPDATE ledger.entry SET event_id = $2 WHERE tenant_id = $1 AND seq = $3"
_SIGNED = """
INSERT INTO ledger.checkpoint (tenant_id, epoch, size, root, "time", signature)
  SELECT $1, 1, size, sha256(''), now(), decode(repeat('00', 68), 'hex') FROM unnest($2::bigint[]) AS size
"""
_PAGES = """
SELECT sum(pg_stat_get_xact_blocks_fetched(oid))::bigint FROM pg_class WHERE relnamespace = 'ledger'::regnamespace
"""
_BESIDE = """
SELECT seq, subject::text FROM ledger.entry_subject WHERE tenant_id = $1 AND epoch = 1 AND seq >= $2
"""

Question = Callable[[Connection, UUID, UUID], Awaitable[object]]


async def by_subject(connection: Connection, _tenant: UUID, patient: UUID) -> None:
    assert len((await search(connection, Filters(subject=patient), limit=PAGE)).entries) == PAGE


async def by_subject_since(connection: Connection, _tenant: UUID, patient: UUID) -> None:
    filters = Filters(subject=patient, since=NOW - timedelta(days=1))
    assert len((await search(connection, filters, limit=PAGE)).entries) == PAGE


async def accounting(connection: Connection, _tenant: UUID, patient: UUID) -> None:
    await connection.execute(PLANNED)
    span = await window(connection, since=NOW - timedelta(days=365 * 6), until=None)
    found, _ = await naming(connection, Patient(frozenset({patient}), [uuid7()]), span, most=PAGE)
    assert len(found) == PAGE


async def by_event(connection: Connection, tenant: UUID, _patient: UUID) -> None:
    assert await is_there(connection, tenant=tenant, event=NEWEST)


async def newest_leaves(connection: Connection, tenant: UUID, _patient: UUID) -> None:
    store = TileStore(connection, tenant=tenant, epoch=1)
    assert len(await store.leaves(NEWEST_SEQ + 10, NEWEST_SEQ + PAGE)) == PAGE - 10


async def going_on(connection: Connection, tenant: UUID, _patient: UUID) -> None:
    """Compare what stands beside the newest entries alone."""
    size, first = NEWEST_SEQ + NAMED + 1, NEWEST_SEQ + NAMED - 2
    frontier = (bytes(32),) * size.bit_count()
    head = Head(tenant, 1, origin(HOST, tenant, 1), size, bytes(32), NOW, frontier)
    walk = LogWalk(head, keys=None, start=State(size, frontier, bytes(32), NOW))
    rows = await connection.fetch(_BESIDE, tenant, first)
    walk.further_subjects = {(row["seq"], row["subject"]) for row in rows}
    await beside(connection, walk, begin=first, once=True)
    assert (len(rows), walk.bad) == (3 * 2, None)


async def looking_for_orphans(connection: Connection, _tenant: UUID, _patient: UUID) -> None:
    assert await orphans(connection, None) == []


QUESTIONS: dict[str, tuple[Question, str, int]] = {
    "a patient's entries since then": (by_subject_since, "wk_app", 0),
    "a patient's entries": (by_subject, "wk_app", 1),
    "an accounting: of the patient, of a record, the place of its beginning": (accounting, "wk_app", 3),
    "an entry by its event": (by_event, "wk_app", 0),
    "leaves that no tile has": (newest_leaves, "wk_ledger", 0),
    "verifying on: old ids, logs opened": (going_on, "wk_migrate", 2),
    "orphans: the first log, and beyond the last": (looking_for_orphans, "wk_migrate", 2),
}
"""Who asks, and how many indexes it looks into in every month that it can't leave out."""


@pytest.fixture
async def patient(database: Database, tenant: UUID) -> UUID:
    """Have one patient named in six hundred entries of the last minutes, each of which names somebody else too."""
    somebody = uuid7()
    await change(database, _PATIENT, tenant, somebody, NEWEST_SEQ, NAMED, ENTRY)
    await change(database, _LOG, tenant, origin(HOST, tenant, 1), NEWEST_SEQ + NAMED + 1)
    await change(database, _BY_ID, tenant, NEWEST, NEWEST_SEQ + NAMED)
    await change(database, _SIGNED, tenant, [NEWEST_SEQ, NEWEST_SEQ + PAGE])
    await change(database, "ANALYZE")
    return somebody


@asynccontextmanager
async def asking(database: Database, tenant: UUID, role: str) -> AsyncIterator[Connection]:
    """Lend a connection in one transaction, as that role has it."""
    if role == "wk_app":
        async with database.entered(tenant) as connection:
            yield connection
        return
    async with (
        database.connect(role) as connection,
        one_state(connection) if role == "wk_migrate" else connection.transaction(),
    ):
        yield connection


async def pages(database: Database, what: str, tenant: UUID, patient: UUID) -> int:
    """Return how many pages of the ledger a question looks at, once it was planned and has met every index."""
    question, role, _ = QUESTIONS[what]
    async with asking(database, tenant, role) as connection:
        await question(connection, tenant, patient)
        before = await connection.fetchval(_PAGES)
        await question(connection, tenant, patient)
        return int(await connection.fetchval(_PAGES) - before)


@pytest.mark.parametrize("what", QUESTIONS)
async def test_old_months_cost_no_entry_that_is_found_anything(
    database: Database, tenant: UUID, patient: UUID, what: str
) -> None:
    young = await pages(database, what, tenant, patient)
    async with database.connect() as connection:
        for month in range(OLDER):
            time = datetime(2020 + month // 12, month % 12 + 1, 3, tzinfo=UTC)
            await make_month(connection, time)
            await connection.execute(_OTHERS, tenant, month * PER_MONTH, time, PER_MONTH)
        await connection.execute("ANALYZE")
    old = await pages(database, what, tenant, patient)
    assert 0 < young <= 5 * PAGE
    assert old - young <= OLDER * QUESTIONS[what][2] * _DESCENT + _OTHERWISE


@pytest.mark.parametrize(
    "how",
    [
        'UPDATE ledger.entry_subject SET "time" = "time" - interval \'1 second\' WHERE seq = $1',
        "UPDATE ledger.entry SET entry = 'x' WHERE seq = $1",
        "UPDATE ledger.entry SET entry = overlay(entry PLACING 'x' FROM 24) WHERE seq = $1",
    ],
)
async def test_what_is_said_to_name_a_patient_and_is_no_entry_refuses_the_accounting(
    database: Database, tenant: UUID, patient: UUID, how: str
) -> None:
    """By its time an entry is found: whoever moves that may not take an access out of what is told."""
    await change(database, how, NEWEST_SEQ + NAMED - 7)
    async with database.entered(tenant) as connection:
        with pytest.raises(EventRefused):
            await accounting(connection, tenant, patient)
