"""FHIR R4 resources, one a line, into rows of a built-in collection.

Rules: the resource is kept byte for byte, and is refused where its bytes have more than one reading: a key twice in one
object, a NUL, a lone surrogate, bytes that are not UTF-8. A partial date is valid FHIR but no date: the field beside
the resource stays empty, the resource is whole. A reference names its patient as `Patient/<id>` (absolute addresses and
histories included) or `urn:uuid:<id>`. Errors hold paths and codes alone.

Source: FHIR R4, https://hl7.org/fhir/R4/ (json.html, references.html, datatypes.html). Pure: bytes in, rows out.
"""

from __future__ import annotations

import re

import msgspec

from wellkeep.base import strict_json
from wellkeep.base.errors import Validation
from wellkeep.vault.fhir_paths import Leaf, Path, WrongType, parse, value
from wellkeep.vault.imports_line import Decoded, LineError, Row, Value
from wellkeep.vault.ndjson_source import Line
from wellkeep.vault.templates import RESOURCE_FIELD, Template

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_REFERENCE = re.compile(
    r"(?:https?://[^\s?#]+/)?Patient/([A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?|urn:uuid:([0-9a-f\-]{36})"
)
_DATE_LENGTH = len("2023-02-28")
_LONG_NUMBER = re.compile(rb"[:,\[]-?[0-9]{16}")
_DIGITS_ALIKE = bytes.maketrans(b"123456789", b"000000000")
_LONG_DIGITS = b"0" * 16


class Refused(Exception):
    """A line is not taken: the path and the code."""

    def __init__(self, path: str, code: str) -> None:
        """Hold a path of declared names and a code of ours."""
        super().__init__(code)
        self.path = path
        self.code = code


class FhirMapper:
    """Maps lines of one resource type to rows of its collection."""

    def __init__(self, template: Template) -> None:
        """Compile the paths of `template`."""
        self._resource = template.resource
        self._id = parse(template.external_id)
        self._references = tuple(map(parse, template.reference))
        kinds = {field.name: field.type for field in template.fields}
        self._fields = tuple((name, kinds[name], paths) for name, paths in template.paths().items())

    def row(self, line: Line) -> Decoded:
        """Return the row of `line`, or what is wrong with it."""
        if line.data is None:
            return LineError(line.number, line.end, "", "too-long")
        try:
            return self._row(line.number, line.end, line.data)
        except Refused as refused:
            return LineError(line.number, line.end, refused.path, refused.code)

    def _row(self, number: int, end: int, data: bytes) -> Row:
        resource = strict(data)
        if not isinstance(resource, dict):
            raise Refused("", "wrong-type")
        if resource.get("resourceType") != self._resource:
            raise Refused("resourceType", "wrong-resource-type")
        identity = _read(resource, (self._id,))
        if not isinstance(identity, str) or not _ID.fullmatch(identity):
            raise Refused(self._id.shown, "required" if identity is None else "wrong-type")
        whole_resource = msgspec.Raw(data)
        fields: dict[str, Value] = {RESOURCE_FIELD: whole_resource}
        for name, kind, paths in self._fields:
            found = _read(resource, paths)
            if found is not None:
                whole = _of_kind(found, kind, paths[0])
                if whole is not None:
                    fields[name] = whole
        place = self._references[0].shown if self._references else ""
        return Row(number, end, identity, self._reference(resource), None, fields, data, place, whole_resource)

    def _reference(self, resource: dict[str, object]) -> str | None:
        if not self._references:
            return None
        found = _read(resource, self._references)
        place = self._references[0].shown
        if found is None:
            raise Refused(place, "required")
        named = _REFERENCE.fullmatch(found) if isinstance(found, str) else None
        if named is None:
            raise Refused(place, "unresolved-reference")
        return named[1] or named[2]


def _read(resource: dict[str, object], paths: tuple[Path, ...]) -> Leaf:
    for path in paths:
        try:
            found = value(resource, path)
        except WrongType:
            raise Refused(path.shown, "wrong-type") from None
        if found is not None:
            return found
    return None


def _of_kind(found: Leaf, kind: str, path: Path) -> Leaf:
    if kind in {"string", "text", "date", "datetime"} and not isinstance(found, str):
        raise Refused(path.shown, "wrong-type")
    if isinstance(found, str) and kind == "date":
        return found[:_DATE_LENGTH] if len(found) >= _DATE_LENGTH else None
    if isinstance(found, str) and kind == "datetime":
        return found if len(found) > _DATE_LENGTH else None
    return found


def strict(data: bytes) -> object:
    """Decode JSON that has one reading; raises `Refused` with the codes of `base.strict_json` where it has not.

    Bytes that come back the same when the decoded value is written again hold no key twice and nothing malformed; where
    they also show no long integer, no NUL and little nesting, the strict reader would find nothing (4 against 14 µs).
    Only the others are read by it.
    """
    try:
        found: object = _decode(data)
        plain = _encode(found) == data
    except (msgspec.DecodeError, UnicodeError, ValueError, RecursionError):
        found, plain = None, False
    if not plain or _suspect(data):
        try:
            strict_json.check(data)
        except Validation as refused:
            raise Refused("", refused.fields[0].code) from None
    return found


def _suspect(data: bytes) -> bool:
    """Say whether bytes that are written canonically may hold what the strict reader refuses; some that do not, do."""
    if b"u0000" in data or data.count(b"{") + data.count(b"[") > strict_json.DEEPEST:
        return True
    # Looking for digits through a table takes 1 µs, the expression 6; few lines need it.
    return _LONG_DIGITS in data.translate(_DIGITS_ALIKE) and _LONG_NUMBER.search(data) is not None
