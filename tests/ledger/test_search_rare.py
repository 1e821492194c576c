"""Promise: what is rare is found at once, whichever filter is the rare one, and no search reads a long ledger whole."""

from __future__ import annotations

from itertools import combinations
from typing import Any
from uuid import UUID

import pytest

from database import Database
from wellkeep.base.ids import uuid7
from wellkeep.base.purpose import Purpose
from wellkeep.ledger.actions import Action, Outcome
from wellkeep.ledger.search import Filters, FoundPage, search
from wellkeep.ledger.search_walks import BUDGET, COUNTED

HELD = 45_000
MOST = 4 * COUNTED
"""Rows for one search: each filter's index counted up to a bound, and the walk."""
BUSY, SELDOM, NIGHTLY = "busy", "seldom", "nightly"

_FILL = """
INSERT INTO ledger.entry (tenant_id, epoch, seq, event_id, "time", actor, action, purpose, subject, outcome, request,
                          leaf, entry)
  SELECT $1, 1, n, gen_random_uuid(), now() - ($2 - n) * interval '1 millisecond',
         CASE WHEN n % 3 = 0 THEN 'nightly' WHEN n IN (20003, 20002) THEN 'seldom' ELSE 'busy' END,
         CASE WHEN n % 3 = 0 THEN 'record.import' WHEN n = 30001 THEN 'record.export' ELSE 'record.read' END,
         CASE WHEN n IN (10001, 20002, 10003) THEN 'BTG' WHEN n % 3 = 0 THEN 'HOPERAT' ELSE 'TREAT' END,
         CASE WHEN n IN (10001, 20003, 20002) THEN $3::uuid ELSE gen_random_uuid() END,
         CASE WHEN n IN (10001, 5002) THEN 'denied' WHEN n % 3 = 0 THEN 'done' ELSE 'authorised' END,
         gen_random_uuid(), sha256(n::text::bytea), '{}'
  FROM generate_series(0, $2 - 1) AS n
"""
_NAMED = """
INSERT INTO ledger.entry_subject (tenant_id, subject, epoch, seq, "time")
  SELECT e.tenant_id, gen_random_uuid(), e.epoch, e.seq, e."time" FROM ledger.entry AS e WHERE e.tenant_id = $1
  UNION ALL
  SELECT e.tenant_id, $2, e.epoch, e.seq, e."time" FROM ledger.entry AS e WHERE e.tenant_id = $1 AND e.seq = 6
"""
_LOG = """
INSERT INTO ledger.log (tenant_id, epoch, origin, size, leaf, "time", frontier)
  VALUES ($1, 1, 'test', $2, sha256(''), now(), '{}')
"""
_READ = """
SELECT sum(t.seq_tup_read + greatest(coalesce(t.idx_tup_fetch, 0), (
  SELECT sum(i.idx_tup_read) FROM pg_stat_user_indexes AS i WHERE i.relid = t.relid)))::bigint
FROM pg_stat_user_tables AS t WHERE t.schemaname = 'ledger'
"""

_HAND_OVER = "SELECT pg_stat_force_next_flush()"


@pytest.fixture
async def person(database: Database, tenant: UUID) -> UUID:
    """Fill the tenant's ledger, and return the one person who stands in four entries of it."""
    somebody = uuid7()
    async with database.connect() as connection:
        await connection.execute(_FILL, tenant, HELD, somebody)
        await connection.execute(_NAMED, tenant, somebody)
        await connection.execute(_LOG, tenant, HELD)
        await connection.execute("ANALYZE")
    return somebody


async def read(database: Database) -> int:
    """Return how many rows of tables and indexes of the ledger were read so far."""
    async with database.connect() as connection:
        return int(await connection.fetchval(_READ))


async def looked_up(database: Database, tenant: UUID, **filters: Any) -> FoundPage:
    async with database.entered(tenant) as connection:
        page = await search(connection, Filters(**filters), limit=50)
        await connection.execute(_HAND_OVER)
        return page


def seqs(page: FoundPage) -> list[int]:
    return [one.place.seq for one in page.entries]


