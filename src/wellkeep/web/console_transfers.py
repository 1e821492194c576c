"""The pages of imports and exports, made of what they are handed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from wellkeep.vault.definition import Collection
from wellkeep.vault.exports import ExportStatus
from wellkeep.vault.imports import ImportStatus
from wellkeep.web import rendering
from wellkeep.web.console import Frame

FORMATS: Final = {
    "ndjson": "NDJSON: a record a line",
    "csv": "CSV: a record a row",
    "fhir": "FHIR R4: a resource a line",
}


class LineFailed(msgspec.Struct, frozen=True):
    """A line of an import that failed: its number, where in it, and a code; never a value."""

    line: int
    path: str
    code: str


def imports(frame: Frame, collections: Sequence[Collection]) -> bytes:
    """Return the page that begins an import."""
    return rendering.page("imports.html", frame=frame, collections=collections, formats=FORMATS)


def one_import(frame: Frame, found: ImportStatus, errors: Sequence[LineFailed]) -> bytes:
    """Return the page of one import, with the first of its `errors`."""
    return rendering.page("import.html", frame=frame, found=found, errors=errors)


def exports(frame: Frame, collections: Sequence[Collection]) -> bytes:
    """Return the page that begins an export."""
    return rendering.page("exports.html", frame=frame, collections=collections, formats=FORMATS)


def one_export(frame: Frame, found: ExportStatus) -> bytes:
    """Return the page of one export."""
    return rendering.page("export.html", frame=frame, found=found)
