"""Promise: what an operation touches does not grow with what its tenant holds, nor with how many tenants there are.

PostgreSQL counts the rows that it looks at. A plan that walks a table instead of an index shows here and in no other
test: on a small database it is right, and fast.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import pytest

from database import Database
from jobs.transfer import Transfer, ndjson, spec
from vault.stack import Stack, open_stack
from wellkeep.assembly.disclosures import Disclosures
from wellkeep.base.clock import SystemClock
from wellkeep.base.ids import uuid7
from wellkeep.base.secrets import Secret
from wellkeep.keys.cursors import Cursors
from wellkeep.keys.deployment import DeploymentKey
from wellkeep.ledger.actions import Action
from wellkeep.ledger.search import Filters
from wellkeep.ledger.search import search as ledger_search
from wellkeep.vault.batch import NewRecord
from wellkeep.vault.calls import NIL
from wellkeep.vault.values import Value

HELD = 10_000
AT_ONCE = 8
MOST = 5_000
"""Rows of one table for all of the operations together; each works at eight elements or rows at most."""

_PEOPLE = """
WITH made AS (
  INSERT INTO vault.subject (tenant_id, id) SELECT $1, gen_random_uuid() FROM generate_series(1, $2) RETURNING id
)
INSERT INTO keys.subject_key (tenant_id, subject_id, generation, kid, wrapped, wrap_epoch)
  SELECT $1, m.id, 1, uuid_send(gen_random_uuid()), decode(repeat('00', 40), 'hex'), 1 FROM made AS m
"""
_RECORDS = """
WITH made AS (
  INSERT INTO vault.record (tenant_id, collection_id, id, revision, event_id, field_ids, sealed, tag_fields, tags,
                            tags_digest, created_at, updated_at)
    SELECT $1, c.id, gen_random_uuid(), 1, gen_random_uuid(), '{}', '{}', '{1}',
           ARRAY[decode('00' || md5(n::text), 'hex')], decode(repeat('00', 32), 'hex'), now(), now()
    FROM vault.collection AS c, generate_series(1, $2) AS n WHERE c.tenant_id = $1
    RETURNING collection_id, id, tags
)
INSERT INTO vault.tag (tenant_id, collection_id, field_id, tag, slot, record_id)
  SELECT $1, m.collection_id, 1, m.tags[1], m.id, m.id FROM made AS m
"""
_ENTRIES = """
INSERT INTO ledger.entry (tenant_id, epoch, seq, event_id, "time", actor, action, subject, outcome, request, leaf,
                          entry)
  SELECT $1, 2, n, gen_random_uuid(), now(), 'actor-' || n % 100, 'record.read', gen_random_uuid(), 'authorised',
         gen_random_uuid(), sha256(n::text::bytea), '{}' FROM generate_series(1, $2) AS n
"""
_TENANTS = """
INSERT INTO ledger.log (tenant_id, epoch, origin, size, leaf, "time", frontier)
  SELECT gen_random_uuid(), 1, 'log-' || n, 1, decode(repeat('00', 32), 'hex'), now(), '{}'
  FROM generate_series(1, $1) AS n
"""
_LEFT = """
INSERT INTO ledger.outbox (tenant_id, event_id, event, created_at)
  SELECT $1, gen_random_uuid(), decode(repeat('00', 34), 'hex'), now() + interval '1 day' FROM generate_series(1, $2)
"""
_ANSWERS = """
INSERT INTO vault.idempotency (tenant_id, credential, key_hash, request_mac, status, answer, created_at,
    event_id)
  SELECT $1, $3, sha256(n::text::bytea), sha256('x'), 201, decode('574b0100' || repeat('00', 60), 'hex'), now(),
    gen_random_uuid()
  FROM generate_series(1, $2) AS n
"""
_TOUCHED = """
SELECT t.schemaname || '.' || t.relname AS name,
       t.seq_tup_read + greatest(coalesce(t.idx_tup_fetch, 0), coalesce(sum(i.idx_tup_read), 0))::bigint AS rows
