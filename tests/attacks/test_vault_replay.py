"""Attack: an older state is put back. It opens, being authentic; the ledger tells that it is not the newest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from database import Database
from vault.stack import NOTES, PATIENTS, WARDS, Stack, open_stack
from wellkeep.findings.grammar import Kind
from wellkeep.vault.batch import NewRecord
from wellkeep.vault.replay import Replay, Replayed

PUT_BACK = """
UPDATE vault.record r SET revision = v.revision, event_id = v.event_id, field_ids = v.field_ids, sealed = v.sealed,
  plain = v.plain, digest = v.digest, updated_at = v.updated_at
FROM vault.revision v WHERE v.record_id = r.id AND v.revision = 1
"""


@pytest.fixture
async def stack(database: Database, tenant: UUID, other_tenant: UUID) -> AsyncIterator[Stack]:
    async with open_stack(database, tenant, other_tenant) as opened:
        await opened.declare(PATIENTS, NOTES, WARDS)
        yield opened


async def lived(stack: Stack) -> UUID:
    """Make some history: created, changed twice, batched, upserted, deleted."""
    records, caller = stack.vault.records, stack.integration
    made = await records.create(caller, "patients", {"note": "first", "family": "Koepp"})
    await records.change(caller, "patients", made.id, {"note": "second"}, expected=1)
    await records.change(caller, "patients", made.id, {"active": True}, expected=2)
    await stack.vault.batches.create(caller, "patients", [NewRecord({"note": f"{n}"}) for n in range(5)])
    await stack.vault.upserts.put(caller, "wards", "w", {"title": "a"})
    put = await stack.vault.upserts.put(caller, "wards", "w", {"title": "b"})
    await records.delete(caller, "wards", put.written.id, expected=2)
    return made.id


async def replayed(stack: Stack) -> Replayed:
    await stack.as_superuser("UPDATE vault.record SET updated_at = updated_at - interval '2 minutes'")
    return await Replay(stack.vault.context, pool=stack.pool).run(stack.tenant)


async def test_what_was_not_touched_is_what_the_ledger_says(stack: Stack) -> None:
    await lived(stack)
    result = await replayed(stack)
    assert (result.ok, result.differences) == (True, [])
    assert (result.entries, result.states) == (7, 7)
    assert await stack.found() == []


async def test_an_older_state_put_back_opens_and_is_found(stack: Stack) -> None:
    record = await lived(stack)
    await stack.as_superuser(PUT_BACK)
    view = await stack.vault.records.read(stack.integration, "patients", record)
    assert (view.revision, view.fields["note"]) == (1, "first")
    result = await replayed(stack)
    assert not result.ok
    assert {difference.what for difference in result.differences} >= {"gone", "older"}
    assert {finding.kind for finding in await stack.found()} == {Kind.REVISION_REPLAYED}
    assert str(record) in {finding.detail.get("record") for finding in await stack.found()}


@pytest.mark.parametrize(
    ("tampering", "what"),
    [
        (
            (
                "UPDATE vault.record r SET sealed = v.sealed, digest = v.digest FROM vault.revision v "
                "WHERE v.record_id = r.id AND v.revision = 1"
            ),
            "altered",
        ),
        ("UPDATE vault.revision SET sealed = ARRAY[sealed[2], sealed[1]] WHERE revision = 1", "altered"),
        ("DELETE FROM vault.revision WHERE revision = 1", "gone"),
        ("DELETE FROM vault.record WHERE revision = 3", "gone"),
        (
            "DELETE FROM vault.record WHERE id = (SELECT id FROM vault.record WHERE revision = 1 ORDER BY id LIMIT 1)",
            "gone",
        ),
        ("UPDATE vault.record SET event_id = gen_random_uuid() WHERE revision = 3", "unknown"),
        ("UPDATE vault.record SET field_ids[1] = field_ids[2] WHERE cardinality(field_ids) > 1", "altered"),
    ],
    ids=["ciphertexts-only", "history", "history-gone", "record-gone", "of-a-batch-gone", "no-entry", "twice"],
)
async def test_each_other_way_to_change_the_past_is_found(stack: Stack, tampering: str, what: str) -> None:
    await lived(stack)
    await stack.as_superuser(tampering)
    result = await replayed(stack)
    assert what in {difference.what for difference in result.differences}
