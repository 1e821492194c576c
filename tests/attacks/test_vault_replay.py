"""Attack: an older state is put back. It opens, being authentic; the ledger tells that it is not the newest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise
from uuid import UUID

import pytest

from database import Database
from vault.stack import NOTES, PATIENTS, WARDS, Stack, open_stack
from wellkeep.base.errors import IntegrityBroken, NotFound, SubjectErased, WellkeepError
from wellkeep.db.queue import Interrupted
from wellkeep.findings.grammar import Kind
from wellkeep.vault.batch import NewRecord
from wellkeep.vault.calls import NIL
from wellkeep.vault.replay import Replay, Replayed
from wellkeep.vault.replay_walks import _ends

PUT_BACK = """
UPDATE vault.record r SET revision = v.revision, event_id = v.event_id, field_ids = v.field_ids, sealed = v.sealed,
  plain = v.plain, tags_digest = v.tags_digest, updated_at = v.updated_at
FROM vault.revision v WHERE v.record_id = r.id AND v.revision = 1
"""

SWAP = """
WITH older AS (SELECT * FROM vault.revision), newer AS (SELECT * FROM vault.record WHERE revision = 2),
  kept AS (UPDATE vault.revision v SET revision = 2, event_id = n.event_id, field_ids = n.field_ids, sealed = n.sealed,
             plain = n.plain, tags_digest = n.tags_digest FROM newer n WHERE v.record_id = n.id)
UPDATE vault.record r SET revision = 3, event_id = o.event_id, field_ids = o.field_ids, sealed = o.sealed,
  plain = o.plain, tags_digest = o.tags_digest, deleted_at = NULL FROM older o WHERE r.id = o.record_id
