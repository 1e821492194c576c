"""NDJSON of wellkeep's own form, one record a line, into rows: what an export writes, an import reads.

    {"external_id": "a-17", "patient": "<its patient's external id>", "fields": {"name": …, "note": {…}}}

Rules: `external_id` makes a repeated import change nothing, so it is required; a record's person is `patient` (an
external id among the patients) or `subject` (an id of ours); a field of type json keeps its bytes; a name that is not
declared is an error, shown as `*`. Keys that an export adds for reading (`id`, `revision`, `withheld`) are passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import msgspec

from wellkeep.vault.fhir import Refused, strict
from wellkeep.vault.imports_line import Decoded, LineError, Row, Value
from wellkeep.vault.ndjson_source import Line

_LONGEST_ID = 512
_PASSED_OVER = msgspec.Raw(b"null")
_encode_sorted = msgspec.json.Encoder(order="sorted").encode
_scalar = msgspec.json.Decoder(str | int | float | bool | None).decode


class _Record(msgspec.Struct, forbid_unknown_fields=True):
    """One line."""

    external_id: str
    fields: dict[str, msgspec.Raw]
    subject: UUID | None = None
    patient: str | None = None
    # Not `Raw | None`: a union with Raw takes null alone.
    id: msgspec.Raw = _PASSED_OVER
    revision: msgspec.Raw = _PASSED_OVER
    withheld: msgspec.Raw = _PASSED_OVER


_decode = msgspec.json.Decoder(_Record).decode


class RecordMapper:
    """Maps lines to rows of one collection."""

    def __init__(self, kinds: Mapping[str, str]) -> None:
        """Take the type of each declared field by its name."""
        self._kinds = dict(kinds)

    def row(self, line: Line) -> Decoded:
        """Return the row of `line`, or what is wrong with it."""
        if line.data is None:
            return LineError(line.number, line.end, "", "too-long")
        try:
            return self._row(line.number, line.end, line.data)
        except Refused as refused:
            return LineError(line.number, line.end, refused.path, refused.code)

    def _row(self, number: int, end: int, data: bytes) -> Row:
        whole = strict(data)
        try:
            record = _decode(data)
        except msgspec.ValidationError:
            raise Refused(*_place(whole)) from None
        if not record.external_id or len(record.external_id) > _LONGEST_ID:
            raise Refused("external_id", "required" if not record.external_id else "too-long")
        fields = {name: self._value(name, raw) for name, raw in record.fields.items()}
        payload = _encode_sorted(fields)
        place = "patient" if record.subject is None else "subject"
        return Row(number, end, record.external_id, record.patient, record.subject, fields, payload, place)

    def _value(self, name: str, raw: msgspec.Raw) -> Value:
        kind = self._kinds.get(name)
        if kind is None:
            raise Refused("fields.*", "unknown-field")
        if kind == "json":
            return msgspec.Raw(bytes(raw))
        try:
            found: Value = _scalar(raw)
        except msgspec.ValidationError:
            raise Refused(f"fields.{name}", "wrong-type") from None
        return found


def _place(whole: object) -> tuple[str, str]:
    """Say what is wrong with a line that is JSON, but no record, in the order in which a person would look."""
    if not isinstance(whole, dict):
        return "", "wrong-type"
    if any(name not in _Record.__struct_fields__ for name in whole):
        return "*", "unknown-field"
    for name in ("external_id", "fields"):
        if name not in whole:
            return name, "required"
    if not isinstance(whole["fields"], dict):
        return "fields", "wrong-type"
    for name in ("external_id", "patient"):
        if whole.get(name) is not None and not isinstance(whole[name], str):
            return name, "wrong-type"
    return "subject", "wrong-type"
