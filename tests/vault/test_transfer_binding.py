"""Promise: what is imported is what was sent and entered; what is downloaded is what its entry names."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import msgspec
import pytest

from database import Database
from jobs.transfer import Transfer, joined, ndjson, spec
from vault.stack import field, open_stack
from wellkeep.base.errors import Conflict, IntegrityBroken, NotFound, Unauthenticated
from wellkeep.base.ids import uuid7
from wellkeep.db.queue import QueuedJob
from wellkeep.findings.grammar import Kind
from wellkeep.gate.acts import Caller
from wellkeep.ledger.grammar import pack_ids, unpack_id
from wellkeep.vault.declaration import CollectionSpec

ISSUED = """
INSERT INTO access.api_key (tenant_id, id, name, prefix, digest, roles, created_at, expires_at)
VALUES ($1, $2, 'a-test', 'wk_test_' || repeat('0', 32), sha256('a'), '{integration}', now(),
  now() + interval '1 day')
"""


def patient(name: str, ssn: str) -> bytes:
    """Return a FHIR patient with that id and number."""
    identifier = f'{{"system":"http://hl7.org/fhir/sid/us-ssn","value":"{ssn}"}}'
    return f'{{"resourceType":"Patient","id":"{name}","identifier":[{identifier}]}}'.encode()


@pytest.fixture
async def transfer(database: Database, tenant: UUID, other_tenant: UUID) -> AsyncIterator[Transfer]:
    """Open the house with the collection of patients."""
    async with open_stack(database, tenant, other_tenant) as stack:
        await stack.declare(spec("patients"))
        yield Transfer(stack)


async def events(transfer: Transfer, action: str, outcome: str) -> list[dict[str, Any]]:
    """Return the events of that action and outcome, oldest first."""
    entries = await transfer.stack.entries(action)
    return [msgspec.json.decode(row["entry"])["event"] for row in entries if row["outcome"] == outcome]


async def unopened(transfer: Transfer) -> list[list[UUID]]:
    """Return what was reported as not to be opened, once it was entered and found, entry by entry."""
    entered = [
        [unpack_id("records", one) for one in event["records"]]
        for event in await events(transfer, "open.failed", "failed")
    ]
    found = [one.detail.get("blob") for one in await transfer.stack.found() if one.kind == Kind.INTEGRITY_BROKEN]
    assert sorted({str(one) for ids in entered for one in ids}) == sorted(str(one) for one in found)
    return entered


async def keyed(transfer: Transfer) -> Caller:
    """Return a caller whose key stands."""
    caller, key = transfer.stack.integration, uuid7()
    await transfer.stack.as_superuser(ISSUED, transfer.stack.tenant, key)
    return msgspec.structs.replace(caller, principal=dataclasses.replace(caller.principal, credential=key))


async def test_each_part_is_entered_and_none_is_taken_once_the_import_was_started(transfer: Transfer) -> None:
    imports, caller = transfer.imports, transfer.stack.integration
    for _ in range(5):
        made = await imports.create(caller, collection="patients", format="fhir")
        await imports.put_part(caller, made.id, 0, b"first")
        late, started = await asyncio.gather(
            imports.put_part(caller, made.id, 0, b"second"), imports.start(caller, made.id), return_exceptions=True
        )
        assert late is None or isinstance(late, Conflict)
        assert not isinstance(started, BaseException)
        (stored,) = await transfer.stack.as_superuser(
            "SELECT s.digest FROM vault.blob_segment s JOIN vault.import i ON i.source_id = s.blob_id"
            " WHERE i.id = $1 AND s.n = 1",
            made.id,
        )
        about = [
            one for one in await events(transfer, "import.create", "done") if one["resource"]["id"] == str(made.id)
        ]
        assert hashlib.sha256(stored["digest"]).hexdigest() in [one.get("digest") for one in about]
        parts = [one for one in about if one.get("digest") == stored["digest"].hex()]
        assert len(parts) == 1
        with pytest.raises(Conflict):
            await imports.put_part(caller, made.id, 0, b"third")


async def test_an_earlier_part_that_is_put_back_is_not_imported(transfer: Transfer) -> None:
    imports, caller, stack = transfer.imports, transfer.stack.integration, transfer.stack
    made = await imports.create(caller, collection="patients", format="fhir")
    await imports.put_part(caller, made.id, 0, ndjson([patient("old", "999-12-3456")]))
    (old,) = await stack.as_superuser("SELECT blob_id, digest, data::bytea AS data FROM vault.blob_segment WHERE n = 1")
    await imports.put_part(caller, made.id, 0, ndjson([patient("new", "999-12-3457")]))
    await imports.start(caller, made.id)
    await stack.as_superuser(
        "UPDATE vault.blob_segment SET digest = $2, data = $3 WHERE blob_id = $1 AND n = 1", *old.values()
    )
    ended = await transfer.run(made.id)
    assert (ended.state, ended.error, ended.created) == ("failed", IntegrityBroken.code, 0)
    assert await unopened(transfer) == [[old["blob_id"]]]


async def test_a_source_whose_number_of_parts_was_changed_is_not_imported(transfer: Transfer) -> None:
    lines = [patient(f"p{n}", f"999-12-{n:04}") for n in range(2)]
    imports, caller = transfer.imports, transfer.stack.integration
    made = await imports.create(caller, collection="patients", format="fhir")
    for n, line in enumerate(lines):
        await imports.put_part(caller, made.id, n, ndjson([line]))
    await imports.start(caller, made.id)
    await transfer.stack.as_superuser("UPDATE vault.import SET parts = 1")
    ended = await transfer.run(made.id)
    assert (ended.state, ended.error, ended.created) == ("failed", IntegrityBroken.code, 0)


async def test_a_key_that_is_gone_ends_the_jobs_it_started(transfer: Transfer) -> None:
    caller = await keyed(transfer)
    started = await transfer.upload(ndjson([patient("a", "999-12-3456")]), "patients", caller=caller)
    made = await transfer.exports.create(caller, collection="patients", format="ndjson")
    await transfer.stack.as_superuser("UPDATE access.api_key SET revoked_at = now()")
    ended = await transfer.run(started.id)
    assert (ended.state, ended.error, ended.created) == ("failed", "unauthenticated", 0)
    await transfer.export_runner(QueuedJob(transfer.stack.tenant, uuid7(), "export", made.id, 1), lambda: False)
    left = await transfer.exports.read(transfer.stack.integration, made.id)
    assert (left.state, left.error) == ("failed", "unauthenticated")


async def test_a_key_revoked_in_the_middle_of_a_download_gets_no_further_part(transfer: Transfer) -> None:
    await transfer.load(ndjson([patient(f"p{n}", f"999-00-{n:04}") for n in range(501)]), "patients")
    caller = await keyed(transfer)
    made = await transfer.exports.create(caller, collection="patients", format="ndjson")
    await transfer.export_runner(QueuedJob(transfer.stack.tenant, uuid7(), "export", made.id, 1), lambda: False)
    pieces = await transfer.exports.content(caller, made.id)
    assert b"p0" in await anext(pieces)
    await transfer.stack.as_superuser("UPDATE access.api_key SET revoked_at = now()")
    with pytest.raises(Unauthenticated):
        await anext(pieces)


async def test_a_job_acts_in_its_own_tenant_alone(transfer: Transfer) -> None:
    started = await transfer.upload(ndjson([patient("a", "999-12-3456")]), "patients")
    made = await transfer.exports.create(transfer.stack.integration, collection="patients", format="ndjson")
    for table in ("import", "export"):
        await transfer.stack.as_superuser(
            f"UPDATE vault.{table} SET caller = jsonb_set(caller, '{{principal,tenant}}', to_jsonb($1::text))",  # noqa: S608  # two names of ours
            str(transfer.stack.other),
        )
    ended = await transfer.run(started.id)
    assert (ended.state, ended.error) == ("failed", IntegrityBroken.code)
    await transfer.export_runner(QueuedJob(transfer.stack.tenant, uuid7(), "export", made.id, 1), lambda: False)
    left = await transfer.exports.read(transfer.stack.integration, made.id)
    assert (left.state, left.error) == ("failed", IntegrityBroken.code)


async def test_a_job_that_is_held_leaves_nothing_that_looks_alive(transfer: Transfer) -> None:
    caller, stack = transfer.stack.integration, transfer.stack
    started = await transfer.upload(ndjson([patient("a", "999-12-3456")]), "patients")
    made = await transfer.exports.create(caller, collection="patients", format="ndjson")
    for table in ("import", "export"):
        await stack.as_superuser(f"UPDATE vault.{table} SET state = 'running', runner = gen_random_uuid()")  # noqa: S608
    for _ in range(2):
        await transfer.runner.give_up(QueuedJob(stack.tenant, uuid7(), "import", started.id, 9), "too-many-starts")
        await transfer.export_runner.give_up(QueuedJob(stack.tenant, uuid7(), "export", made.id, 9), "too-many-starts")
    seen = (await transfer.imports.read(caller, started.id), await transfer.exports.read(caller, made.id))
    assert [(one.state, one.error) for one in seen] == [("failed", "too-many-starts")] * 2
    assert {(one.kind, one.count) for one in await stack.found()} == {(Kind.IMPORT_FAILED, 1), (Kind.EXPORT_FAILED, 1)}
    await transfer.imports.start(caller, started.id)
    ended = await transfer.run(started.id)
    assert (ended.state, ended.error, ended.created) == ("done", None, 1)
    assert b"999-12-3456" in await transfer.export("patients", "ndjson")
    with pytest.raises(Conflict):
        await transfer.exports.content(caller, made.id)


async def test_what_is_past_its_time_is_not_opened_before_it_is_purged(transfer: Transfer) -> None:
    caller = transfer.stack.integration
    await transfer.load(ndjson([patient("a", "999-12-3456"), b"nonsense"]), "patients")
    made = await transfer.exports.create(caller, collection="patients", format="ndjson")
    await transfer.export_runner(QueuedJob(transfer.stack.tenant, uuid7(), "export", made.id, 1), lambda: False)
    (before,) = await transfer.stack.as_superuser("SELECT id FROM vault.import")
    waiting = await transfer.imports.create(caller, collection="patients", format="fhir")
    assert await joined(await transfer.exports.content(caller, made.id))
    await transfer.stack.as_superuser("UPDATE vault.blob SET expires_at = now() - interval '1 second'")
    with pytest.raises(NotFound):
        await joined(await transfer.exports.content(caller, made.id))
    with pytest.raises(NotFound):
        await joined(await transfer.imports.errors(caller, before["id"]))
    with pytest.raises(NotFound):
        await transfer.imports.put_part(caller, waiting.id, 0, b"late")


async def test_an_idempotency_key_of_an_import_is_that_of_one_request(transfer: Transfer) -> None:
    create, caller = transfer.imports.create, transfer.stack.integration
    mapping = {"a": "family", "b": "given"}
    first = await create(caller, collection="patients", format="csv", mapping=mapping, key="k")
    again = await create(caller, collection="patients", format="csv", mapping=dict(reversed(mapping.items())), key="k")
    assert again.id == first.id
    with pytest.raises(Conflict):
        await create(caller, collection="patients", format="csv", mapping={"a": "given"}, key="k")
    (row,) = await transfer.stack.as_superuser("SELECT key_hash FROM vault.import")
    assert row["key_hash"] != hashlib.sha256(b"k").digest()


async def test_names_beside_a_part_of_an_export_are_the_ones_it_was_made_with(transfer: Transfer) -> None:
    await transfer.load(ndjson([patient("a", "999-12-3456")]), "patients")
    caller = transfer.stack.integration
    made = await transfer.exports.create(caller, collection="patients", format="ndjson")
    await transfer.export_runner(QueuedJob(transfer.stack.tenant, uuid7(), "export", made.id, 1), lambda: False)
    assert b"999-12-3456" in await joined(await transfer.exports.content(caller, made.id))
    for change in ("records = '{}'", "subjects = '{}'", "records = records || subjects, subjects = '{}'"):
        (before,) = await transfer.stack.as_superuser("SELECT records, subjects FROM vault.export_part")
        await transfer.stack.as_superuser(f"UPDATE vault.export_part SET {change}")  # noqa: S608  # one of three of ours
        with pytest.raises(IntegrityBroken):
            await joined(await transfer.exports.content(caller, made.id))
        await transfer.stack.as_superuser("UPDATE vault.export_part SET records = $1, subjects = $2", *before.values())


async def test_a_record_that_a_line_met_is_entered_before_the_line_is_counted(transfer: Transfer) -> None:
    await transfer.stack.declare(
        CollectionSpec(name="people", subject="self", fields=(field("number", index="unique"),))
    )
    one, two = (f'{{"external_id":"{name}","fields":{{"number":"7"}}}}'.encode() for name in "ab")
    await transfer.load(ndjson([one]), "people", "ndjson")
    (record,) = await transfer.stack.as_superuser("SELECT id, subject_id FROM vault.record")
    again = await transfer.load(ndjson([one, two]), "people", "ndjson")
    assert (again.unchanged, again.failed) == (1, 1)
    (met,) = [one for one in await events(transfer, "record.import", "authorised") if one.get("subjects")]
    (clash,) = await events(transfer, "record.import", "failed")
    assert clash["error"] == "conflict"
    for event in (met, clash):
        assert event["records"] == pack_ids("records", (record["id"],))
        assert event["subjects"] == pack_ids("subjects", (record["subject_id"],))
        assert event["count"] == 1
