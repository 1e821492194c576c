"""Records over HTTP: create, read, change, delete, upsert by external id, batch."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from wellkeep.api import answers, headers, limits, query, shapes
from wellkeep.api.answers import Answer, etag
from wellkeep.api.problems import Place, status_of, validation
from wellkeep.api.routes import Call, Route
from wellkeep.base.errors import Conflict, SubjectErased
from wellkeep.base.permissions import Permission
from wellkeep.vault.batch import NewRecord, RowOutcome
from wellkeep.vault.input import LONGEST_EXTERNAL_ID

_RECORDS = "/v1/collections/{collection}/records"
_RECORD = _RECORDS + "/{record_id}"
_BY_EXTERNAL_ID = b"/by-external-id/"
_PATIENT = {"name": [{"family": "Okafor"}], "ssn": "999-12-3456"}


async def create(call: Call) -> Answer:
    """Store a record."""
    body: shapes.RecordInput = call.body
    collection = call.collection()
    made = await call.runtime.records.create(
        call.caller,
        collection,
        body.fields,
        subject=body.subject,
        idempotency_key=call.idempotency_key(),
    )
    where = answers.location(f"/v1/collections/{collection}/records", made.id)
    return answers.json(shapes.made(made), status=201, headers=(etag(made.revision), where))


async def read(call: Call) -> Answer:
    """Return a record; 304 where the caller has this revision already, which is an access all the same."""
    given = call.query.get("fields")
    revision = call.query.get("revision")
    found = await call.runtime.records.read(
        call.caller,
        call.collection(),
        call.identifier("record_id"),
        fields=given.split(",") if given else None,
        revision=int(revision) if revision else None,
    )
    tag = etag(found.revision)
    if headers.if_none_match(call.found) == found.revision:
        return Answer(304, headers=(tag,))
    return answers.json(found, headers=(tag,))


async def change(call: Call) -> Answer:
    """Change fields of a record."""
    body: shapes.RecordChange = call.body
    changed = await call.runtime.records.change(
        call.caller,
        call.collection(),
        call.identifier("record_id"),
        body.fields,
        expected=call.if_match(),
        idempotency_key=call.idempotency_key(),
    )
    return answers.json(shapes.changed(changed), headers=(etag(changed.revision),))


async def delete(call: Call) -> Answer:
    """Delete a record; its history stays until it is erased."""
    await call.runtime.records.delete(
        call.caller, call.collection(), call.identifier("record_id"), expected=call.if_match()
    )
    return Answer(204)


async def upsert(call: Call) -> Answer:
    """Create the record with this external id, or replace its content where it differs."""
    body: shapes.Upsert = call.body
    stored, outcome = await call.runtime.upserts.put(
        call.caller, call.collection(), external_id(call.raw_path), body.fields, subject=body.subject
    )
    return answers.json(
        shapes.made(stored), status=201 if outcome == "created" else 200, headers=(etag(stored.revision),)
    )


def external_id(raw_path: bytes) -> str:
    """Return the external id that ends an address: percent-decoded once, slashes and all; raises Validation."""
    raw = unquote_to_bytes(raw_path.partition(_BY_EXTERNAL_ID)[2])
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise validation("path/external_id", "not-utf8") from None
    if not text or len(text) > LONGEST_EXTERNAL_ID:
        raise validation("path/external_id", "too-long" if text else "required")
    if not text.isprintable():
        raise validation("path/external_id", "malformed")
    return text


async def batch(call: Call) -> Answer:
    """Create up to 500 records, each with an outcome of its own."""
    body: shapes.BatchInput = call.body
    outcomes = await call.runtime.batches.create(
        call.caller,
        call.collection(),
        [NewRecord(item.fields, item.subject) for item in body.records],
        idempotency_key=call.idempotency_key(),
    )
    return answers.json(shapes.BatchResult([_outcome(one) for one in outcomes]))


def _outcome(one: RowOutcome) -> shapes.BatchOutcome:
    if one.error is None:
        return shapes.BatchOutcome(status=201, id=one.id, subject=one.subject, revision=1)
    places = [Place(path, code) for path, code in one.fields]
    return shapes.BatchOutcome(status=status_of(one.error), code=one.error, errors=places)


RECORDS = (
    Route(
        method="POST",
        path=_RECORDS,
        name="record_create",
        summary="Store a record",
        tag="records",
        serve=create,
        permission=Permission.RECORD_CREATE,
        body=shapes.RecordInput,
        takes=("X-Purpose-Of-Use", "Idempotency-Key"),
        returns=shapes.RecordMade,
        status=201,
        answer_headers=("ETag", "Location"),
        problems=(Conflict, SubjectErased),
        example={"fields": _PATIENT},
    ),
    Route(
        method="GET",
        path=_RECORD,
        name="record_read",
        summary="Read a record; every read is an entry of the ledger before it is answered",
        tag="records",
        serve=read,
        permission=Permission.RECORD_READ,
        query=(query.FIELDS, query.REVISION),
        takes=("X-Purpose-Of-Use", "If-None-Match"),
        returns=shapes.Record,
        answer_headers=("ETag",),
        also=(304,),
        problems=(SubjectErased,),
    ),
    Route(
        method="PATCH",
        path=_RECORD,
        name="record_change",
        summary="Change fields of a record; null removes a value",
        tag="records",
        serve=change,
        permission=Permission.RECORD_CHANGE,
        body=shapes.RecordChange,
        takes=("X-Purpose-Of-Use", "If-Match", "Idempotency-Key"),
        returns=shapes.RecordChanged,
        answer_headers=("ETag",),
        problems=(Conflict, SubjectErased),
        example={"fields": {"ssn": "999-65-4321"}},
    ),
    Route(
        method="DELETE",
        path=_RECORD,
        name="record_delete",
        summary="Delete a record",
        tag="records",
        serve=delete,
        permission=Permission.RECORD_DELETE,
        takes=("X-Purpose-Of-Use", "If-Match"),
        status=204,
        problems=(SubjectErased,),
    ),
    Route(
        method="PUT",
        path=_RECORDS + "/by-external-id/{external_id}",
        name="record_upsert",
        summary="Create the record with this external id, or replace its content; sending it twice changes nothing",
        tag="records",
        serve=upsert,
        permission=Permission.RECORD_CHANGE,
        body=shapes.Upsert,
        takes=("X-Purpose-Of-Use",),
        returns=shapes.RecordMade,
        also=(201,),
        answer_headers=("ETag",),
        problems=(Conflict, SubjectErased),
        example={"fields": _PATIENT},
    ),
    Route(
        method="POST",
        path=_RECORDS + "/batch",
        name="record_batch",
        weight=20,
        summary="Create up to 500 records, each with an outcome of its own",
        tag="records",
        serve=batch,
        permission=Permission.RECORD_CREATE,
        body=shapes.BatchInput,
        takes=("X-Purpose-Of-Use", "Idempotency-Key"),
        returns=shapes.BatchResult,
        seconds=limits.LONG_REQUEST_SECONDS,
        example={"records": [{"fields": _PATIENT}]},
    ),
)
