"""Promise: an accounting tells everything that happened to one patient's data, each thing once, and nobody else's."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from database import Database
from jobs.transfer import Transfer, ndjson
from vault.stack import NOTES, PATIENTS, Stack, open_stack
from wellkeep.assembly.disclosures import MOST_AT_ONCE, Accounting, Disclosures, six_years_before
from wellkeep.base.errors import Forbidden, LedgerUnavailable, NotFound, PreconditionFailed, Validation
from wellkeep.base.ids import uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.purpose import Purpose
from wellkeep.base.secrets import Secret
from wellkeep.gate.acts import Act
from wellkeep.gate.events import event
from wellkeep.keys.cursors import Cursors
from wellkeep.keys.deployment import DeploymentKey
from wellkeep.ledger.actions import Action, Outcome
from wellkeep.ledger.event import prepare
from wellkeep.ledger.grammar import unpack_id
from wellkeep.vault.batch import NewRecord

_REFUSE = "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA ledger FROM wk_ledger"


@pytest.fixture
async def stack(database: Database, tenant: UUID, other_tenant: UUID) -> AsyncIterator[Stack]:
    """Open the vault's house with two collections in the first tenant."""
    async with open_stack(database, tenant, other_tenant) as opened:
        await opened.declare(PATIENTS, NOTES)
        yield opened


@pytest.fixture
def disclosures(stack: Stack) -> Disclosures:
    """Make the service over that house."""
    cursors = Cursors([DeploymentKey(key_id="00" * 16, epoch=1, secret=Secret(os.urandom(32)))])
    return Disclosures(gate=stack.gate, cursors=cursors, clock=stack.clock)


async def every_page(
    service: Disclosures, stack: Stack, subject: UUID, *, limit: int = 3, **more: Any
) -> list[Accounting]:
    officer = stack.caller("privacy_officer")
    pages = [await service.page(officer, subject, limit=limit, **more)]
    while pages[-1].cursor is not None:
        pages.append(await service.page(officer, subject, limit=limit, cursor=pages[-1].cursor, **more))
    return pages


async def expected(stack: Stack, subjects: set[UUID], records: set[UUID]) -> dict[UUID, str]:
    """Return the action of each event that names the patient, found by reading every entry there is."""
    rows = await stack.as_superuser("SELECT entry FROM ledger.entry WHERE tenant_id = $1", stack.tenant)
    found = {}
    for row in rows:
        event = msgspec.json.decode(row["entry"])["event"]
        named = {unpack_id("subjects", text) for text in event.get("subjects", ())}
        named |= {UUID(event["subject"])} if "subject" in event else set()
        denied = event["outcome"] == "denied" and event.get("resource", {}).get("id") in {str(one) for one in records}
        if named & subjects or denied:
            found[UUID(event["id"])] = event["action"]
    return found


