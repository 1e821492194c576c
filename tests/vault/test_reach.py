"""Clinicians see their own patients: every path that discloses or changes something of a patient, own and other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import msgspec
import pytest

from vault.reach import Ward, break_glass, new_person, open_ward, someone
from vault.stack import Stack
from wellkeep.access.custom_roles import own_role
from wellkeep.assembly.disclosures import Disclosures
from wellkeep.assembly.ledger_search import LedgerSearch
from wellkeep.base.errors import Conflict, Forbidden, NotFound, SubjectErased, Validation
from wellkeep.base.ids import uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.purpose import Purpose
from wellkeep.gate.acts import Caller
from wellkeep.vault import search_reach
from wellkeep.vault.batch import NewRecord
from wellkeep.vault.declaration import CollectionChange
from wellkeep.vault.erasure import Erasures
from wellkeep.vault.exports import Exports
from wellkeep.vault.imports import Imports

Path = Callable[[Ward, Caller, UUID, UUID], Awaitable[object]]


@pytest.fixture
async def ward(stack: Stack) -> Ward:
    return await open_ward(stack)


async def read(ward: Ward, caller: Caller, subject: UUID, note: UUID) -> object:
    return await ward.stack.vault.records.read(caller, "notes", note)


async def history(ward: Ward, caller: Caller, subject: UUID, note: UUID) -> object:
    return await ward.stack.vault.records.read(caller, "notes", note, revision=1)


async def change(ward: Ward, caller: Caller, subject: UUID, note: UUID) -> object:
    return await ward.stack.vault.records.change(caller, "notes", note, {"text": "new"}, expected=1)


async def delete(ward: Ward, caller: Caller, subject: UUID, note: UUID) -> object:
    return await ward.stack.vault.records.delete(caller, "notes", note, expected=1)


async def create(ward: Ward, caller: Caller, subject: UUID, note: UUID) -> object:
    return await ward.stack.vault.records.create(caller, "notes", {"text": "more"}, subject=subject)


async def batch(ward: Ward, caller: Caller, subject: UUID, note: UUID) -> object:
    rows = [NewRecord({"text": "a"}, ward.mine), NewRecord({"text": "b"}, subject)]
    return await ward.stack.vault.batches.create(caller, "notes", rows)


async def upsert(ward: Ward, caller: Caller, subject: UUID, note: UUID) -> object:
    put, name = ward.stack.vault.upserts.put, f"of-{subject}"
    await put(ward.stack.integration, "notes", name, {"text": "before"}, subject=subject)
    return await put(caller, "notes", name, {"text": "put"}, subject=subject)


async def search(ward: Ward, caller: Caller, subject: UUID, note: UUID) -> object:
    found = await ward.stack.vault.search.search(caller, "notes", subject=subject)
    assert len(found.records) == 1
    return found


async def subject_read(ward: Ward, caller: Caller, subject: UUID, note: UUID) -> object:
    return await ward.stack.vault.subjects.get(caller, subject)


PATHS: list[Path] = [read, history, change, create, batch, upsert, search, subject_read]


@pytest.mark.parametrize("path", PATHS)
async def test_each_path_is_open_for_ones_own_patient_and_closed_for_anothers(ward: Ward, path: Path) -> None:
    clinician = ward.clinician()
    with pytest.raises(Forbidden, match="not one of yours"):
        await path(ward, clinician, ward.others, ward.other_note)
    denied = (await ward.stack.entries("access.denied"))[-1]["text"]
    assert "deny:care-team/" in denied
    assert str(ward.others) in denied
    await path(ward, clinician, ward.mine, ward.my_note)
    await ward.teams.remove(ward.administrator, ward.mine, person=ward.person)
    with pytest.raises(Forbidden, match="not one of yours"):
        await path(ward, clinician, ward.mine, ward.my_note)


async def test_nobody_without_a_person_reaches_anybody_by_a_bound_role(ward: Ward) -> None:
    key = ward.stack.clinician
    for path in PATHS:
        with pytest.raises(Forbidden):
            await path(ward, key, ward.mine, ward.my_note)
    with pytest.raises(Forbidden):
        await ward.stack.vault.records.create(key, "patients", {"family": "New"})
    assert (await ward.stack.vault.search.search(key, "notes")).records == ()
    assert (await ward.stack.vault.records.read(ward.stack.integration, "notes", ward.my_note)).subject == ward.mine


async def test_a_search_shows_ones_own_and_says_nothing_of_the_rest(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, clinician = ward.stack, ward.clinician()
    for number in range(6):
        subject = ward.mine if number % 3 == 0 else ward.others
        await stack.vault.records.create(
            stack.integration, "notes", {"text": f"{number}", "code": "same"}, subject=subject
        )
    monkeypatch.setattr(search_reach, "SLICE", 2)
    for where in ({}, {"code": "same"}):
        seen, cursor, pages = [], None, 0
        while pages == 0 or cursor is not None:
            page = await stack.vault.search.search(clinician, "notes", where, limit=2, cursor=cursor)
            seen += [record.subject for record in page.records]
            cursor, pages = page.cursor, pages + 1
            assert len(page.records) == 2 or cursor is None, "no page ends early because of what is not shown"
        assert seen == [ward.mine] * 3
    told = (await stack.entries("record.search"))[-1]["text"]
    assert str(ward.others) not in told
    assert str(ward.other_note) not in told


async def test_a_search_that_finds_too_much_of_others_ends_with_a_cursor_that_names_no_record(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, stranger = ward.stack, ward.clinician(person=await new_person(ward.stack))
    monkeypatch.setattr(search_reach, "SLICE", 1)
    monkeypatch.setattr(search_reach, "MOST_SLICES", 1)
    cursors: list[str | None] = [None]
    while len(cursors) == 1 or (cursors[-1] is not None and len(cursors) < 9):
        page = await stack.vault.search.search(stranger, "notes", limit=5, cursor=cursors[-1])
        assert page.records == ()
        cursors.append(page.cursor)
    assert cursors[1] is not None
    assert cursors[-1] is None
    assert search_reach._some_time_before(UUID(int=(7 << 32) + 5), after=UUID(int=3)) == UUID(int=7 << 32)
    assert search_reach._some_time_before(UUID(int=(7 << 32) + 5), after=UUID(int=7 << 32)).int == (7 << 32) + 5


async def test_one_more_role_that_is_bound_to_nobody_shows_what_it_sees_of_everybody(ward: Ward) -> None:
    stack = ward.stack
    patients = [
        (await stack.vault.records.create(stack.integration, "patients", {"ssn": f"99912345{n}0", "family": "Ode"}))
        for n in range(2)
    ]
    first, second = (patient.subject for patient in patients)
    assert first is not None
    await ward.teams.add(ward.administrator, first, person=ward.person)
    both = ward.clinician("coach")
    own = await stack.vault.records.read(both, "patients", patients[0].id)
    other = await stack.vault.records.read(both, "patients", patients[1].id)
    assert "ssn" in own.fields
    assert (other.subject, "ssn" in other.fields, "ssn" in other.withheld) == (second, False, True)
    page = await stack.vault.search.search(both, "patients")
    assert [("ssn" in one.fields, one.subject) for one in page.records] == [(True, first), (False, second)]
    by_number = await stack.vault.search.search(both, "patients", {"ssn": "9991234510"})
    assert by_number.records == (), "whoever can't see the number can't find by it"
    with pytest.raises(Forbidden):
        await stack.vault.records.change(both, "patients", patients[1].id, {"ssn": "999123457"}, expected=1)
    await stack.vault.records.change(both, "patients", patients[1].id, {"note": "seen"}, expected=1)
    await stack.vault.upserts.put(stack.integration, "patients", "ext", {"ssn": "999887777"})
    for name in ("ext", "not-there"):
        with pytest.raises(Forbidden, match="not one of yours"):
            await stack.vault.upserts.put(both, "patients", name, {"note": "seen"})


async def test_an_external_id_out_of_reach_is_answered_as_one_that_is_not_there(ward: Ward) -> None:
    """Whoever is bound changes what their own patients have by an external id, and makes nothing: else a put tells."""
    stack, put, clinician = ward.stack, ward.stack.vault.upserts.put, ward.clinician()
    await put(stack.integration, "notes", "theirs", {"text": "a"}, subject=ward.others)
    await put(stack.integration, "patients", "theirs", {"family": "Koepp"})
    await break_glass(stack, ward.person, ward.mine, until=stack.clock.now() + timedelta(minutes=5))
    emergency = ward.clinician(purpose=Purpose.BREAK_GLASS)
    for caller, words in ((clinician, "not one of yours"), (emergency, "Break the glass")):
        told = set()
        for name in ("theirs", "not-there"):
            for collection, subject in (("notes", ward.mine), ("notes", ward.others), ("patients", None)):
                with pytest.raises(Forbidden, match=words) as refused:
                    await put(caller, collection, name, {}, subject=subject)
                told.add((refused.value.message, refused.value.fields, refused.value.resource))
        assert len(told) == 1
    mine = await put(stack.integration, "notes", "mine", {"text": "a"}, subject=ward.mine)
    for number, caller in enumerate((clinician, emergency)):
        done = await put(caller, "notes", "mine", {"text": f"{number}"}, subject=ward.mine)
        assert (done.outcome, done.written.id) == ("updated", mine.written.id)
    assert (await put(clinician, "wards", "new", {"title": "East"})).outcome == "created", "it can be nobody's secret"


async def test_who_is_free_as_well_puts_what_the_free_role_sees_under_any_external_id(ward: Ward) -> None:
    both, put = ward.clinician("integration"), ward.stack.vault.upserts.put
    assert (await put(both, "notes", "new", {"text": "a"}, subject=ward.others)).outcome == "created"
    assert (await put(both, "notes", "new", {"text": "b"}, subject=ward.others)).outcome == "updated"


async def test_what_is_of_nobody_yet_is_covered_and_an_unknown_patient_is_not(ward: Ward) -> None:
    stack, clinician = ward.stack, ward.clinician()
    made = await stack.vault.records.create(clinician, "patients", {"family": "New"})
    with pytest.raises(Forbidden):
        await stack.vault.records.read(clinician, "patients", made.id)
    await stack.vault.subjects.create(clinician)
    for unknown in (uuid7(), stack.tenant):
        with pytest.raises(Forbidden):
            await stack.vault.subjects.get(clinician, unknown)


async def test_merged_patients_have_one_team(ward: Ward) -> None:
    stack, clinician = ward.stack, ward.clinician()
    await stack.vault.subjects.merge(stack.integration, ward.mine, into=ward.others)
    assert (await stack.vault.records.read(clinician, "notes", ward.other_note)).subject == ward.others
    assert (await stack.vault.records.read(clinician, "notes", ward.my_note)).subject == ward.others
    assert [one.person for one in await ward.teams.members(ward.administrator, ward.mine)] == [ward.person]
    await ward.teams.remove(ward.administrator, ward.others, person=ward.person)
    with pytest.raises(Forbidden):
        await stack.vault.records.read(clinician, "notes", ward.my_note)


async def test_a_bound_role_neither_merges_erases_accounts_exports_nor_imports_beyond_its_patients(ward: Ward) -> None:
    stack = ward.stack
    await ward.rules.change(ward.administrator, care_team=("integration", "privacy_officer"))
    software = someone(stack, "integration", person=ward.person)
    officer = someone(stack, "privacy_officer", person=ward.person)
    context = stack.vault.context
    with pytest.raises(Forbidden):
        await stack.vault.subjects.merge(software, ward.mine, into=ward.others)
    with pytest.raises(Forbidden):
        await delete(ward, officer, ward.others, ward.other_note)
    erasures = Erasures(context, remember=lambda _: None)
    with pytest.raises(Forbidden):
        await erasures.erase(officer, ward.others)
    told = Disclosures(gate=stack.gate, cursors=context.cursors, clock=stack.clock)
    with pytest.raises(Forbidden):
        await told.page(officer, ward.others, limit=5)
    assert (await told.page(officer, ward.mine, limit=5)).subject == ward.mine
    exports, imports = Exports(context=context), Imports(context=context)
    for refused in (
        exports.create(software, collection="notes", format="ndjson"),
        exports.content(software, uuid7()),
        imports.create(software, collection="notes", format="ndjson"),
        imports.put_part(software, uuid7(), 0, b"{}"),
    ):
        with pytest.raises(Forbidden, match="not one of yours"):
            await refused
    found = LedgerSearch(gate=stack.gate, cursors=context.cursors)
    with pytest.raises(Forbidden):
        await found.search(officer, subject=ward.mine, limit=5)
    await delete(ward, officer, ward.mine, ward.my_note)
    await erasures.erase(officer, ward.mine)


async def test_a_field_that_a_role_hides_is_withheld_unsearched_and_kept(ward: Ward) -> None:
    stack = ward.stack
    permissions = [Permission.RECORD_READ, Permission.RECORD_SEARCH, Permission.RECORD_CHANGE, Permission.RECORD_CREATE]
    role = own_role(
        "nurse",
        permissions=permissions,
        groups=["clinical", "identifier"],
        purposes=[Purpose.TREATMENT],
        default_purpose=Purpose.TREATMENT,
        hidden=["notes.code"],
    )
    await ward.roles.put(ward.administrator, role)
    nurse = someone(stack, "nurse")
    view = await stack.vault.records.read(nurse, "notes", ward.my_note)
    assert (set(view.fields), view.withheld) == ({"text"}, ("code",))
    with pytest.raises(Forbidden):
        await stack.vault.search.search(nurse, "notes", {"code": "same"})
    with pytest.raises(Forbidden):
        await stack.vault.records.change(nurse, "notes", ward.my_note, {"code": "x"}, expected=1)
    await stack.vault.upserts.put(stack.integration, "notes", "ext", {"text": "a", "code": "kept"}, subject=ward.mine)
    put = await stack.vault.upserts.put(nurse, "notes", "ext", {"text": "b"}, subject=ward.mine)
    whole = await stack.vault.records.read(stack.integration, "notes", put.written.id)
    assert whole.fields == {"text": "b", "code": "kept"}
    assert "code" in (await stack.vault.records.read(someone(stack, "nurse", "coach"), "notes", ward.my_note)).fields


async def test_a_broken_glass_opens_its_patient_and_no_other(ward: Ward) -> None:
    stack = ward.stack
    emergency = ward.clinician(purpose=Purpose.BREAK_GLASS)
    with pytest.raises(Forbidden, match="Break the glass"):
        await stack.vault.records.read(emergency, "notes", ward.other_note)
    await break_glass(stack, ward.person, ward.others, until=stack.clock.now() + timedelta(minutes=5))
    assert (await stack.vault.records.read(emergency, "notes", ward.other_note)).subject == ward.others
    with pytest.raises(Forbidden, match="Break the glass"):
        await stack.vault.records.read(emergency, "notes", ward.my_note)
    assert [one.subject for one in (await stack.vault.search.search(emergency, "notes")).records] == [ward.others]
    with pytest.raises(Forbidden):
        await stack.vault.records.create(emergency, "patients", {"family": "New"})


async def test_a_team_is_a_list_of_persons_who_are_there(ward: Ward) -> None:
    administrator, teams = ward.administrator, ward.teams
    with pytest.raises(Conflict, match="already"):
        await teams.add(administrator, ward.mine, person=ward.person)
    for person in (uuid7(), ward.mine):
        with pytest.raises(NotFound):
            await teams.add(administrator, ward.mine, person=person)
    for subject in (uuid7(), ward.person):
        with pytest.raises(NotFound):
            await teams.add(administrator, subject, person=ward.person)
    with pytest.raises(NotFound):
        await teams.remove(administrator, ward.others, person=ward.person)
    with pytest.raises(Validation):
        await teams.add(administrator, ward.others, person=ward.person, until=ward.stack.clock.now())
    with pytest.raises(Forbidden):
        await teams.add(ward.clinician(), ward.others, person=await new_person(ward.stack))
    themself = await new_person(ward.stack)
    with pytest.raises(Forbidden, match="themself"):
        await teams.add(someone(ward.stack, "administrator", person=themself), ward.others, person=themself)
    changed = [entry["text"] for entry in await ward.stack.entries("team.changed")]
    assert '"added"' in changed[0]
    assert str(ward.person) in changed[0]


async def test_a_membership_ends_with_its_time_and_begins_anew(ward: Ward) -> None:
    stack, clinician = ward.stack, ward.clinician()
    await stack.as_superuser(
        "UPDATE access.care_team SET since = now() - interval '2 h', until = now() - interval '1 s'"
    )
    with pytest.raises(Forbidden):
        await read(ward, clinician, ward.mine, ward.my_note)
    assert await ward.teams.members(ward.administrator, ward.mine) == []
    later = stack.clock.now() + timedelta(days=1)
    assert (await ward.teams.add(ward.administrator, ward.mine, person=ward.person, until=later)).until == later
    await read(ward, clinician, ward.mine, ward.my_note)


async def test_who_is_disabled_joins_no_team_and_an_erased_patient_has_none(ward: Ward) -> None:
    stack = ward.stack
    gone = await new_person(stack)
    await stack.as_superuser("UPDATE access.person SET state = 'disabled', disabled_at = now() WHERE id = $1", gone)
    with pytest.raises(Conflict, match="disabled"):
        await ward.teams.add(ward.administrator, ward.mine, person=gone)
    await Erasures(stack.vault.context, remember=lambda _: None).erase(stack.caller("privacy_officer"), ward.mine)
    with pytest.raises(SubjectErased):
        await ward.teams.members(ward.administrator, ward.mine)


async def test_another_tenants_person_and_patient_are_not_there(ward: Ward, other_tenant: UUID) -> None:
    stack = ward.stack
    stranger = stack.caller("administrator", tenant=other_tenant)
    with pytest.raises(NotFound):
        await ward.teams.members(stranger, ward.mine)
    with pytest.raises(NotFound):
        await ward.teams.add(stranger, ward.mine, person=ward.person)
    with pytest.raises(NotFound):
        await ward.teams.remove(stranger, ward.mine, person=ward.person)


async def test_twins_put_one_person_into_a_team_once_and_count_the_revisions_of_a_role(ward: Ward) -> None:
    person = await new_person(ward.stack)
    added = await asyncio.gather(
        *(ward.teams.add(ward.administrator, ward.others, person=person) for _ in range(4)), return_exceptions=True
    )
    assert sum(isinstance(one, Conflict) for one in added) == 3
    assert [one.person for one in await ward.teams.members(ward.administrator, ward.others)] == [person]
    role = own_role(
        "nurse",
        permissions=[Permission.RECORD_READ],
        groups=["clinical"],
        purposes=[Purpose.TREATMENT],
        default_purpose=Purpose.TREATMENT,
    )
    made = await asyncio.gather(*(ward.roles.put(ward.administrator, role) for _ in range(4)))
    assert sorted(one.revision or 0 for one in made) == [1, 2, 3, 4]
    assert len(await ward.stack.entries("role.changed")) == 4


async def test_nobody_changes_a_role_that_they_hold(ward: Ward) -> None:
    role = own_role(
        "desk",
        permissions=[Permission.ROLE_CHANGE],
        groups=[],
        purposes=[Purpose.OPERATIONS],
        default_purpose=Purpose.OPERATIONS,
    )
    await ward.roles.put(ward.administrator, role)
    holder = someone(ward.stack, "desk")
    with pytest.raises(Forbidden, match="hold"):
        await ward.roles.put(holder, msgspec.structs.replace(role, permissions=frozenset({Permission.RECORD_READ})))
    await ward.roles.put(
        holder, msgspec.structs.replace(role, name="other", permissions=frozenset({Permission.USER_READ}))
    )


async def test_a_row_that_somebody_put_there_behind_our_back_opens_nothing_beyond_the_bounds(ward: Ward) -> None:
    """Whoever has the database can write a role; the process that reads it leaves out what is too much."""
    stack = ward.stack
    await stack.as_superuser(
        "INSERT INTO access.custom_role (tenant_id, name, permissions, groups, purposes, default_purpose, revision, "
        "digest, changed_at, changed_by) SELECT $1, name, '{record:read,role:change}', '{clinical}', '{TREAT}', "
        "'TREAT', 1, $2, now(), 'x' FROM unnest('{nurse,administrator}'::text[]) AS name",
        *(stack.tenant, bytes(32)),
    )
    stack.gate.tenants.forget(stack.tenant)
    for name in ("nurse", "administrator"):
        with pytest.raises(Forbidden):
            await stack.vault.records.read(someone(stack, name), "notes", ward.my_note)


async def test_a_field_that_a_role_hides_is_not_uncovered_by_another_name(ward: Ward) -> None:
    role = own_role(
        "nurse",
        permissions=[Permission.RECORD_READ],
        groups=["clinical"],
        purposes=[Purpose.TREATMENT],
        default_purpose=Purpose.TREATMENT,
        hidden=["notes.code"],
    )
    await ward.roles.put(ward.administrator, role)
    collections, rename = ward.stack.vault.collections, CollectionChange(rename={"code": "label"})
    with pytest.raises(Conflict, match="hides"):
        await collections.change(ward.administrator, "notes", rename)
    both = msgspec.structs.replace(role, hidden=frozenset({"notes.code", "notes.label"}))
    await ward.roles.put(ward.administrator, both)
    await collections.change(ward.administrator, "notes", rename)
    view = await ward.stack.vault.records.read(someone(ward.stack, "nurse"), "notes", ward.my_note)
    assert view.withheld == ("label",)
