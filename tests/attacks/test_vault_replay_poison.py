"""Attack: a row that can't be read is put where the replay comes by, so that it stops and says nothing of others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from database import Database
from vault.stack import PATIENTS, WARDS, Stack, open_stack
from wellkeep.base.errors import WellkeepError
from wellkeep.findings.grammar import Kind
from wellkeep.vault.replay import Replay, Replayed

NESTED = "repeat('[', 3000) || repeat(']', 3000)"
UNNUMBERED = """
UPDATE vault.collection
SET definition = '{"fields": [1, {"index": "unique", "id": "x"}, {"index": "unique", "id": 2147483647.9}]}'
"""
DEEP = "UPDATE vault.record SET plain = (repeat('[', 3000) || repeat(']', 3000))::jsonb WHERE plain IS NOT NULL"
GARBAGE = "UPDATE ledger.entry SET entry = {} WHERE action = 'record.create' AND event_id = "
OF_PATIENTS = "(SELECT event_id FROM vault.record WHERE plain IS NOT NULL)"
WAITING = (
    "INSERT INTO ledger.outbox (tenant_id, event_id, event) SELECT tenant_id, gen_random_uuid(), "
    "decode(repeat('00', 32), 'hex') || {}::bytea FROM vault.counter"
)
MERGER = (
    """'{"action":"subject.merge","outcome":"done","subject":"018f0000-0000-7000-8000-000000000000","subjects":%s}'"""
)


@pytest.fixture
async def stack(database: Database, tenant: UUID, other_tenant: UUID) -> AsyncIterator[Stack]:
    async with open_stack(database, tenant, other_tenant) as opened:
        await opened.declare(PATIENTS, WARDS)
        yield opened


async def replayed(stack: Stack) -> Replayed:
    return await Replay(stack.vault.context, pool=stack.pool).run(stack.tenant)


@pytest.mark.parametrize(
    ("poison", "what"),
    [
        ("UPDATE vault.record SET tag_fields = '{-1}', tags = ARRAY['x'::bytea] WHERE plain IS NOT NULL", "altered"),
        ("UPDATE vault.record SET tag_fields = '{1,NULL}', tags = '{NULL,a}' WHERE plain IS NOT NULL", "altered"),
        ("UPDATE vault.record SET tag_fields = '{{1},{2}}', tags = '{{a},{b}}' WHERE plain IS NOT NULL", "altered"),
        ('UPDATE vault.record SET plain = \'{"-1": "x"}\' WHERE plain IS NOT NULL', "altered"),
        ('UPDATE vault.record SET plain = \'{"99999999999": "x"}\' WHERE plain IS NOT NULL', "altered"),
        ("UPDATE vault.record SET plain = 'null' WHERE plain IS NOT NULL", "altered"),
        (DEEP, "altered"),
        ("UPDATE vault.record SET sealed = ARRAY[NULL]::bytea[] WHERE plain IS NOT NULL", "altered"),
        ("UPDATE vault.record SET field_ids = '{-5}', sealed = sealed[1:1] WHERE plain IS NOT NULL", "altered"),
        ("UPDATE vault.record SET collection_id = -5 WHERE plain IS NOT NULL", "altered"),
        ("UPDATE vault.record SET collection_id = 2147483647 WHERE plain IS NOT NULL", "altered"),
        (GARBAGE.format("'xx'") + OF_PATIENTS, "unreadable"),
        (GARBAGE.format("'\\xff'") + OF_PATIENTS, "unreadable"),
        (GARBAGE.format(f"convert_to('{{\"event\":' || {NESTED} || '}}', 'UTF8')") + OF_PATIENTS, "unreadable"),
        (GARBAGE.format('\'{"event":{"records":["!"]}}\'') + OF_PATIENTS, "unreadable"),
        (WAITING.format(MERGER % '["!","?"]'), "unreadable"),
        (WAITING.format(MERGER % "[]"), "unreadable"),
        (WAITING.format("'xx'"), "unreadable"),
        ("UPDATE vault.collection SET definition = '[1]'", None),
        (UNNUMBERED, None),
        ("UPDATE ledger.entry SET action = 'subject.merge' WHERE action = 'collection.create'", None),
    ],
    ids=[
        *("field-negative", "tags-null", "tags-of-two-dimensions", "plain-negative", "plain-large", "plain-null"),
        *("plain-nested", "envelope-null", "field-of-envelope", "collection-negative", "collection-large"),
        *("entry-garbage", "entry-no-text", "entry-nested", "entry-of-no-id", "merger-of-no-ids", "merger-of-nobody"),
        *("waiting-garbage", "definition-of-no-fields", "definition-of-no-numbers", "not-what-its-row-says"),
    ],
)
async def test_what_cannot_be_read_hides_nothing_else(stack: Stack, poison: str, what: str | None) -> None:
    records, caller = stack.vault.records, stack.integration
    await records.create(caller, "patients", {"note": "first", "active": True})
    ward = await records.create(caller, "wards", {"title": "a"})
    await stack.as_superuser("UPDATE vault.record SET deleted_at = now() WHERE id = $1", ward.id)
    await stack.as_superuser(poison)
    result = await replayed(stack)
    assert ("hidden", ward.id) in {(one.what, one.record) for one in result.differences}
    assert what is None or what in {one.what for one in result.differences}
    found = await stack.found()
    assert {finding.kind for finding in found} == {Kind.REVISION_REPLAYED}
    assert {one.what for one in result.differences} == {finding.detail["what"] for finding in found}


async def test_a_walk_that_breaks_is_a_finding_and_what_it_saw_before_is_reported(stack: Stack) -> None:
    ward = await stack.vault.records.create(stack.integration, "wards", {"title": "a"})
    await stack.as_superuser("UPDATE vault.record SET deleted_at = now() WHERE id = $1", ward.id)
    await stack.as_superuser("ALTER TABLE vault.tag RENAME TO elsewhere")
    with pytest.raises(WellkeepError):
        await replayed(stack)
    assert {(one.kind, one.detail["what"]) for one in await stack.found()} == {
        (Kind.REVISION_REPLAYED, "hidden"),
        (Kind.JOB_FAILED, "replay"),
    }
