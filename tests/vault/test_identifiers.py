"""Promise: an external id, and whatever carries one, is shown to who sees identifiers, on every way out."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import AsyncIterator
from uuid import UUID

import msgspec
import pytest

from database import Database
from jobs.transfer import Transfer, joined, ndjson, spec
from vault.reach import someone
from vault.stack import Stack, field, open_stack
from wellkeep.access.custom_roles import CustomRoles, RoleView, own_role
from wellkeep.access.roles import load
from wellkeep.base.errors import Conflict, Forbidden, Validation
from wellkeep.base.ids import uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.purpose import Purpose
from wellkeep.db.queue import Interrupted, QueuedJob
from wellkeep.gate.acts import Caller, Role
from wellkeep.vault import exports_run
from wellkeep.vault.declaration import CollectionChange, CollectionSpec
from wellkeep.vault.templates import names

NAME, SSN = "chart-778", "999-12-3456"
PATIENT = (
    f'{{"resourceType":"Patient","id":"{NAME}","name":[{{"use":"official","family":"Koepp"}}],'
    f'"identifier":[{{"system":"http://hl7.org/fhir/sid/us-ssn","value":"{SSN}"}}]}}'
).encode()
OBSERVATION = (
    f'{{"resourceType":"Observation","id":"o1","subject":{{"reference":"Patient/{NAME}"}},'
    '"effectiveDateTime":"2011-10-14T23:37:54+00:00"}'
).encode()
VISITS = CollectionSpec(name="visits", subject="none", fields=(field("text", "text"),))
ADD = """
UPDATE vault.collection SET version = version + 1,
  definition = jsonb_set(definition, '{fields,1}', $1::jsonb) WHERE name = 'visits'
"""
EVERYTHING = ("clinical", "demographic", "contact", "identifier", "financial", "administrative")


@pytest.fixture
async def transfer(database: Database, tenant: UUID, other_tenant: UUID) -> AsyncIterator[Transfer]:
    """Open the house with patients, what is observed of them, and a collection of one clinical field."""
    async with open_stack(database, tenant, other_tenant) as stack:
        await stack.declare(spec("patients"), spec("observations"), VISITS)
        yield Transfer(stack)


async def seeing(stack: Stack, *groups: str, hidden: tuple[str, ...] = ()) -> Caller:
    """Return somebody with a role of the tenant's own that does everything about records, and sees these groups."""
    role = own_role(
        "sees_" + "_".join(group[:4] for group in (*groups, *("not" for _ in hidden))),
        permissions=[
            *(Permission.RECORD_READ, Permission.RECORD_SEARCH, Permission.RECORD_CHANGE, Permission.RECORD_CREATE),
            *(Permission.EXPORT_RUN, Permission.EXPORT_READ, Permission.IMPORT_RUN, Permission.IMPORT_READ),
        ],
        groups=groups,
        purposes=[Purpose.OPERATIONS],
        default_purpose=Purpose.OPERATIONS,
        hidden=hidden,
    )
    await CustomRoles(gate=stack.gate, clock=stack.clock).put(someone(stack, "administrator"), role)
    return someone(stack, role.name)


def as_made(view: RoleView) -> Role:
    """Return the role that is shown as `view`."""
    return own_role(
        view.name,
        permissions=[Permission(one) for one in view.permissions],
        groups=view.groups,
        purposes=[Purpose(one) for one in view.purposes],
        default_purpose=Purpose(view.default_purpose),
    )


async def filled(transfer: Transfer) -> None:
    """Load one patient, an observation and a visit, each under an external id."""
    assert (await transfer.load(ndjson([PATIENT]), "patients")).created == 1
    assert (await transfer.load(ndjson([OBSERVATION]), "observations")).created == 1
    visit = f'{{"external_id":"{NAME}","fields":{{"text":"well"}}}}'.encode()
    assert (await transfer.load(ndjson([visit]), "visits", "ndjson")).created == 1


async def test_an_export_names_external_ids_to_who_sees_identifiers_alone(transfer: Transfer) -> None:
    await filled(transfer)
    stack = transfer.stack
    blind, seer = await seeing(stack, "clinical"), await seeing(stack, "clinical", "identifier")
    (record,) = (await stack.vault.search.search(stack.integration, "visits")).records
    line = msgspec.json.decode(await transfer.export("visits", "ndjson", caller=blind))
    assert (line["id"], line["fields"], line["withheld"]) == (str(record.id), {"text": "well"}, ["@external_id"])
    assert "external_id" not in line
    told = msgspec.json.decode(await transfer.export("visits", "ndjson", caller=seer))
    assert (told["external_id"], "withheld" in told) == (NAME, False)
    (row,) = csv.DictReader((await transfer.export("visits", "csv", caller=blind)).decode().splitlines())
    assert row == {"record_id": str(record.id), "subject": "", "text": "well"}
    (row,) = csv.DictReader((await transfer.export("visits", "csv", caller=seer)).decode().splitlines())
    assert row == {"external_id": NAME, "subject": "", "text": "well"}


