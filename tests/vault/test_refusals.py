"""Promise: what an answer tells of stored data is on record, also where the answer is a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any
from uuid import UUID

import msgspec
import pytest

from vault.stack import Stack, field
from wellkeep.base.errors import Conflict, NotFound, PreconditionFailed, WellkeepError
from wellkeep.base.ids import uuid7
from wellkeep.ledger.grammar import pack_ids
from wellkeep.vault.batch import NewRecord
from wellkeep.vault.declaration import CollectionSpec
from wellkeep.vault.values import Value


def packed(record: UUID | None) -> list[str]:
    """Return an id as an entry holds it."""
    assert record is not None
    return pack_ids("records", (record,))


async def failures(stack: Stack) -> list[dict[str, Any]]:
    """Return the events of what failed in the first tenant, oldest first."""
    rows = await stack.as_superuser(
        "SELECT entry FROM ledger.entry WHERE tenant_id = $1 AND outcome = 'failed' ORDER BY epoch, seq", stack.tenant
    )
    return [msgspec.json.decode(row["entry"])["event"] for row in rows]


async def refused(stack: Stack, work: Awaitable[object], error: type[WellkeepError]) -> dict[str, Any]:
    """Return the one event that a refused request left."""
    before = len(await failures(stack))
    with pytest.raises(error):
        await work
    (entered,) = (await failures(stack))[before:]
    assert str(entered["error"]).startswith(error.code) or entered["error"] == "stale-revision"
    return entered


async def test_that_a_record_a_collection_or_a_subject_is_not_there_is_entered(stack: Stack) -> None:
    vault, caller, nobody = stack.vault, stack.integration, uuid7()
    for work in (
        vault.records.read(caller, "patients", nobody),
        vault.records.change(caller, "patients", nobody, {"note": "x"}, expected=1),
        vault.records.change(caller, "patients", nobody, {"note": "x"}, expected=1, idempotency_key="none"),
        vault.records.delete(caller, "patients", nobody, expected=1),
    ):
        entered = await refused(stack, work, NotFound)
        assert entered["resource"] == {"type": "record", "id": str(nobody)}
    await refused(stack, vault.subjects.get(caller, nobody), NotFound)
    await refused(stack, vault.records.create(caller, "nothing", {}), NotFound)
    entered = await refused(stack, vault.records.create(caller, "notes", {"text": "a"}, subject=nobody), NotFound)
    assert entered["subject"] == str(nobody)


async def test_a_precondition_that_fails_is_entered_with_the_record(stack: Stack) -> None:
    vault, caller = stack.vault, stack.integration
    made = await vault.records.create(caller, "patients", {"family": "Koepp"})
    for work in (
        vault.records.change(caller, "patients", made.id, {"note": "x"}, expected=7),
        vault.records.change(caller, "patients", made.id, {"note": "x"}, expected=7, idempotency_key="k"),
        vault.records.delete(caller, "patients", made.id, expected=7),
    ):
        entered = await refused(stack, work, PreconditionFailed)
        assert (entered["records"], entered["subject"]) == (packed(made.id), str(made.subject))


async def test_a_batch_tells_no_value_that_is_taken_without_an_entry(stack: Stack) -> None:
    caller = stack.integration
    taken = await stack.vault.records.create(caller, "patients", {"ssn": "999-00-0001"})
    outcomes = await stack.vault.batches.create(caller, "patients", [NewRecord({"ssn": "999000001"})])
    assert [outcome.error for outcome in outcomes] == ["conflict"]
    mixed = [NewRecord({"ssn": "999-00-0001"}), NewRecord({"ssn": "999-00-0002"}), NewRecord({"visits": "x"})]
    outcomes = await stack.vault.batches.create(caller, "patients", mixed)
    assert [outcome.error for outcome in outcomes] == ["conflict", None, "validation"]
    entered = await failures(stack)
    assert [event["error"] for event in entered] == ["conflict"] * 2
    for event in entered:
        assert (event["count"], event["records"]) == (1, packed(taken.id))
        assert event["subjects"] == packed(taken.subject)
    rows = [NewRecord({"text": "a"}, subject=uuid7()) for _ in range(3)]
    outcomes = await stack.vault.batches.create(caller, "notes", rows)
    assert [outcome.error for outcome in outcomes] == ["not-found"] * 3
    assert (await failures(stack))[-1]["count"] == 3


async def test_an_upsert_for_nobody_does_not_tell_which_external_ids_exist(stack: Stack) -> None:
    put, caller = stack.vault.upserts.put, stack.integration
    one, two = [(await stack.vault.subjects.create(caller)).id for _ in range(2)]
    made = await put(caller, "notes", "there", {"text": "a"}, subject=one)
    for external_id in ("there", "not-there"):
        await refused(stack, put(caller, "notes", external_id, {"text": "a"}, subject=uuid7()), NotFound)
    entered = await refused(stack, put(caller, "notes", "there", {"text": "a"}, subject=two), Conflict)
    assert (entered["records"], entered["subject"]) == (packed(made.written.id), str(one))


async def test_one_clash_of_a_subjects_row_leaves_the_others_of_its_batch(stack: Stack) -> None:
    caller = stack.integration
    await stack.declare(CollectionSpec(name="visits", subject="required", fields=(field("number", index="unique"),)))
    subject = (await stack.vault.subjects.create(caller)).id
    await stack.vault.records.create(caller, "visits", {"number": "1"}, subject=subject)
    rows = [NewRecord({"number": number}, subject=subject) for number in ("0", "1", "2")]
    outcomes = await stack.vault.batches.create(caller, "visits", rows)
    assert [outcome.error for outcome in outcomes] == [None, "conflict", None]


async def test_who_sees_a_part_of_a_record_replaces_no_more_than_that(stack: Stack) -> None:
    put, read = stack.vault.upserts.put, stack.vault.records.read
    full: dict[str, Value] = {"ssn": "999-12-3456", "family": "Koepp", "note": "n", "balance": "12.10", "active": True}
    made = await put(stack.integration, "patients", "e", full)
    before = (await read(stack.integration, "patients", made.written.id)).fields
    clinician = stack.clinician
    seen = (await read(clinician, "patients", made.written.id)).fields
    assert set(seen) < set(before)
    changed = await put(clinician, "patients", "e", {name: full[name] for name in seen if name != "family"})
    assert (changed.outcome, changed.written.revision) == ("updated", 2)
    after = (await read(stack.integration, "patients", made.written.id)).fields
    assert after == {name: value for name, value in before.items() if name != "family"}
    again = await put(clinician, "patients", "e", {name: full[name] for name in seen if name != "family"})
    assert (again.outcome, again.written.revision) == ("unchanged", 2)
    with pytest.raises(Conflict):
        await stack.vault.records.create(stack.integration, "patients", {"ssn": "999123456"})
    whole = await put(stack.integration, "patients", "e", full)
    assert (whole.outcome, (await read(stack.integration, "patients", made.written.id)).fields) == ("updated", before)


async def test_puts_at_the_same_time_have_no_condition_to_fail(stack: Stack) -> None:
    put, caller = stack.vault.upserts.put, stack.integration
    await put(caller, "patients", "e", {"visits": 0})
    done = await asyncio.gather(*(put(caller, "patients", "e", {"visits": n}) for n in range(1, 5)))
    assert sorted(one.written.revision for one in done) == [2, 3, 4, 5]


async def test_a_field_set_to_nothing_is_not_a_field_cleared(stack: Stack) -> None:
    change, caller = stack.vault.records.change, stack.integration
    made = await stack.vault.records.create(caller, "patients", {"note": "x"})
    await change(caller, "patients", made.id, {"note": ""}, expected=1, idempotency_key="k")
    with pytest.raises(Conflict):
        await change(caller, "patients", made.id, {"note": None}, expected=1, idempotency_key="k")


async def test_a_change_is_answered_again_after_its_record_was_deleted(stack: Stack) -> None:
    change, caller = stack.vault.records.change, stack.integration
    made = await stack.vault.records.create(caller, "patients", {"note": "x"})
    once = await change(caller, "patients", made.id, {"note": "y"}, expected=1, idempotency_key="k")
    await stack.vault.records.delete(caller, "patients", made.id, expected=2)
    assert await change(caller, "patients", made.id, {"note": "y"}, expected=1, idempotency_key="k") == once
    with pytest.raises(Conflict):
        await change(caller, "patients", made.id, {"note": "z"}, expected=1, idempotency_key="k")
    with pytest.raises(NotFound):
        await change(caller, "patients", made.id, {"note": "y"}, expected=2, idempotency_key="other")