async def live(stack: Stack) -> tuple[UUID, set[UUID]]:
    """Do to one patient's data all that can be done, among others; return their id and their records."""
    records, vault = stack.vault.records, stack.vault
    person = (await vault.subjects.create(stack.clinician)).id
    other = (await vault.subjects.create(stack.clinician)).id
    note = await records.create(stack.integration, "notes", {"text": "x", "code": "c"}, subject=person)
    theirs = await records.create(stack.integration, "notes", {"text": "y", "code": "c"}, subject=other)
    await vault.batches.create(stack.integration, "notes", [NewRecord({"code": "c"}, one) for one in (person, other)])
    urgent = stack.caller("clinician", purpose=Purpose.EMERGENCY_TREATMENT)
    await records.read(urgent, "notes", note.id)
    await records.read(stack.clinician, "notes", theirs.id)
    await vault.search.search(stack.clinician, "notes", {"code": "c"}, fields=["code"])
    await vault.search.search(stack.clinician, "notes", {"code": "none"}, subject=person)
    await records.change(stack.clinician, "notes", note.id, {"text": "z"}, expected=1)
    with pytest.raises(PreconditionFailed):
        await records.change(stack.clinician, "notes", note.id, {"text": "z"}, expected=1)
    for caller in (stack.administrator, stack.caller("auditor")):
        with pytest.raises(Forbidden):
            await records.read(caller, "notes", note.id)
        with pytest.raises(Forbidden):
            await records.read(caller, "notes", theirs.id)
    with pytest.raises(Forbidden):
        await vault.search.search(stack.administrator, "notes", subject=person)
    with pytest.raises(Forbidden):
        await records.create(stack.administrator, "notes", {"code": "c"}, subject=person)
    await vault.subjects.get(stack.clinician, person)
    transfer = Transfer(stack)
    line = b'{"external_id": "n1", "subject": "%s", "fields": {"text": "i", "code": "d"}}' % str(person).encode()
    for _ in range(2):
        done = await transfer.load(ndjson([line]), "notes", "ndjson", caller=stack.integration)
        assert (done.state, done.failed) == ("done", 0), done
    await transfer.export("notes", "ndjson")
    await records.delete(stack.integration, "notes", note.id, expected=2)
    rows = await stack.as_superuser("SELECT id FROM vault.record WHERE subject_id = $1", person)
    return person, {row["id"] for row in rows}


async def test_every_kind_of_access_is_told_exactly_once(stack: Stack, disclosures: Disclosures) -> None:
    person, records = await live(stack)
    names = await expected(stack, {person}, records)
    assert set(names.values()) >= {
        *("subject.create", "subject.read", "record.create", "record.batch", "record.read", "record.search"),
        *("record.change", "record.delete", "record.import", "record.export", "export.download", "access.denied"),
    }
    pages = await every_page(disclosures, stack, person)
    told = [one for page in pages for one in page.disclosures]
    ids = [one.id for one in told]
    assert len(ids) == len(set(ids))
    assert set(ids) >= set(names)
    assert {one.what.action for one in told if one.id not in names} <= {"subject.disclosures"}
    places = [(one.epoch, one.seq) for one in told]
    assert places == sorted(places, reverse=True)
    for one in told:
        assert set(one.what.records) <= records, "no record of another patient is named"
        assert str(one.id) not in one.what.words
    whole, complete = await disclosures.whole(stack.caller("auditor"), person)
    assert complete
    assert {one.id for one in whole.disclosures} >= set(names)


async def test_it_says_who_did_what_why_and_how_it_ended(stack: Stack, disclosures: Disclosures) -> None:
    person, _ = await live(stack)
    whole, _ = await disclosures.whole(stack.caller("auditor"), person)
    told = {(one.what.action, one.outcome): one for one in whole.disclosures}
    read = told["record.read", "authorised"]
    assert read.why.purpose == "ETREAT"
    assert read.why.words == "emergency treatment"
    assert read.why.rule == "role:clinician/record:read"
    assert read.what.words == "read 2 fields of your record in “notes”: text, code"
    assert (read.who.type, read.who.roles, read.ip) == ("api_key", ("clinician",), "192.0.2.7")
    denied = [one for one in whole.disclosures if one.outcome == "denied"]
    assert [one.what.words for one in denied] == [
        "tried to store a record of yours; this was refused",
        "tried to search your records; this was refused",
        "tried to read your record in “notes”; this was refused",
        "tried to read your record in “notes”; this was refused",
    ]
    assert told["record.change", "failed"].error == "precondition-failed"
    assert told["record.export", "authorised"].what.words.startswith("copied 2 fields of 3 of your records in “notes”")
    searched = [one for one in whole.disclosures if one.what.action == "record.search" and one.outcome == "authorised"]
    assert [(len(one.what.records), one.what.count) for one in searched] == [(0, 0), (2, 4)]
    assert searched[0].what.words == "searched for records of yours and found none"