async def test_a_rare_filter_is_found_at_once_whatever_stands_beside_it(
    database: Database, tenant: UUID, person: UUID
) -> None:
    rare: tuple[tuple[dict[str, Any], list[int]], ...] = (
        ({"purpose": Purpose.BREAK_GLASS}, [20002, 10003, 10001]),
        ({"purpose": Purpose.BREAK_GLASS, "actor": BUSY}, [10003, 10001]),
        ({"purpose": Purpose.BREAK_GLASS, "actor": BUSY, "action": Action.RECORD_READ}, [10003, 10001]),
        ({"purpose": Purpose.BREAK_GLASS, "actor": NIGHTLY}, []),
        ({"purpose": Purpose.PATIENT_REQUEST, "action": Action.RECORD_READ}, []),
        ({"actor": SELDOM, "action": Action.RECORD_READ}, [20003, 20002]),
        ({"actor": SELDOM, "purpose": Purpose.TREATMENT}, [20003]),
        ({"actor": BUSY, "action": Action.RECORD_EXPORT}, [30001]),
        ({"outcome": Outcome.DENIED, "actor": BUSY, "purpose": Purpose.TREATMENT}, [5002]),
        ({"outcome": Outcome.FAILED, "action": Action.RECORD_READ}, []),
        ({"subject": person}, [20003, 20002, 10001, 6]),
        ({"subject": person, "actor": BUSY}, [10001]),
        ({"subject": person, "actor": NIGHTLY, "outcome": Outcome.DONE}, [6]),
        ({"subject": person, "purpose": Purpose.BREAK_GLASS, "outcome": Outcome.DENIED}, [10001]),
        ({"actor": "nobody", "action": Action.RECORD_READ, "purpose": Purpose.TREATMENT}, []),
    )
    for filters, expected in rare:
        before = await read(database)
        page = await looked_up(database, tenant, **filters)
        assert (seqs(page), page.following) == (expected, None), filters
        assert await read(database) - before < MOST, filters


async def test_filters_that_are_common_answer_from_the_newest(database: Database, tenant: UUID, person: UUID) -> None:
    assert person
    for filters in (
        {"actor": BUSY, "action": Action.RECORD_READ},
        {"purpose": Purpose.TREATMENT, "outcome": Outcome.AUTHORISED},
        {"purpose": Purpose.OPERATIONS},
        {"outcome": Outcome.DONE, "actor": NIGHTLY},
    ):
        before = await read(database)
        page = await looked_up(database, tenant, **filters)
        assert (len(page.entries), page.following) == (50, page.entries[-1].place), filters
        assert await read(database) - before < MOST, filters


async def test_what_is_common_apart_and_nowhere_together_ends_after_a_bound(
    database: Database, tenant: UUID, person: UUID
) -> None:
    """Neither index helps: each page looks at so many entries and says where to go on, until there is nothing left."""
    assert person
    filters = Filters(actor=BUSY, action=Action.RECORD_IMPORT)
    pages, before, place = 0, await read(database), None
    while pages == 0 or place is not None:
        async with database.entered(tenant) as connection:
            page = await search(connection, filters, before=place, limit=50)
            await connection.execute(_HAND_OVER)
        assert page.entries == []
        assert place is None or page.following is None or page.following < place
        pages, place = pages + 1, page.following
    assert pages == HELD // 3 // BUDGET + 1
    assert BUDGET < await read(database) - before < pages * 4 * BUDGET


def matches(number: int, person: UUID, filters: Filters) -> bool:
    """Say by the rules of the filling whether an entry fits."""
    night = number % 3 == 0
    actor = NIGHTLY if night else SELDOM if number in {20003, 20002} else BUSY
    action = Action.RECORD_IMPORT if night else Action.RECORD_EXPORT if number == 30001 else Action.RECORD_READ
    glass = number in {10001, 20002, 10003}
    purpose = Purpose.BREAK_GLASS if glass else Purpose.OPERATIONS if night else Purpose.TREATMENT
    outcome = Outcome.DENIED if number in {10001, 5002} else Outcome.DONE if night else Outcome.AUTHORISED
    about = filters.subject is None or (filters.subject == person and number in {6, 10001, 20003, 20002})
    return about and all(
        wanted in (None, value)
        for wanted, value in (
            (filters.actor, actor),
            (filters.action, action),
            (filters.purpose, purpose),
            (filters.outcome, outcome),
        )
    )


async def test_every_combination_finds_what_fits_and_nothing_else(
    database: Database, tenant: UUID, person: UUID
) -> None:
    values: dict[str, Any] = {
        "actor": BUSY,
        "subject": person,
        "action": Action.RECORD_READ,
        "purpose": Purpose.BREAK_GLASS,
        "outcome": Outcome.AUTHORISED,
    }
    for size in range(len(values) + 1):
        for chosen in combinations(values, size):
            filters = Filters(**{name: values[name] for name in chosen})
            expected = [number for number in reversed(range(HELD)) if matches(number, person, filters)][:20]
            found: list[int] = []
            place = None
            async with database.entered(tenant) as connection:
                while len(found) < len(expected):
                    page = await search(connection, filters, before=place, limit=7)
                    found += seqs(page)
                    place = page.following
                    if place is None:
                        break
            assert found[: len(expected)] == expected, chosen
            assert len(expected) == 20 or len(found) == len(expected), chosen
