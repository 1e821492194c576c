"""The main job: FHIR in, byte for byte, with its references resolved, found again by what people type."""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from database import Database
from jobs.transfer import Transfer, ndjson, sample_lines, spec
from vault.stack import field, open_stack
from wellkeep.base.errors import Conflict, Forbidden, Validation
from wellkeep.base.ids import uuid7
from wellkeep.db.queue import QueuedJob
from wellkeep.vault.declaration import CollectionSpec
from wellkeep.vault.imports_batch import MOST_ERRORS, line_mac
from wellkeep.vault.replay import Replay
from wellkeep.vault.templates import names, template

PATIENT = (
    b'{"resourceType":"Patient","id":"p1","identifier":[{"system":"http://hl7.org/fhir/sid/us-ssn","value":"999-12-3456"}],'
    b'"name":[{"use":"official","family":"Nu\xc3\xb1ez","given":["Jos\xc3\xa9","Mar\xc3\xada"]}],'
    b'"telecom":[{"system":"phone","value":"555-978-4581"}],"birthDate":"1956-08"}'
)
OBSERVATION = (
    b'{"resourceType":"Observation","id":"o1","code":{"coding":[{"code":"8302-2"}]},'
    b'"subject":{"reference":"Patient/p1"},"effectiveDateTime":"2011-10-14T23:37:54+00:00","valueQuantity":{"value":1.10}}'
)

DECLARED = ("patients", "observations", "practitioners")


@pytest.fixture
async def transfer(database: Database, tenant: UUID, other_tenant: UUID) -> AsyncIterator[Transfer]:
    """Open the house with the built-in collections that the tests fill."""
    async with open_stack(database, tenant, other_tenant) as stack:
        await stack.declare(*(spec(name) for name in DECLARED))
        yield Transfer(stack)


async def test_a_resource_comes_back_byte_for_byte(transfer: Transfer) -> None:
    done = await transfer.load(ndjson([PATIENT]), "patients")
    assert (done.state, done.lines, done.created, done.failed) == ("done", 1, 1, 0)
    done = await transfer.load(ndjson([OBSERVATION]), "observations")
    assert (done.created, done.failed) == (1, 0)
    assert await transfer.export("patients", "fhir") == PATIENT + b"\n"
    assert await transfer.export("observations", "fhir") == OBSERVATION + b"\n"


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({"ssn": "999-12-3456"}, 1),
        ({"ssn": "999123456"}, 1),
        ({"ssn": "999 12 3457"}, 0),
        ({"phone": "555-978-4581"}, 1),
        ({"phone": "(555) 978-4581"}, 1),
        ({"phone": "+1 555 978 4581"}, 1),
        ({"family": "nunez"}, 1),
        ({"family": "Núñez"}, 1),
        ({"given": "maria"}, 1),
        ({"given": "Jose"}, 1),
    ],
)
async def test_people_are_found_by_what_is_typed(transfer: Transfer, where: dict[str, str], found: int) -> None:
    await transfer.load(ndjson([PATIENT]), "patients")
    page = await transfer.stack.vault.search.search(transfer.stack.integration, "patients", where=where)
    assert len(page.records) == found


async def test_importing_twice_changes_nothing(transfer: Transfer) -> None:
    data = ndjson([PATIENT])
    first = await transfer.load(data, "patients")
    again = await transfer.load(data, "patients")
    assert (again.created, again.updated, again.unchanged) == (0, 0, 1)
    assert again.digest == first.digest
    changed = await transfer.load(data.replace(b"1956-08", b"1956-08-03"), "patients")
    assert (changed.created, changed.updated, changed.unchanged) == (0, 1, 0)
    assert changed.digest != first.digest
    (state,) = await transfer.stack.as_superuser(
        "SELECT revision FROM vault.record WHERE tenant_id = $1", transfer.stack.tenant
    )
    assert state["revision"] == 2