"""
"""Two states of a record change places: the older one is the newest again, and history is without a gap."""


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
    await stack.vault.upserts.put(caller, "wards", "x", {"title": "c"})
    return made.id


async def merged(stack: Stack) -> tuple[UUID, UUID, UUID]:
    """Merge a patient with a record into another, and that one into a third; returns all three."""
    subjects, caller = stack.vault.subjects, stack.integration
    made = await stack.vault.records.create(caller, "patients", {"note": "of a"})
    assert made.subject is not None
    other, third = await subjects.create(caller), await subjects.create(caller)
    await subjects.merge(caller, made.subject, into=other.id)
    await stack.vault.records.create(caller, "notes", {"text": "of b", "code": "x"}, subject=other.id)
    await subjects.merge(caller, other.id, into=third.id)
    return made.subject, other.id, third.id


async def replayed(stack: Stack) -> Replayed:
    return await Replay(stack.vault.context, pool=stack.pool).run(stack.tenant)


async def test_what_was_not_touched_is_what_the_ledger_says(stack: Stack) -> None:
    await lived(stack)
    result = await replayed(stack)
    assert (result.ok, result.differences) == (True, [])
    assert (result.entries, result.states) == (8, 8)
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


@pytest.mark.parametrize("later", ["changed", "deleted"])
async def test_states_of_a_batch_that_changed_places_are_found(stack: Stack, later: str) -> None:
    """The entry of many names no revision: that each digest covers it is all that tells."""
    records, caller = stack.vault.records, stack.integration
    (made,) = await stack.vault.batches.create(caller, "patients", [NewRecord({"note": "first", "active": True})])
    assert made.id is not None
    if later == "changed":
        await records.change(caller, "patients", made.id, {"note": "second"}, expected=1)
    else:
        await records.delete(caller, "patients", made.id, expected=1)
    assert (await replayed(stack)).ok
    await stack.as_superuser(SWAP)
    view = await records.read(caller, "patients", made.id)
    assert (view.revision, view.fields["note"]) == (3, "first")
    result = await replayed(stack)
    assert {difference.what for difference in result.differences} == {"altered"}


async def test_a_record_moved_to_a_collection_that_nobody_asks_is_found(stack: Stack) -> None:
    record = await lived(stack)
    for table in ("record", "revision", "tag"):
        await stack.as_superuser(f"UPDATE vault.{table} SET collection_id = 999")  # noqa: S608 - ours
    with pytest.raises(NotFound):
        await stack.vault.records.read(stack.integration, "patients", record)
    result = await replayed(stack)
    assert "altered" in {difference.what for difference in result.differences}


@pytest.mark.parametrize(
    ("tampering", "what"),
    [
        (
            (
                "UPDATE vault.record r SET sealed = v.sealed, tags_digest = v.tags_digest FROM vault.revision v "
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
        (
            "UPDATE vault.record SET event_id = gen_random_uuid(), updated_at = '2999-01-01' WHERE revision = 3",
            "unknown",
        ),
        ("UPDATE vault.revision SET event_id = gen_random_uuid() WHERE revision = 1", "unknown"),
        (
            (
                "UPDATE vault.record SET event_id = (SELECT event_id FROM ledger.entry "
                "WHERE action = 'collection.create' LIMIT 1) WHERE revision = 3"
            ),
            "unknown",
        ),
        (
            (
                "UPDATE vault.record r SET subject_id = (SELECT min(o.subject_id::text)::uuid FROM vault.record o "
                "WHERE o.subject_id <> r.subject_id) WHERE revision = 3 AND subject_id IS NOT NULL"
            ),
            "moved",
        ),
        ("UPDATE vault.record SET subject_id = NULL WHERE subject_id IS NOT NULL", "moved"),
        (
            (
                "UPDATE vault.record r SET (subject_id, sealed_for) = (SELECT o.subject_id, o.subject_id "
                "FROM vault.record o WHERE o.subject_id <> r.subject_id LIMIT 1) WHERE subject_id IS NOT NULL"
            ),
            "altered",
        ),
        ("UPDATE vault.revision SET sealed_for = gen_random_uuid() WHERE sealed_for IS NOT NULL", "altered"),
        ("UPDATE vault.record SET deleted_at = NULL WHERE deleted_at IS NOT NULL", "undeleted"),
        ("UPDATE vault.record SET deleted_at = now() WHERE revision = 3 AND deleted_at IS NULL", "hidden"),
        ("UPDATE vault.record SET plain = jsonb_set(plain, '{10}', '\"false\"') WHERE plain IS NOT NULL", "altered"),
        ("UPDATE vault.record SET plain = NULL WHERE plain IS NOT NULL", "altered"),
        ("UPDATE vault.record SET tags = tags[2:], tag_fields = tag_fields[2:] WHERE cardinality(tags) > 0", "altered"),
        (
            "UPDATE vault.record SET tag_fields = '{}', tags = '{}', tags_digest = sha256('') WHERE tags <> '{}'",
            "altered",
        ),
        ("DELETE FROM vault.tag WHERE field_id = 0", "untagged"),
        (
            (
                "WITH moved AS (SELECT r.id FROM vault.record r WHERE r.revision = 3 AND r.tags = '{}') "
                "UPDATE vault.tag t SET record_id = moved.id FROM moved"
            ),
            "untagged",
        ),
        (
            "INSERT INTO vault.tag SELECT tenant_id, collection_id, field_id + 1, tag, slot, record_id FROM vault.tag",
            "stray",
        ),
        ("UPDATE vault.tag SET record_id = gen_random_uuid()", "stray"),
    ],
    ids=[
        *("ciphertexts-only", "history", "history-gone", "record-gone", "of-a-batch-gone", "no-entry", "twice"),
        *("of-the-future", "history-unknown", "another-act", "subject", "no-subject", "sealed-for", "history-of"),
        *("undeleted", "hidden", "plain", "plain-gone", "tags", "tags-and-digest", "tag-gone", "tag-moved"),
        *("tag-of-another-field", "tag-of-nobody"),
    ],
)
async def test_each_other_way_to_change_the_past_is_found(stack: Stack, tampering: str, what: str) -> None:
    await lived(stack)
    await stack.as_superuser(tampering)
    result = await replayed(stack)
    assert what in {difference.what for difference in result.differences}


async def test_a_unique_tag_in_the_slot_of_an_ordinary_one_is_found(stack: Stack) -> None:
    """The value can be taken a second time: the two tags are of different slots."""
    records, caller = stack.vault.records, stack.integration
    first = await records.create(caller, "patients", {"ssn": "123456789"})
    assert (await replayed(stack)).ok
    await stack.as_superuser("UPDATE vault.tag SET slot = record_id")
    second = await records.create(caller, "patients", {"ssn": "123456789"})
    assert first.id != second.id
    result = await replayed(stack)
    assert {(one.what, one.record) for one in result.differences} == {("untagged", first.id), ("stray", first.id)}


async def test_an_ordinary_tag_in_the_slot_of_a_unique_one_is_found(stack: Stack) -> None:
    """A search that goes on behind it loses rows: pages are in the order of the slots."""
    records, caller = stack.vault.records, stack.integration
    made = [await records.create(caller, "patients", {"phone": "+4930123456"}) for _ in range(2)]
    assert (await replayed(stack)).ok
    await stack.as_superuser(
        "UPDATE vault.tag SET slot = '00000000-0000-0000-0000-000000000000' WHERE record_id = $1", made[1].id
    )
    result = await replayed(stack)
    assert {(one.what, one.record) for one in result.differences} == {("untagged", made[1].id), ("stray", made[1].id)}


async def test_an_external_id_is_unique_without_being_declared_so(stack: Stack) -> None:
    await stack.vault.upserts.put(stack.integration, "wards", "w", {"title": "a"})
    assert (await replayed(stack)).ok
    await stack.as_superuser("UPDATE vault.tag SET slot = record_id WHERE field_id = 0")
    assert {one.what for one in (await replayed(stack)).differences} == {"untagged", "stray"}


async def test_mergers_that_were_entered_are_what_the_ledger_says(stack: Stack) -> None:
    await merged(stack)
    result = await replayed(stack)
    assert (result.ok, result.differences) == (True, [])


def test_mergers_end_where_they_lead_however_many_there_are() -> None:
    """Each is looked at once: somebody who can write events could make a ring that is gone round for hours."""
    many = [UUID(int=number) for number in range(1, 30_001)]
    chain = dict(pairwise(many))
    assert set(_ends(chain).values()) == {many[-1]}
    ring = chain | {many[-1]: many[0]}
    outside = UUID(int=40_000)
    assert _ends(ring | {outside: many[7]}) == dict.fromkeys([*many, outside], NIL)


@pytest.mark.parametrize("tampering", ["merged_into = NULL", "merged_into = id", "merged_into = gen_random_uuid()"])
async def test_a_merger_that_nobody_entered_is_found(stack: Stack, tampering: str) -> None:
    first, _, _ = await merged(stack)
    await stack.as_superuser(f"UPDATE vault.subject SET {tampering} WHERE id = $1", first)  # noqa: S608 - ours
    await stack.as_superuser(
        "UPDATE vault.record r SET subject_id = coalesce(s.merged_into, s.id) FROM vault.subject s "
        "WHERE s.id = r.sealed_for"
    )
    result = await replayed(stack)
    assert [(one.what, one.subject) for one in result.differences] == [("merged", first)]


@pytest.mark.parametrize(
    ("tampering", "error", "what"),
    [
        (("UPDATE vault.subject SET erased_at = now()", "DELETE FROM keys.subject_key"), SubjectErased, "erased"),
        (("UPDATE vault.subject SET erased_at = now()",), None, "erased"),
        (("DELETE FROM keys.subject_key",), IntegrityBroken, "keyless"),
        (("UPDATE keys.subject_key SET state = 'destroyed', wrapped = ''",), IntegrityBroken, "keyless"),
        (("DELETE FROM vault.subject", "DELETE FROM keys.subject_key"), IntegrityBroken, "orphaned"),
        (("DELETE FROM vault.subject",), None, "orphaned"),
    ],
    ids=["erased", "only-said-so", "no-key", "key-destroyed", "nobody", "no-row"],
)
async def test_an_erasure_that_nobody_entered_is_found(
    stack: Stack, tampering: tuple[str, ...], error: type[WellkeepError] | None, what: str
) -> None:
    """Whoever asks for the patient is told of an erasure, and nobody can erase yet."""
    made = await stack.vault.records.create(stack.integration, "patients", {"note": "first"})
    assert (await replayed(stack)).ok
    for statement in tampering:
        await stack.as_superuser(statement)
    if error is not None:
        with pytest.raises(error):
            await stack.vault.records.read(stack.integration, "patients", made.id)
    result = await replayed(stack)
    assert what in {one.what for one in result.differences if made.subject == one.subject or made.id == one.record}


async def test_what_waits_to_be_chained_is_not_unknown(stack: Stack) -> None:
    """The outbox holds the event of a change until the ledger does: no state is passed over for being young."""
    await lived(stack)
    await merged(stack)
    await stack.as_superuser(
        "WITH gone AS (DELETE FROM ledger.entry WHERE action <> 'record.batch' RETURNING tenant_id, event_id, entry) "
        "INSERT INTO ledger.outbox (tenant_id, event_id, event) SELECT tenant_id, event_id, "
        "sha256('') || convert_to((convert_from(entry, 'UTF8')::jsonb -> 'event')::text, 'UTF8') FROM gone WHERE "
        "convert_from(entry, 'UTF8')::jsonb -> 'event' ->> 'outcome' = 'done'"
    )
    result = await replayed(stack)
    assert (result.differences, result.entries) == ([], 1)


async def test_a_replay_leaves_between_two_pages(stack: Stack) -> None:
    with pytest.raises(Interrupted):
        await Replay(stack.vault.context, pool=stack.pool).run(stack.tenant, stopping=lambda: True)