async def test_what_has_external_ids_in_it_is_not_fetched_by_who_does_not_see_them(transfer: Transfer) -> None:
    await filled(transfer)
    blind, seer = await seeing(transfer.stack, "clinical"), await seeing(transfer.stack, "clinical", "identifier")
    made = await transfer.exports.create(seer, collection="visits", format="csv")
    await transfer.export_runner(QueuedJob(transfer.stack.tenant, uuid7(), "export", made.id, 1), lambda: False)
    with pytest.raises(Forbidden):
        await transfer.exports.content(blind, made.id)
    assert NAME.encode() in await joined(await transfer.exports.content(seer, made.id))
    (row,) = await transfer.stack.as_superuser("SELECT field_groups FROM vault.export WHERE id = $1", made.id)
    assert row["field_groups"] == ["clinical", "identifier"]


async def test_a_digest_of_an_export_is_over_what_its_file_holds(transfer: Transfer) -> None:
    await filled(transfer)
    stack = transfer.stack
    digests = []
    for caller in (await seeing(stack, "clinical"), await seeing(stack, "clinical", "identifier")):
        made = await transfer.exports.create(caller, collection="visits", format="ndjson")
        await transfer.export_runner(QueuedJob(stack.tenant, uuid7(), "export", made.id, 1), lambda: False)
        digests.append((await transfer.exports.read(caller, made.id)).digest)
    visit = f'{{"external_id":"{NAME}","fields":{{"text":"well"}}}}'.encode()
    imported = await transfer.load(ndjson([visit]), "visits", "ndjson")
    assert imported.digest == digests[1] != digests[0]


async def test_a_whole_resource_is_for_who_sees_all_that_is_in_it(transfer: Transfer) -> None:
    await filled(transfer)
    stack = transfer.stack
    (patient,) = (await stack.vault.search.search(stack.integration, "patients")).records
    hiding = await seeing(stack, *EVERYTHING, hidden=("patients.ssn",))
    for caller in (stack.caller("coach"), await seeing(stack, "clinical"), stack.billing, hiding):
        view = await stack.vault.records.read(caller, "patients", patient.id)
        assert ("resource" in view.fields, "resource" in view.withheld) == (False, True)
        assert SSN not in str(view) or "ssn" in view.fields
        for page in (
            await stack.vault.search.search(caller, "patients"),
            await stack.vault.search.search(caller, "patients", fields=["resource"]),
        ):
            assert "resource" in page.records[0].withheld
    with pytest.raises(Forbidden):
        await stack.vault.records.change(
            stack.caller("coach"), "patients", patient.id, {"resource": msgspec.Raw(b"{}")}, expected=1
        )
    for caller in (stack.integration, stack.clinician, stack.caller("privacy_officer")):
        assert "resource" in (await stack.vault.records.read(caller, "patients", patient.id)).fields
    (seen,) = (await stack.vault.search.search(stack.caller("coach"), "observations")).records
    assert "resource" in seen.fields, "who sees every other field of an observation sees the whole of it"


async def test_no_export_holds_a_whole_resource_for_who_does_not_see_identifiers(transfer: Transfer) -> None:
    await filled(transfer)
    partly = await seeing(transfer.stack, "clinical", "administrative")
    line = msgspec.json.decode(await transfer.export("observations", "ndjson", caller=partly))
    assert (set(line["fields"]), line["withheld"]) == ({"effective"}, ["resource", "@external_id"])
    assert NAME.encode() not in await transfer.export("observations", "csv", caller=partly)
    made = await transfer.exports.create(partly, collection="observations", format="fhir")
    await transfer.export_runner(QueuedJob(transfer.stack.tenant, uuid7(), "export", made.id, 1), lambda: False)
    ended = await transfer.exports.read(partly, made.id)
    assert (ended.state, ended.error) == ("failed", "forbidden")
    whole = await transfer.exports.create(transfer.stack.integration, collection="observations", format="fhir")
    await transfer.export_runner(QueuedJob(transfer.stack.tenant, uuid7(), "export", whole.id, 1), lambda: False)
    for caller in (partly, await seeing(transfer.stack, "clinical", "identifier")):
        with pytest.raises(Forbidden):
            await transfer.exports.content(caller, whole.id)


async def test_a_whole_resource_keeps_the_name_that_it_is_known_by(transfer: Transfer) -> None:
    change, administrator = transfer.stack.vault.collections.change, someone(transfer.stack, "administrator")
    with pytest.raises(Validation) as refused:
        await change(administrator, "patients", CollectionChange(rename={"resource": "raw"}))
    assert [(one.path, one.code) for one in refused.value.fields] == [("/rename/resource", "not-allowed")]


