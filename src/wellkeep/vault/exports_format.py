"""How an opened record is written: NDJSON of our own form, the FHIR resource byte for byte, or CSV.

Pure: records in, bytes out. What NDJSON and CSV write, an import reads; CSV has no word for a text that is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import msgspec

from wellkeep.vault.csv_source import EXTERNAL_ID, harmless, write_rows
from wellkeep.vault.definition import Field
from wellkeep.vault.templates import RESOURCE_FIELD
from wellkeep.vault.values import Value

_NUMBERS = frozenset({"integer", "decimal"})
"""Types whose values begin with a sign and are no formula: digits alone follow."""

_encode = msgspec.json.encode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


class Opened(NamedTuple):
    """One record, opened as far as its reader may see; `external_id` is None where they see no identifiers."""

    id: UUID
    external_id: str | None
    subject: UUID | None
    revision: int
    fields: dict[str, Value]


class _Line(msgspec.Struct, omit_defaults=True):
    """One record in NDJSON."""

    id: UUID
    external_id: str | msgspec.UnsetType
    fields: dict[str, Value]
    subject: UUID | None = None
    revision: int = 0
    withheld: list[str] = []


def payload(record: Opened) -> bytes:
    """Return what the digest of `record` covers: its FHIR resource, or else its fields in sorted JSON."""
    resource = record.fields.get(RESOURCE_FIELD)
    return bytes(resource) if isinstance(resource, msgspec.Raw) else _encode_sorted(record.fields)


def write(
    form: str, records: Sequence[Opened], *, fields: Sequence[Field], withheld: Sequence[str], first: bool
) -> bytes:
    """Return `records` in the format `form`; `first` writes CSV's header.

    Where `withheld` names the external id, NDJSON has none, and CSV a column `record_id` that no import takes for one.
    """
    if form == "fhir":
        return b"".join(
            bytes(resource) + b"\n"
            for record in records
            if isinstance(resource := record.fields.get(RESOURCE_FIELD), msgspec.Raw)
        )
    if form == "csv":
        names = [field.name for field in fields]
        named = "record_id" if EXTERNAL_ID in withheld else "external_id"
        header = [named, "subject", *names] if first else None
        return write_rows(header, (_cells(record, fields) for record in records))
    return b"".join(
        _encode(
            _Line(
                id=record.id,
                external_id=msgspec.UNSET if record.external_id is None else record.external_id,
                fields=record.fields,
                subject=record.subject,
                revision=record.revision,
                withheld=list(withheld),
            )
        )
        + b"\n"
        for record in records
    )


def _cells(record: Opened, fields: Sequence[Field]) -> list[str]:
    return [
        str(record.id) if record.external_id is None else harmless(record.external_id),
        "" if record.subject is None else str(record.subject),
        *(_cell(field, record.fields.get(field.name)) for field in fields),
    ]


def _cell(field: Field, value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = bytes(value).decode() if isinstance(value, msgspec.Raw) else str(value)
    return text if field.type in _NUMBERS else harmless(text)
