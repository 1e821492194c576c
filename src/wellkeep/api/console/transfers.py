"""The pages of imports and exports: begun by the page's script over the API, and watched until they are over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import msgspec

from wellkeep.api.answers import Answer
from wellkeep.api.console import shown
from wellkeep.api.routes import Call, Route
from wellkeep.base.errors import NotFound
from wellkeep.base.permissions import Permission
from wellkeep.web import console_transfers as pages

_HERE: Final = "Records"
_MOST_ERRORS: Final = 200


async def imports(call: Call) -> Answer:
    """Show the form that begins an import."""
    frame = await shown.inside(call, _HERE)
    found = await call.runtime.collections.list(call.caller)
    return shown.answer(pages.imports(frame, found), frame)


async def one_import(call: Call) -> Answer:
    """Show how far an import is, and which of its lines failed."""
    frame = await shown.inside(call, _HERE)
    wanted = call.identifier("import_id")
    found = await call.runtime.imports.read(call.caller, wanted)
    errors: list[pages.LineFailed] = []
    if found.failed:
        errors = await _first(await call.runtime.imports.errors(call.caller, wanted))
    return shown.answer(pages.one_import(frame, found, errors), frame)


async def exports(call: Call) -> Answer:
    """Show the form that begins an export."""
    frame = await shown.inside(call, _HERE)
    found = await call.runtime.collections.list(call.caller)
    return shown.answer(pages.exports(frame, found), frame)


async def one_export(call: Call) -> Answer:
    """Show how far an export is, and where it is fetched."""
    frame = await shown.inside(call, _HERE)
    found = await call.runtime.exports.read(call.caller, call.identifier("export_id"))
    return shown.answer(pages.one_export(frame, found), frame)


async def _first(pieces: AsyncIterator[bytes]) -> list[pages.LineFailed]:
    """Return the first lines of a file of errors."""
    held = b""
    async for piece in pieces:
        held += piece
        if held.count(b"\n") >= _MOST_ERRORS:
            break
    whole = held[: held.rfind(b"\n") + 1].splitlines()[:_MOST_ERRORS]
    return [msgspec.json.decode(line, type=pages.LineFailed) for line in whole]


TRANSFER_PAGES: Final = (
    Route(
        method="GET",
        path="/console/imports",
        name="console_imports",
        summary="Begin an import, to read",
        tag="console",
        serve=imports,
        permission=Permission.COLLECTION_READ,
        answer_media="text/html",
        refuse=shown.refused,
    ),
    Route(
        method="GET",
        path="/console/imports/{import_id}",
        name="console_import",
        summary="How far an import is, and which lines failed, to read",
        tag="console",
        serve=one_import,
        permission=Permission.IMPORT_READ,
        answer_media="text/html",
        problems=(NotFound,),
        refuse=shown.refused,
    ),
    Route(
        method="GET",
        path="/console/exports",
        name="console_exports",
        summary="Begin an export, to read",
        tag="console",
        serve=exports,
        permission=Permission.COLLECTION_READ,
        answer_media="text/html",
        refuse=shown.refused,
    ),
    Route(
        method="GET",
        path="/console/exports/{export_id}",
        name="console_export",
        summary="How far an export is, to read",
        tag="console",
        serve=one_export,
        permission=Permission.EXPORT_READ,
        answer_media="text/html",
        problems=(NotFound,),
        refuse=shown.refused,
    ),
)