async def test_merged_patients_are_one_whichever_is_asked_for(stack: Stack, disclosures: Disclosures) -> None:
    gone, records = await live(stack)
    stays = (await stack.vault.subjects.create(stack.clinician)).id
    await stack.vault.records.create(stack.integration, "notes", {"code": "e"}, subject=stays)
    await stack.vault.subjects.merge(stack.integration, gone, into=stays)
    rows = await stack.as_superuser("SELECT id FROM vault.record WHERE subject_id = $1", stays)
    names = await expected(stack, {gone, stays}, records | {row["id"] for row in rows})
    assert "subject.merge" in names.values()
    for asked in (stays, gone):
        told = [one for page in await every_page(disclosures, stack, asked, limit=7) for one in page.disclosures]
        ids = [one.id for one in told]
        assert len(ids) == len(set(ids))
        assert set(ids) >= set(names)
        merge = [one for one in told if one.what.action == "subject.merge"]
        assert [(one.subject, one.what.words) for one in merge] == [(gone, "joined two files that are both yours")]
        found = await disclosures.page(stack.caller("auditor"), asked, limit=1)
        assert (found.subject, found.merged) == (stays, (gone,))


async def test_one_among_many_and_an_entry_in_parts_count_once(stack: Stack, disclosures: Disclosures) -> None:
    """A batch of 500 names each patient; what does not fit one entry is told with the fields of all its parts."""
    rows = [NewRecord({"ssn": f"999-{number:06d}"}) for number in range(500)]
    made = await stack.vault.batches.create(stack.integration, "patients", rows)
    crowd = [one.subject for one in made if one.subject is not None]
    assert len(crowd) == 500
    decision = await stack.gate.decide(
        stack.clinician, Act(Permission.RECORD_SEARCH, Action.RECORD_SEARCH, "record", subject=crowd[0])
    )
    fields = tuple(f"field_{'x' * 40}_{number}" for number in range(900))
    records = tuple(one.id for one in made if one.id is not None)
    await stack.gate.disclose(decision, records=records, subjects=tuple(crowd), fields=fields, count=500)
    split = await stack.as_superuser("SELECT count(*) AS n FROM ledger.entry WHERE action = 'record.search'")
    assert split[0]["n"] > 2, "the second part names the first patients, the third the last"
    for place in (0, 1, 250, 499):
        told = [one for page in await every_page(disclosures, stack, crowd[place]) for one in page.disclosures]
        seen = [one for one in told if one.what.action in {"record.batch", "record.search"}]
        assert [one.what.action for one in seen] == ["record.search", "record.batch"], place
        assert seen[0].what.fields == fields
        assert seen[0].what.records == seen[1].what.records == (records[place],)
        assert seen[0].what.collections == ("patients",)


async def test_pages_hold_while_entries_arrive(stack: Stack, disclosures: Disclosures) -> None:
    person, _ = await live(stack)
    officer = stack.caller("privacy_officer")
    before = {one.id for one in (await disclosures.whole(officer, person))[0].disclosures}
    seen: list[UUID] = []
    cursor, first = None, True
    while first or cursor is not None:
        page = await disclosures.page(officer, person, limit=2, cursor=cursor)
        seen += [one.id for one in page.disclosures]
        cursor, first = page.cursor, False
        await asyncio.gather(*(stack.vault.subjects.get(stack.clinician, person) for _ in range(3)))
    assert len(seen) == len(set(seen))
    assert before <= set(seen)