async def test_the_digest_is_that_of_the_source_and_of_what_is_stored(transfer: Transfer) -> None:
    lines = [PATIENT, PATIENT.replace(b'"p1"', b'"p2"').replace(b"3456", b"7777")]
    done = await transfer.load(ndjson(reversed(lines)), "patients")
    keys = await transfer.stack.keyring.load(transfer.stack.tenant)
    expected = sum(
        int.from_bytes(line_mac(keys.mac_key("import/1"), msgspec.json.decode(line)["id"], line), "big")
        for line in lines
    ) % (1 << 256)
    assert int(done.digest, 16) == expected
    made = await transfer.exports.create(transfer.stack.integration, collection="patients", format="fhir")
    await transfer.export_runner(QueuedJob(transfer.stack.tenant, uuid7(), "export", made.id, 1), lambda: False)
    ended = await transfer.exports.read(transfer.stack.integration, made.id)
    assert ended.digest == done.digest
    assert hashlib.sha256(PATIENT).hexdigest() != done.digest


async def test_each_bad_line_is_told_by_number_path_and_code(transfer: Transfer) -> None:
    await transfer.load(ndjson([PATIENT]), "patients")
    bad = [
        (b"{", "", "malformed-json"),
        (b"\xff\xfe", "", "not-utf8"),
        (b"[1]", "", "wrong-type"),
        (b'{"a":1,"a":2}', "", "duplicate-key"),
        (OBSERVATION.replace(b'"o1"', b'"o\\u0000"'), "", "nul"),
        (OBSERVATION.replace(b'"o1"', b'"\\ud800"'), "", "lone-surrogate"),
        (OBSERVATION.replace(b"1.10", b"12345678901234567890"), "", "out-of-range"),
        (PATIENT, "resourceType", "wrong-resource-type"),
        (OBSERVATION.replace(b'"id":"o1",', b""), "id", "required"),
        (OBSERVATION.replace(b"Patient/p1", b"Patient/secret-canary"), "subject.reference", "unresolved-reference"),
        (OBSERVATION.replace(b"Patient/p1", b"Group/p1"), "subject.reference", "unresolved-reference"),
        (OBSERVATION.replace(b'{"reference":"Patient/p1"}', b"7"), "subject.reference", "wrong-type"),
        (OBSERVATION.replace(b"2011-10-14T", b"2023-02-30T"), "fields.effective", "malformed"),
        (b'{"x":"' + b"y" * (1 << 20) + b'"}', "", "too-long"),
    ]
    good = OBSERVATION.replace(b'"o1"', b'"o2"')
    done = await transfer.load(ndjson([*(line for line, _, _ in bad), good]), "observations")
    assert (done.state, done.lines, done.created, done.failed) == ("done", len(bad) + 1, 1, len(bad))
    told = await transfer.errors(done.id)
    assert [(entry["line"], entry["path"], entry["code"]) for entry in told] == [
        (number, path, code) for number, (_, path, code) in enumerate(bad, start=1)
    ]
    assert "canary" not in repr(told)


async def test_the_error_file_is_bounded_and_the_count_is_not(transfer: Transfer) -> None:
    done = await transfer.load(b"{\n" * (MOST_ERRORS + 7), "patients")
    assert (done.state, done.failed) == ("done", MOST_ERRORS + 7)
    assert len(await transfer.errors(done.id)) == MOST_ERRORS


async def test_a_gzip_is_taken_and_a_bomb_or_a_cut_one_is_not(transfer: Transfer) -> None:
    packed = gzip.compress(ndjson([PATIENT]))
    assert (await transfer.load(packed, "patients")).created == 1
    assert (await transfer.load(packed[:-9], "patients")).error == "truncated-gzip"
    assert (await transfer.load(packed[:30] + b"\0\0\0\0" + packed[34:], "patients")).state == "failed"
    bomb = gzip.compress(b"\0" * (96 << 20))
    assert (await transfer.load(bomb, "patients")).error == "expands-too-far"