FROM pg_stat_user_tables AS t LEFT JOIN pg_stat_user_indexes AS i ON i.relid = t.relid
WHERE t.schemaname IN ('vault', 'keys', 'ledger', 'access', 'wk')
GROUP BY t.schemaname, t.relname, t.seq_tup_read, t.idx_tup_fetch
"""
_STATISTICS_SECONDS = 1.2
"""A backend hands its counts over when a transaction ends, but not sooner than a second after the last time: what an
operation touched is known for sure once it has run again."""

Operation = Callable[[Stack, "Held"], Awaitable[None]]


class Held:
    """What was made before, one for each of the eight."""

    def __init__(self, patients: list[UUID], people: list[UUID]) -> None:
        self.patients = patients
        self.people = people
        self.revision = 1
        self._number = 0

    def person(self) -> dict[str, Value]:
        """Return the fields of somebody new."""
        self._number += 1
        return {"ssn": f"998-{self._number:06d}", "family": f"Fam{self._number}", "birth_date": "1980-01-02"}


async def create(stack: Stack, held: Held) -> None:
    await asyncio.gather(*(
        stack.vault.records.create(stack.integration, "patients", held.person(), idempotency_key=str(uuid7()))
        for _ in range(AT_ONCE)
    ))  # fmt: skip


async def create_for_somebody(stack: Stack, held: Held) -> None:
    await asyncio.gather(*(
        stack.vault.records.create(stack.integration, "notes", {"text": "x", "code": "c"}, subject=person)
        for person in held.people
    ))  # fmt: skip


async def create_alone(stack: Stack, held: Held) -> None:
    await stack.vault.records.create(stack.integration, "notes", {"text": "x"}, subject=held.people[0])


async def read(stack: Stack, held: Held) -> None:
    await asyncio.gather(*(stack.vault.records.read(stack.clinician, "patients", one) for one in held.patients))


async def search(stack: Stack, held: Held) -> None:
    del held
    for where in ({"ssn": "998-000001"}, {"family": "fam1"}, {"birth_date": "1970-01-01"}):
        await asyncio.gather(*(stack.vault.search.search(stack.clinician, "patients", where) for _ in range(AT_ONCE)))


async def first_page(stack: Stack, held: Held) -> None:
    del held
    await stack.vault.search.search(stack.clinician, "patients", {}, limit=5)


async def of_subject(stack: Stack, held: Held) -> None:
    await stack.vault.search.search(stack.clinician, "notes", {}, subject=held.people[0], limit=5)


async def change(stack: Stack, held: Held) -> None:
    revision, held.revision = held.revision, held.revision + 1
    await asyncio.gather(*(
        stack.vault.records.change(stack.clinician, "patients", one, {"note": "x"}, expected=revision)
        for one in held.patients
    ))  # fmt: skip


async def batch(stack: Stack, held: Held) -> None:
    rows = [NewRecord(held.person()) for _ in range(AT_ONCE)]
    outcomes = await stack.vault.batches.create(stack.integration, "patients", rows)
    assert all(outcome.error is None for outcome in outcomes)


async def batch_for_somebody(stack: Stack, held: Held) -> None:
    rows = [NewRecord({"text": "x", "code": "c"}, person) for person in held.people]
    outcomes = await stack.vault.batches.create(stack.integration, "notes", rows)
    assert all(outcome.error is None for outcome in outcomes)


async def upsert(stack: Stack, held: Held) -> None:
    await stack.vault.upserts.put(stack.integration, "wards", "ward-1", {"title": "One", "beds": len(held.people)})


async def delete(stack: Stack, held: Held) -> None:
    made = await stack.vault.records.create(stack.integration, "patients", held.person())
    await stack.vault.records.delete(stack.integration, "patients", made.id, expected=1)


async def merge(stack: Stack, held: Held) -> None:
    await stack.vault.subjects.merge(stack.integration, held.people.pop(), into=held.people[0])


async def look_into_the_ledger(stack: Stack, held: Held) -> None:
    async with stack.pool.tenant_transaction(tenant=stack.tenant) as connection:
        looks = (
            await ledger_search(connection, Filters(), limit=5),
            await ledger_search(connection, Filters(actor="actor-1"), limit=5),
            await ledger_search(connection, Filters(action=Action.RECORD_READ), limit=5),
            await ledger_search(connection, Filters(subject=held.people[0]), limit=5),
            await ledger_search(connection, Filters(since=SystemClock().now() - timedelta(hours=1)), limit=5),
        )
    assert all(look.entries for look in looks)


async def account_for_disclosures(stack: Stack, held: Held) -> None:
    key = DeploymentKey(key_id="00" * 16, epoch=1, secret=Secret(bytes(32)))
    service = Disclosures(gate=stack.gate, cursors=Cursors([key]), clock=stack.clock)
    found = await service.page(stack.caller("auditor"), held.people[0], limit=5)
    assert found.disclosures


OPERATIONS = (
    create, create_for_somebody, create_alone, read, search, first_page, of_subject, change, batch, batch_for_somebody,
    upsert, delete, merge, look_into_the_ledger, account_for_disclosures,
)  # fmt: skip


async def fill(stack: Stack) -> None:
    """Fill the tables with what the operations have no business with."""
    await stack.as_superuser(_PEOPLE, stack.tenant, HELD)
    await stack.as_superuser(_RECORDS, stack.tenant, HELD)
    await stack.as_superuser(_ANSWERS, stack.tenant, HELD, NIL)
    await stack.as_superuser(_ENTRIES, stack.tenant, HELD)
    await stack.as_superuser(_TENANTS, HELD)
    await stack.as_superuser(_LEFT, stack.tenant, HELD)


async def touched(stack: Stack) -> dict[str, int]:
    await asyncio.sleep(_STATISTICS_SECONDS)
    return {row["name"]: row["rows"] for row in await stack.as_superuser(_TOUCHED)}


PATIENT = b'{"resourceType":"Patient","id":"p%d","name":[{"family":"Fam%d"}],"birthDate":"1956-08-01"}'
OBSERVATION = (
    b'{"resourceType":"Observation","id":"o%d","code":{"coding":[{"code":"8302-2"}]},'
    b'"subject":{"reference":"Patient/p%d"},"effectiveDateTime":"2011-10-14T23:37:54+00:00"}'
)


async def test_no_import_walks_a_table(database: Database, tenant: UUID, other_tenant: UUID) -> None:
    async with open_stack(database, tenant, other_tenant) as stack:
        transfer = Transfer(stack)
        await stack.declare(spec("patients"), spec("observations"))
        await fill(stack)
        before = await touched(stack)
        for _ in range(2):
            for line, collection in ((PATIENT, "patients"), (OBSERVATION, "observations")):
                done = await transfer.load(ndjson([line % (n, n) for n in range(AT_ONCE)]), collection)
                assert (done.state, done.lines, done.failed) == ("done", AT_ONCE, 0)
            after = await touched(stack)
    assert {name: after[name] - before[name] for name in after if after[name] - before[name] > MOST} == {}


@pytest.mark.parametrize("analysed", [False, True])
async def test_no_operation_walks_a_table(stack: Stack, *, analysed: bool) -> None:
    people = [(await stack.vault.subjects.create(stack.clinician)).id for _ in range(AT_ONCE)]
    held = Held([], people)
    for _ in range(AT_ONCE):
        written = await stack.vault.records.create(stack.integration, "patients", held.person())
        held.patients.append(written.id)
    await fill(stack)
    if analysed:
        await stack.as_superuser("ANALYZE")
    before = await touched(stack)
    for _ in range(2):
        for operation in OPERATIONS:
            await operation(stack, held)
        after = await touched(stack)
    assert {name: after[name] - before[name] for name in after if after[name] - before[name] > MOST} == {}