async def test_who_does_not_see_identifiers_imports_nothing(transfer: Transfer) -> None:
    """An import finds records by their external ids and counts which there are."""
    await filled(transfer)
    blind = await seeing(transfer.stack, "clinical")
    with pytest.raises(Forbidden, match="identifiers"):
        await transfer.imports.create(blind, collection="visits", format="ndjson")
    seer = await seeing(transfer.stack, "clinical", "identifier")
    visit = f'{{"external_id":"{NAME}","fields":{{"text":"well"}}}}'.encode()
    started = await transfer.upload(ndjson([visit]), "visits", "ndjson", caller=seer)
    roles = CustomRoles(gate=transfer.stack.gate, clock=transfer.stack.clock)
    role = as_made(await roles.get(someone(transfer.stack, "administrator"), "sees_clin_iden"))
    narrowed = msgspec.structs.replace(role, groups=frozenset({"clinical"}))
    await roles.put(someone(transfer.stack, "administrator"), narrowed)
    ended = await transfer.run(started.id)
    assert (ended.state, ended.error, ended.unchanged) == ("failed", "forbidden", 0)


async def test_who_does_not_see_identifiers_puts_nothing_by_one(transfer: Transfer) -> None:
    await filled(transfer)
    stack = transfer.stack
    masked = someone(stack, "integration")
    masked = msgspec.structs.replace(masked, principal=dataclasses.replace(masked.principal, masked=True))
    blind = await seeing(stack, "clinical")
    for caller in (stack.caller("coach"), blind, masked):
        for name in (NAME, "not-there"):
            before = len(await stack.as_superuser("SELECT id FROM vault.record"))
            with pytest.raises(Forbidden, match="identifiers"):
                await stack.vault.upserts.put(caller, "visits", name, {})
            assert len(await stack.as_superuser("SELECT id FROM vault.record")) == before
    failed = [row for row in await stack.entries("record.change") if row["outcome"] == "failed"]
    assert len(failed) == 6
    assert '"records"' not in "".join(row["text"] for row in failed), "nothing was looked up"


def test_who_treats_patients_sees_every_whole_resource_but_that_of_who_pays() -> None:
    """A field of a group that they don't see would take the resource it stands in from them."""
    roles = load().roles
    for name in names():
        groups = {one.group for one in spec(name).fields}
        assert (groups <= roles["clinician"].groups) == (name != "coverage"), name
        assert (groups <= roles["coach"].groups) == (name not in {"coverage", "patients"}), name


async def test_an_export_that_saw_more_before_it_was_stopped_is_not_gone_on_with(
    transfer: Transfer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its groups would be those of its second run, and its first parts hold what these don't say."""
    monkeypatch.setattr(exports_run, "PAGE", 1)
    lines = [f'{{"external_id":"{NAME}-{n}","fields":{{"text":"well"}}}}'.encode() for n in range(3)]
    assert (await transfer.load(ndjson(lines), "visits", "ndjson")).created == 3
    stack = transfer.stack
    seer, blind = await seeing(stack, "clinical", "identifier"), await seeing(stack, "clinical")
    made = await transfer.exports.create(seer, collection="visits", format="ndjson")
    job, asked = QueuedJob(stack.tenant, uuid7(), "export", made.id, 1), iter((False, True))
    with pytest.raises(Interrupted):
        await transfer.export_runner(job, lambda: next(asked))
    roles, administrator = CustomRoles(gate=stack.gate, clock=stack.clock), someone(stack, "administrator")
    narrowed = msgspec.structs.replace(
        as_made(await roles.get(administrator, "sees_clin_iden")), groups=frozenset({"clinical"})
    )
    await roles.put(administrator, narrowed)
    await transfer.export_runner(job, lambda: False)
    ended = await transfer.exports.read(seer, made.id)
    assert (ended.state, ended.error, ended.done) == ("failed", "forbidden", 1)
    with pytest.raises(Conflict):
        await transfer.exports.content(blind, made.id)
    assert NAME.encode() not in await transfer.export("visits", "ndjson", caller=seer)


async def test_an_import_stops_where_a_field_comes_that_its_caller_does_not_see(transfer: Transfer) -> None:
    stack = transfer.stack
    seer = await seeing(stack, "clinical", "identifier")
    visit = f'{{"external_id":"{NAME}","fields":{{"text":"well"}}}}'.encode()
    started = await transfer.upload(ndjson([visit]), "visits", "ndjson", caller=seer)
    paid = b'{"id":99,"name":"paid","type":"decimal","class":"pii","group":"financial","max_length":64}'

    async def add() -> None:
        async with stack.database.connect() as connection:
            await connection.execute(ADD, paid.decode())

    def meanwhile() -> bool:
        """Add a field just before the first batch is written, once it was looked who sees what."""
        if not added:
            stack.database.server.background.run(add())
            added.append(True)
        return False

    added: list[bool] = []
    await transfer.runner(QueuedJob(stack.tenant, uuid7(), "import", started.id, 1), meanwhile)
    ended = await transfer.imports.read(stack.integration, started.id)
    assert (ended.state, ended.error, ended.created) == ("failed", "forbidden", 0)