async def test_a_whole_accounting_has_its_bound_and_says_when_it_is_reached(
    stack: Stack, disclosures: Disclosures
) -> None:
    person = (await stack.vault.subjects.create(stack.clinician)).id
    officer = stack.caller("privacy_officer")
    decision = await stack.gate.decide(
        stack.clinician, Act(Permission.SUBJECT_READ, Action.SUBJECT_READ, "subject", str(person), subject=person)
    )
    events = [prepare(event(decision, outcome=Outcome.AUTHORISED)) for _ in range(MOST_AT_ONCE - 2)]
    await stack.writer.append(stack.tenant, events)
    whole, complete = await disclosures.whole(officer, person)
    ids = [one.id for one in whole.disclosures]
    assert (len(ids), len(set(ids)), complete) == (MOST_AT_ONCE - 1, MOST_AT_ONCE - 1, True)
    assert {each.event.id for each in events} < set(ids)
    await disclosures.whole(officer, person)
    newest, complete = await disclosures.whole(officer, person)
    assert (len(newest.disclosures), complete) == (MOST_AT_ONCE, False)
    assert newest.disclosures[0].what.action == "subject.disclosures"
    following = newest.disclosures[-1].time + timedelta(microseconds=1)
    rest, complete = await disclosures.whole(officer, person, until=following)
    assert complete
    assert {one.id for one in newest.disclosures} | {one.id for one in rest.disclosures} > set(ids)
    assert rest.disclosures[-1].what.action == "subject.create"


async def test_only_the_time_that_was_asked_for(stack: Stack, disclosures: Disclosures) -> None:
    person, _ = await live(stack)
    officer = stack.caller("privacy_officer")
    told = (await disclosures.whole(officer, person))[0].disclosures
    middle = told[len(told) // 2].time
    until = {one.id for page in await every_page(disclosures, stack, person, until=middle) for one in page.disclosures}
    since = {one.id for page in await every_page(disclosures, stack, person, since=middle) for one in page.disclosures}
    assert until == {one.id for one in told if one.time < middle}
    assert since >= {one.id for one in told if one.time >= middle}
    assert not since & until
    tomorrow = stack.clock.now() + timedelta(days=1)
    assert (await disclosures.page(officer, person, limit=5, since=tomorrow)).disclosures == []


async def test_who_may_not_ask_learns_nothing(stack: Stack, disclosures: Disclosures) -> None:
    person = (await stack.vault.subjects.create(stack.clinician)).id
    stranger = stack.caller("privacy_officer", tenant=stack.other)
    for unknown in (stranger, stack.caller("auditor")):
        with pytest.raises(NotFound):
            await disclosures.page(unknown, person if unknown is stranger else uuid7(), limit=5)
    with pytest.raises(Forbidden):
        await disclosures.page(stack.clinician, person, limit=5)
    other = (await stack.vault.subjects.create(stack.clinician)).id
    for _ in range(3):
        await stack.vault.subjects.get(stack.clinician, person)
    cursor = (await disclosures.page(stack.caller("auditor"), person, limit=1)).cursor
    assert cursor is not None
    for wrong in ({"subject": other}, {"since": stack.clock.now()}):
        with pytest.raises(Validation):
            await disclosures.page(stack.caller("auditor"), **{"subject": person, **wrong}, limit=1, cursor=cursor)  # type: ignore[arg-type]


async def test_a_ledger_that_refuses_shows_nothing(stack: Stack, disclosures: Disclosures) -> None:
    person = (await stack.vault.subjects.create(stack.clinician)).id
    await stack.as_superuser(_REFUSE)
    with pytest.raises(LedgerUnavailable):
        await disclosures.page(stack.caller("auditor"), person, limit=5)
    with pytest.raises(LedgerUnavailable):
        await disclosures.whole(stack.caller("auditor"), person)


@pytest.mark.parametrize(
    ("asked", "begins"),
    [
        (datetime(2026, 5, 3, 14, 2, tzinfo=UTC), datetime(2020, 5, 3, tzinfo=UTC)),
        (datetime(2024, 2, 29, tzinfo=UTC), datetime(2018, 2, 28, tzinfo=UTC)),
    ],
)
def test_it_spans_six_years_by_the_day(asked: datetime, begins: datetime) -> None:
    assert six_years_before(asked) == begins


def test_the_first_years_have_nothing_before_them() -> None:
    for asked in ("0001-01-01T00:00:00+00:00", "0001-01-01T00:00:00+05:00", "0006-12-31T00:00:00+00:00"):
        assert six_years_before(datetime.fromisoformat(asked)) == datetime.min.replace(tzinfo=UTC)
