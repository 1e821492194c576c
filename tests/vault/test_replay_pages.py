"""What a page of the replay costs: it stays a page, however much there is beside it."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from database import Database
from vault.stack import PATIENTS, Stack, open_stack
from wellkeep.vault import replay_walks
from wellkeep.vault.batch import NewRecord
from wellkeep.vault.calls import NIL
from wellkeep.vault.replay_result import Replayed

COPIES = 3_000
MULTIPLY = """
INSERT INTO vault.record
SELECT r.tenant_id, r.collection_id, gen_random_uuid(), r.subject_id, r.sealed_for, r.revision, r.event_id, r.field_ids,
       r.sealed, r.plain, r.tag_fields, ARRAY(SELECT substr(sha256((g || '/' || n)::text::bytea), 1, 17)
                                              FROM generate_series(1, cardinality(r.tags)) n),
       r.content_mac, r.tags_digest, r.created_at, r.updated_at, NULL
FROM vault.record r, generate_series(1, $1::integer) g
"""
MULTIPLY_TAGS = """
INSERT INTO vault.tag SELECT r.tenant_id, r.collection_id, u.field, u.tag, r.id, r.id
FROM vault.record r, unnest(r.tag_fields, r.tags) u(field, tag) ON CONFLICT DO NOTHING
"""
MULTIPLY_SUBJECTS = """
INSERT INTO vault.subject SELECT tenant_id, gen_random_uuid(), NULL, created_at, NULL
FROM vault.subject, generate_series(1, $1::integer)
"""
READ = """
SELECT sum(pg_stat_get_xact_blocks_fetched(c.oid))::bigint FROM pg_class c
WHERE c.relnamespace IN ('vault'::regnamespace, 'ledger'::regnamespace) AND c.relkind IN ('r', 'i')
"""


@pytest.fixture
async def stack(database: Database, tenant: UUID, other_tenant: UUID) -> AsyncIterator[Stack]:
    async with open_stack(database, tenant, other_tenant) as opened:
        await opened.declare(PATIENTS)
        yield opened


async def test_a_page_reads_no_more_than_its_own_rows_of_tables_that_were_not_analysed(stack: Stack) -> None:
    await stack.vault.records.create(stack.integration, "patients", {"family": "Koeppenick", "phone": "+4930123456"})
    await stack.as_superuser(MULTIPLY, COPIES)
    await stack.as_superuser(MULTIPLY_TAGS)
    await stack.as_superuser(MULTIPLY_SUBJECTS, COPIES)
    result = Replayed()
    async with stack.pool.tenant_transaction(tenant=stack.tenant) as connection:
        await replay_walks.records(connection, (0, NIL), result)
        read = await connection.fetchval(READ)
    assert result.states == 200
    assert read < 100 * result.states


async def test_a_page_of_large_changes_holds_few_states_at_once(stack: Stack) -> None:
    rows = [NewRecord({"note": "x" * 16_000}) for _ in range(100)]
    for _ in range(3):
        await stack.vault.batches.create(stack.integration, "patients", rows)
    result = Replayed()
    async with stack.pool.tenant_transaction(tenant=stack.tenant) as connection:
        tracemalloc.start()
        try:
            await replay_walks.entries(connection, (-1, -1), result)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (result.ok, result.entries) == (True, 3)
    assert most < 2_000_000
