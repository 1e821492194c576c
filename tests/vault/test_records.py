"""Promise: a record goes in sealed and comes out only with a ledger entry, as it went in."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from vault.stack import PATIENTS, Stack
from wellkeep.base.errors import Conflict, Forbidden, NotFound, PreconditionFailed, Validation
from wellkeep.base.ids import uuid7
from wellkeep.vault.batch import NewRecord
from wellkeep.vault.values import Value

FULL: dict[str, Value] = {
    "ssn": "999-12-3456",
    "family": "Dr\u00fcbel-O\u2019Neil",
    "phone": "(555) 978-4581",
    "birth_date": "1980-02-29",
    "gender": "female",
    "note": "سلام e\u0301 \u202e\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    "resource": msgspec.Raw(b'{"a": 1.10,  "b":["\\u00e9"]}'),
    "weight": msgspec.Raw(b"71.50"),
    "visits": 2**53 - 1,
    "active": True,
    "seen": "2023-02-28T23:59:59.123456789+14:00",
    "balance": "12.10",
}


async def test_what_went_in_comes_out_byte_for_byte_and_is_on_record(stack: Stack) -> None:
    made = await stack.vault.records.create(stack.integration, "patients", FULL)
    view = await stack.vault.records.read(stack.integration, "patients", made.id)
    assert view.fields["resource"] == FULL["resource"]
    assert view.fields["weight"] == msgspec.Raw(b"71.50")
    assert view.fields["balance"] == msgspec.Raw(b"12.10")
    plain = {name: value for name, value in view.fields.items() if name not in ("resource", "weight", "balance")}
    assert plain == {name: FULL[name] for name in plain}
    assert set(view.fields) == set(FULL)
    assert (view.subject, view.revision, view.withheld) == (made.subject, 1, ())
    (created,) = await stack.entries("record.create")
    (read,) = await stack.entries("record.read")
    assert created["subject"] == read["subject"] == made.subject
    assert "999-12" not in created["text"] + read["text"]


async def test_a_change_seals_what_it_names_and_leaves_the_rest(stack: Stack) -> None:
    made = await stack.vault.records.create(stack.integration, "patients", FULL)
    before = (await stack.as_superuser("SELECT field_ids, sealed::bytea[] AS sealed FROM vault.record"))[0]
    changed = await stack.vault.records.change(
        stack.integration, "patients", made.id, {"note": "new", "phone": None, "active": False}, expected=1
    )
    after = (await stack.as_superuser("SELECT field_ids, sealed::bytea[] AS sealed FROM vault.record"))[0]
    old = dict(zip(before["field_ids"], before["sealed"], strict=True))
    new = dict(zip(after["field_ids"], after["sealed"], strict=True))
    assert len(set(old.values()) - set(new.values())) == 2
    assert len(set(new.values()) - set(old.values())) == 1
    view = await stack.vault.records.read(stack.integration, "patients", made.id)
    assert (changed.revision, view.revision, view.fields["note"], view.fields["active"]) == (2, 2, "new", False)
    assert "phone" not in view.fields
    first = await stack.vault.records.read(stack.integration, "patients", made.id, revision=1)
    assert (first.revision, first.fields["note"], first.fields["active"]) == (1, FULL["note"], True)


async def test_two_writers_on_one_revision_are_told_apart(stack: Stack) -> None:
    made = await stack.vault.records.create(stack.integration, "patients", FULL)
    change = stack.vault.records.change
    outcomes = await asyncio.gather(
        *(change(stack.integration, "patients", made.id, {"visits": n}, expected=1) for n in range(4)),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["PreconditionFailed"] * 3 + ["Written"]
    with pytest.raises(PreconditionFailed):
        await change(stack.integration, "patients", made.id, {"visits": 1}, expected=1)
    with pytest.raises(PreconditionFailed):
        await stack.vault.records.delete(stack.integration, "patients", made.id, expected=7)


async def test_a_deleted_record_is_gone_and_frees_its_unique_value(stack: Stack) -> None:
    made = await stack.vault.records.create(stack.integration, "patients", FULL)
    with pytest.raises(Conflict):
        await stack.vault.records.create(stack.integration, "patients", {"ssn": "999123456"})
    await stack.vault.records.delete(stack.integration, "patients", made.id, expected=1)
    for work in (
        stack.vault.records.read(stack.integration, "patients", made.id),
        stack.vault.records.read(stack.integration, "patients", made.id, revision=1),
        stack.vault.records.delete(stack.integration, "patients", made.id, expected=2),
    ):
        with pytest.raises(NotFound):
            await work
    assert await stack.as_superuser("SELECT FROM vault.tag") == []
    await stack.vault.records.create(stack.integration, "patients", {"ssn": "999123456"})


async def test_another_tenants_ids_are_not_found(stack: Stack) -> None:
    made = await stack.vault.records.create(stack.integration, "patients", FULL)
    await stack.declare(PATIENTS, tenant=stack.other)
    stranger = stack.caller("integration", tenant=stack.other)
    for work in (
        stack.vault.records.read(stranger, "patients", made.id),
        stack.vault.records.change(stranger, "patients", made.id, {"note": "x"}, expected=1),
        stack.vault.records.delete(stranger, "patients", made.id, expected=1),
        stack.vault.records.create(stranger, "notes", {"text": "x"}, subject=made.subject),
        stack.vault.records.read(stack.integration, "patients", uuid7()),
        stack.vault.records.read(stack.integration, "wards", made.id),
    ):
        with pytest.raises(NotFound):
            await work


async def test_a_role_sees_its_groups_and_writes_no_other(stack: Stack) -> None:
    made = await stack.vault.records.create(stack.integration, "patients", FULL)
    bill = await stack.vault.records.read(stack.billing, "patients", made.id)
    assert "note" not in bill.fields
    assert {"note", "resource", "weight", "visits", "seen"} == set(bill.withheld)
    assert "balance" in bill.fields
    care = await stack.vault.records.read(stack.clinician, "patients", made.id, fields=["note", "balance"])
    assert (set(care.fields), care.withheld) == ({"note"}, ("balance",))
    with pytest.raises(Forbidden):
        await stack.vault.records.create(stack.clinician, "patients", {"balance": "1"})
    with pytest.raises(Forbidden):
        await stack.vault.records.change(stack.clinician, "patients", made.id, {"balance": None}, expected=1)
    with pytest.raises(Forbidden):
        await stack.vault.search.search(stack.clinician, "patients", {"balance": "1"})
    failed = await stack.as_superuser("SELECT count(*) AS n FROM ledger.entry WHERE outcome = 'failed'")
    assert failed[0]["n"] == 3


async def test_a_record_of_a_subject_is_sealed_under_its_key(stack: Stack) -> None:
    patient = await stack.vault.records.create(stack.integration, "patients", {"family": "Koepp"})
    note = await stack.vault.records.create(stack.integration, "notes", {"text": "a"}, subject=patient.subject)
    ward = await stack.vault.records.create(stack.integration, "wards", {"title": "north", "beds": 12})
    rows = await stack.as_superuser("SELECT sealed::bytea[] AS sealed, subject_id FROM vault.record ORDER BY id")
    kids = [row["sealed"][0][4:20] for row in rows]
    assert kids[0] == kids[1] != kids[2]
    assert [row["sealed"][0][2] for row in rows] == [1, 1, 2]
    assert (note.subject, ward.subject) == (patient.subject, None)
    view = await stack.vault.records.read(stack.integration, "wards", ward.id)
    assert view.fields == {"title": "north", "beds": 12}
    with pytest.raises(Validation):
        await stack.vault.records.create(stack.integration, "notes", {"text": "a"})
    with pytest.raises(Validation):
        await stack.vault.records.create(stack.integration, "wards", {"title": "x"}, subject=patient.subject)
    with pytest.raises(NotFound):
        await stack.vault.records.create(stack.integration, "notes", {"text": "a"}, subject=uuid7())


async def test_a_merged_subjects_records_are_found_under_the_other(stack: Stack) -> None:
    vault, caller = stack.vault, stack.integration
    one = await vault.records.create(caller, "patients", {"family": "Koepp"})
    two = await vault.records.create(caller, "patients", {"family": "K\u00f6pp"})
    note = await vault.records.create(caller, "notes", {"text": "a", "code": "c"}, subject=two.subject)
    assert one.subject is not None
    assert two.subject is not None
    merged = await vault.subjects.merge(caller, two.subject, into=one.subject)
    assert merged.merged_into == one.subject
    view = await vault.records.read(caller, "notes", note.id)
    assert (view.subject, view.fields["text"]) == (one.subject, "a")
    later = await vault.records.create(caller, "notes", {"text": "b"}, subject=two.subject)
    assert later.subject == one.subject
    page = await vault.search.search(caller, "notes", subject=one.subject)
    assert {record.id for record in page.records} == {note.id, later.id}
    again = await vault.records.change(caller, "notes", note.id, {"text": "c"}, expected=1)
    assert again.revision == 2
    assert (await vault.records.read(caller, "notes", note.id)).fields["text"] == "c"
    with pytest.raises(Conflict):
        await vault.subjects.merge(caller, two.subject, into=one.subject)


async def test_an_upsert_of_the_same_content_changes_nothing(stack: Stack) -> None:
    put, caller = stack.vault.upserts.put, stack.integration
    first = await put(caller, "patients", "Ext-1", FULL)
    state = await stack.as_superuser("SELECT sealed::bytea[] AS sealed, revision FROM vault.record")
    again = await put(caller, "patients", "Ext-1", dict(reversed(FULL.items())))
    assert (first.outcome, again.outcome, again.written.id) == ("created", "unchanged", first.written.id)
    assert await stack.as_superuser("SELECT sealed::bytea[] AS sealed, revision FROM vault.record") == state
    other = await put(caller, "patients", "ext-1", {"family": "Other"})
    assert other.outcome == "created"
    fewer = await put(caller, "patients", "Ext-1", {"family": "Fewer"})
    assert (fewer.outcome, fewer.written.revision) == ("updated", 2)
    view = await stack.vault.records.read(caller, "patients", first.written.id)
    assert view.fields == {"family": "Fewer"}
    twins = await asyncio.gather(*(put(caller, "wards", "w", {"title": "north"}) for _ in range(4)))
    assert sorted(twin.outcome for twin in twins) == ["created", "unchanged", "unchanged", "unchanged"]
    raw = await stack.as_superuser("SELECT row_to_json(r)::text AS text FROM vault.record r")
    assert all("Ext-1" not in row["text"] for row in raw)


async def test_a_repeated_idempotency_key_gets_the_first_answer(stack: Stack) -> None:
    create, caller = stack.vault.records.create, stack.integration
    twins = await asyncio.gather(
        *(create(caller, "patients", {"family": "Koepp"}, idempotency_key="k-1") for _ in range(5))
    )
    assert len({twin.id for twin in twins}) == 1
    assert (await stack.as_superuser("SELECT count(*) AS n FROM vault.record"))[0]["n"] == 1
    with pytest.raises(Conflict):
        await create(caller, "patients", {"family": "Other"}, idempotency_key="k-1")
    assert (await create(caller, "patients", {"family": "Koepp"}, idempotency_key="k-2")).id != twins[0].id
    change = stack.vault.records.change
    once = await change(caller, "patients", twins[0].id, {"note": "x"}, expected=1, idempotency_key="c-1")
    again = await change(caller, "patients", twins[0].id, {"note": "x"}, expected=1, idempotency_key="c-1")
    assert once == again
    with pytest.raises(Validation):
        await create(caller, "patients", {}, idempotency_key="")


async def test_a_refused_change_frees_its_idempotency_key_and_an_old_one_is_forgotten(stack: Stack) -> None:
    create, caller = stack.vault.records.create, stack.integration
    await create(caller, "patients", {"ssn": "999-12-3456"})
    with pytest.raises(Conflict):
        await create(caller, "patients", {"ssn": "999123456"}, idempotency_key="k")
    first = await create(caller, "patients", {"ssn": "999-12-3457"}, idempotency_key="k")
    await stack.as_superuser("UPDATE vault.idempotency SET created_at = created_at - interval '25 hours'")
    second = await create(caller, "patients", {"family": "Koepp"}, idempotency_key="k")
    assert first.id != second.id


async def test_a_batch_answers_each_row_for_itself(stack: Stack) -> None:
    caller = stack.integration
    await stack.vault.records.create(caller, "patients", {"ssn": "999-00-0001"})
    rows = [
        NewRecord({"ssn": "999-00-0002"}),
        NewRecord({"ssn": "999-00-0001"}),
        NewRecord({"birth_date": "2023-02-30"}),
        NewRecord({"ssn": "999-00-0002"}),
        NewRecord({"family": "Koepp"}),
    ]
    outcomes = await stack.vault.batches.create(caller, "patients", rows, idempotency_key="b")
    assert [outcome.error for outcome in outcomes[1:3]] == ["conflict", "validation"]
    assert outcomes[2].fields == (("/fields/birth_date", "malformed"),)
    assert sorted(outcomes[place].error or "" for place in (0, 3)) == ["", "conflict"]
    made = [outcome.id for outcome in outcomes if outcome.id]
    outcomes_entered = [entry["outcome"] for entry in await stack.entries("record.batch")]
    assert (outcomes_entered, len(made)) == (["done", "failed"], 2)
    assert await stack.vault.batches.create(caller, "patients", rows, idempotency_key="b") == outcomes
    for count in (0, 501):
        with pytest.raises(Validation):
            await stack.vault.batches.create(caller, "patients", [NewRecord({})] * count)