async def test_csv_by_its_header_and_a_map(transfer: Transfer) -> None:
    text = '\ufeffid,ssn,family,line,zip\r\nc1,999-12-3456,"O""Brien\r\n-Núñez","1, Main St",01940\r\n'
    text += "c2,,Koepp,,\r\nc3,1\r\n"
    mapping = {"line": "address_line", "zip": "postal_code"}
    done = await transfer.load(text.encode(), "patients", "csv", mapping=mapping)
    assert (done.created, done.failed) == (2, 1)
    assert [entry["code"] for entry in await transfer.errors(done.id)] == ["malformed-csv"]
    rows = list(csv.DictReader((await transfer.export("patients", "csv")).decode().splitlines(keepends=True)))
    families = {row["external_id"]: row["family"] for row in rows}
    assert families == {"c1": 'O"Brien\r\n-Núñez', "c2": "Koepp"}
    assert (await transfer.load(text.encode(), "patients", "csv")).error == "unknown-column"


async def test_csv_export_runs_no_formula(transfer: Transfer) -> None:
    await transfer.load("id,family\nc1,=HYPERLINK(1)\nc2,\uff1dSUM(1)\n".encode(), "patients", "csv")
    exported = await transfer.export("patients", "csv")
    assert b",'=HYPERLINK(1)," in exported
    assert ",'\uff1dSUM(1),".encode() in exported


async def test_an_export_leaves_out_whoever_was_erased(transfer: Transfer) -> None:
    await transfer.load(b"id,family\nc1,Ada\nc2,Koepp\n", "patients", "csv")
    gone = await transfer.stack.as_superuser(
        "UPDATE vault.subject SET erased_at = now() "
        "WHERE id = (SELECT min(id::text)::uuid FROM vault.subject) RETURNING id"
    )
    await transfer.stack.as_superuser("DELETE FROM keys.subject_key WHERE subject_id = $1", gone[0]["id"])
    assert len((await transfer.export("patients", "ndjson")).splitlines()) == 1
    assert len(await transfer.stack.entries("open.failed")) == 1


async def test_a_csv_export_is_imported_as_it_left(transfer: Transfer) -> None:
    kinds = ("string", "integer", "decimal", "json", "datetime", "boolean")
    fields = tuple(field(kind, kind) for kind in kinds)
    await transfer.stack.declare(CollectionSpec(name="things", subject="none", fields=fields))
    line = "-x,-5,-1.50,-7,2024-02-29T12:00:00+01:00,true"
    text = "id," + ",".join(kinds) + f"\r\n+1,{line}\r\n'=2,'{line}\r\n-3,''{line}\r\n"
    assert (await transfer.load(text.encode(), "things", "csv")).created == 3
    exported = await transfer.export("things", "csv")
    assert b",'-x,-5,-1.50,'-7,2024" in exported
    again = await transfer.load(exported, "things", "csv")
    assert (again.unchanged, again.created, again.failed) == (3, 0, 0)
    records = [msgspec.json.decode(line) for line in (await transfer.export("things", "ndjson")).splitlines()]
    assert {one["external_id"]: one["fields"]["string"] for one in records} == {"+1": "-x", "=2": "-x", "-3": "'-x"}


async def test_our_own_ndjson_comes_back_as_it_left(transfer: Transfer) -> None:
    await transfer.load(ndjson([PATIENT]), "patients")
    exported = await transfer.export("patients", "ndjson")
    line = msgspec.json.decode(exported)
    assert line["fields"]["ssn"] == "999-12-3456"
    assert line["external_id"] == "p1"
    again = await transfer.load(exported, "patients", "ndjson")
    assert (again.unchanged, again.failed) == (1, 0)


async def test_only_the_permitted_may_and_a_part_is_fixed_once_started(transfer: Transfer) -> None:
    stack = transfer.stack
    with pytest.raises(Forbidden):
        await transfer.imports.create(stack.billing, collection="patients", format="fhir")
    with pytest.raises(Validation):
        await transfer.imports.create(stack.integration, collection="patients", format="xml")
    started = await transfer.upload(ndjson([PATIENT]), "patients")
    with pytest.raises(Conflict):
        await transfer.imports.put_part(stack.integration, started.id, 0, b"another")
    empty = await transfer.imports.create(stack.integration, collection="patients", format="fhir")
    with pytest.raises(Validation):
        await transfer.imports.start(stack.integration, empty.id)


