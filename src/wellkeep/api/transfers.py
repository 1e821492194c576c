"""Imports and exports over HTTP: jobs with parts, progress and a file of errors.

Rule: parts are raw bytes and are sealed before they touch a disk; a part's number makes sending it again harmless.
"""

from __future__ import annotations

from wellkeep.api import answers, limits, shapes
from wellkeep.api.answers import BYTES, NDJSON, Answer, Stream, location
from wellkeep.api.routes import Call, Route
from wellkeep.base.errors import Conflict
from wellkeep.base.permissions import Permission
from wellkeep.vault.exports import ExportStatus
from wellkeep.vault.imports import ImportStatus

_IMPORTS = "/v1/imports"
_IMPORT = "/v1/imports/{import_id}"
_EXPORTS = "/v1/exports"
_EXPORT = "/v1/exports/{export_id}"


async def create_import(call: Call) -> Answer:
    """Open an import that waits for its parts."""
    body: shapes.ImportInput = call.body
    made = await call.runtime.imports.create(
        call.caller,
        collection=body.collection,
        format=body.format,
        mapping=body.map,
        key=call.idempotency_key(),
    )
    return answers.json(made, status=201, headers=(location(_IMPORTS, made.id),))


async def put_part(call: Call) -> Answer:
    """Keep one part, sealed."""
    await call.runtime.imports.put_part(call.caller, call.identifier("import_id"), call.part_number(), call.body)
    return Answer(204)


async def start_import(call: Call) -> Answer:
    """Begin to import what was received."""
    started = await call.runtime.imports.start(call.caller, call.identifier("import_id"))
    return answers.json(started, status=202)


async def stop_import(call: Call) -> Answer:
    """Stop at the next batch; start goes on from there."""
    stopped = await call.runtime.imports.stop(call.caller, call.identifier("import_id"))
    return answers.json(stopped, status=202)


async def get_import(call: Call) -> Answer:
    """Return state and counts."""
    return answers.json(await call.runtime.imports.read(call.caller, call.identifier("import_id")))


async def import_errors(call: Call) -> Stream:
    """Return the lines that failed, with path and code."""
    pieces = await call.runtime.imports.errors(call.caller, call.identifier("import_id"))
    return Stream(pieces, media=NDJSON)


async def create_export(call: Call) -> Answer:
    """Begin an export."""
    body: shapes.ExportInput = call.body
    made = await call.runtime.exports.create(
        call.caller,
        collection=body.collection,
        format=body.format,
    )
    return answers.json(made, status=201, headers=(location(_EXPORTS, made.id),))


async def get_export(call: Call) -> Answer:
    """Return state and counts."""
    return answers.json(await call.runtime.exports.read(call.caller, call.identifier("export_id")))


async def export_content(call: Call) -> Stream:
    """Return the file."""
    pieces = await call.runtime.exports.content(call.caller, call.identifier("export_id"))
    return Stream(pieces, media=BYTES, headers=((b"content-disposition", b"attachment"),))


TRANSFERS = (
    Route(
        method="POST",
        path=_IMPORTS,
        name="import_create",
        summary="Open an import; its parts follow",
        tag="imports",
        serve=create_import,
        permission=Permission.IMPORT_RUN,
        body=shapes.ImportInput,
        takes=("X-Purpose-Of-Use", "Idempotency-Key"),
        returns=ImportStatus,
        status=201,
        answer_headers=("Location",),
        problems=(Conflict,),
        example={"collection": "patients", "format": "fhir"},
    ),
    Route(
        method="PUT",
        path=_IMPORT + "/parts/{number}",
        name="import_part",
        weight=20,
        summary="Send one part, up to 8 MiB of raw bytes; numbers count from 0",
        tag="imports",
        serve=put_part,
        permission=Permission.IMPORT_RUN,
        body=bytes,
        media="application/octet-stream",
        takes=("X-Purpose-Of-Use",),
        status=204,
        problems=(Conflict,),
        limit=limits.PART_BYTES,
        seconds=limits.LONG_REQUEST_SECONDS,
    ),
    Route(
        method="POST",
        path=_IMPORT + "/start",
        name="import_start",
        summary="Begin to import what was received",
        tag="imports",
        serve=start_import,
        permission=Permission.IMPORT_RUN,
        takes=("X-Purpose-Of-Use",),
        returns=ImportStatus,
        status=202,
        problems=(Conflict,),
    ),
    Route(
        method="POST",
        path=_IMPORT + "/stop",
        name="import_stop",
        summary="Stop an import at its next batch; starting it again goes on from there",
        tag="imports",
        serve=stop_import,
        permission=Permission.IMPORT_RUN,
        takes=("X-Purpose-Of-Use",),
        returns=ImportStatus,
        status=202,
        problems=(Conflict,),
    ),
    Route(
        method="GET",
        path=_IMPORT,
        name="import_get",
        summary="How far an import is",
        tag="imports",
        serve=get_import,
        permission=Permission.IMPORT_READ,
        takes=("X-Purpose-Of-Use",),
        returns=ImportStatus,
    ),
    Route(
        method="GET",
        path=_IMPORT + "/errors",
        name="import_errors",
        summary="The lines that failed, as NDJSON of line, path and code; never a value",
        tag="imports",
        serve=import_errors,
        permission=Permission.IMPORT_READ,
        takes=("X-Purpose-Of-Use",),
        answer_media="application/x-ndjson",
    ),
    Route(
        method="POST",
        path=_EXPORTS,
        name="export_create",
        weight=50,
        summary="Begin an export of a collection",
        tag="exports",
        serve=create_export,
        permission=Permission.EXPORT_RUN,
        body=shapes.ExportInput,
        takes=("X-Purpose-Of-Use",),
        returns=ExportStatus,
        status=201,
        answer_headers=("Location",),
        problems=(Conflict,),
        example={"collection": "patients", "format": "ndjson"},
    ),
    Route(
        method="GET",
        path=_EXPORT,
        name="export_get",
        summary="How far an export is",
        tag="exports",
        serve=get_export,
        permission=Permission.EXPORT_READ,
        takes=("X-Purpose-Of-Use",),
        returns=ExportStatus,
    ),
    Route(
        method="GET",
        path=_EXPORT + "/content",
        name="export_content",
        weight=50,
        summary="The exported file",
        tag="exports",
        serve=export_content,
        permission=Permission.EXPORT_READ,
        takes=("X-Purpose-Of-Use",),
        answer_media="application/octet-stream",
        problems=(Conflict,),
    ),
)