async def test_the_same_key_finds_the_same_import(transfer: Transfer) -> None:
    caller = transfer.stack.integration
    first = await transfer.imports.create(caller, collection="patients", format="fhir", key="k")
    assert (await transfer.imports.create(caller, collection="patients", format="fhir", key="k")).id == first.id
    with pytest.raises(Conflict):
        await transfer.imports.create(caller, collection="patients", format="csv", key="k")


async def test_every_record_is_named_in_an_entry(transfer: Transfer) -> None:
    await transfer.load(ndjson([PATIENT]), "patients")
    (record,) = await transfer.stack.as_superuser(
        "SELECT id, event_id FROM vault.record WHERE tenant_id = $1", transfer.stack.tenant
    )
    entries = [msgspec.json.decode(row["text"])["event"] for row in await transfer.stack.entries("record.import")]
    assert [entry for entry in entries if entry["id"] == str(record["event_id"]) and entry["count"] == 1]
    await transfer.export("patients", "ndjson")
    assert len(await transfer.stack.entries("export.download")) == 1


async def test_the_ledger_replays_to_what_an_import_stored(transfer: Transfer) -> None:
    stack = transfer.stack
    await transfer.load(ndjson([PATIENT]), "patients")
    changed = PATIENT.replace(b"999-12-3456", b"999-12-3457")
    assert changed != PATIENT
    for lines, told in (([changed], (0, 1, 0)), ([changed], (0, 0, 1))):
        done = await transfer.load(ndjson(lines), "patients")
        assert (done.created, done.updated, done.unchanged) == told
    await stack.as_superuser("UPDATE vault.record SET updated_at = updated_at - interval '2 minutes'")
    seen = await Replay(stack.vault.context, pool=stack.pool).run(stack.tenant)
    assert (seen.ok, seen.states, seen.entries > 1) == (True, 1, True)


@pytest.mark.samples
async def test_the_sample_patients_and_some_thousand_lines(transfer: Transfer, samples: Path) -> None:
    patients = sample_lines(samples, "Patient")
    done = await transfer.load(ndjson(patients), "patients")
    assert (done.created, done.failed) == (len(patients), 0)
    observations = sample_lines(samples, "Observation", most=3000)
    done = await transfer.load(gzip.compress(ndjson(observations)), "observations")
    assert (done.created, done.failed) == (3000, 0)
    assert set((await transfer.export("patients", "fhir")).splitlines()) == set(patients)
    assert set((await transfer.export("observations", "fhir")).splitlines()) == set(observations)
    text = (samples / "synthea-r4" / "patients.csv").read_text("utf-8")
    table = {row["id"]: row for row in csv.DictReader(text.splitlines())}
    search = transfer.stack.vault.search.search
    for row in list(table.values())[::60]:
        for where in ({"ssn": row["ssn"].replace("-", "")}, {"phone": "+1" + row["phone"].replace("-", "")}):
            page = await search(transfer.stack.integration, "patients", where=where)
            families = {record.fields["family"] for record in page.records}
            assert row["family"] in families


@pytest.mark.soak
@pytest.mark.samples
@pytest.mark.timeout(1200)
async def test_every_sample_line_comes_back_as_it_went_in(transfer: Transfer, samples: Path) -> None:
    total = 0
    await transfer.stack.declare(*(spec(name) for name in names() if name not in DECLARED))
    for name in ("patients", *(name for name in names() if name != "patients")):
        resource = template(name).resource
        if not (samples / "synthea-r4" / f"{resource}.ndjson.gz").exists():
            continue
        lines = sample_lines(samples, resource)
        done = await transfer.load(gzip.compress(ndjson(lines), 1), name)
        assert (done.state, done.created, done.failed) == ("done", len(lines), 0)
        assert sorted((await transfer.export(name, "fhir")).splitlines()) == sorted(lines)
        total += len(lines)
    assert total == 124_612
