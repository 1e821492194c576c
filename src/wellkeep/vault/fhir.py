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
from wellkeep.vault.fhir_paths import Leaf, Path, Reader, WrongType, parse, reader
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
_TEXTS = ("string", "text", "date", "datetime")
_NAMES_KEPT = 1_000
_LONG_NUMBER = re.compile(rb"(?:^|[:,\[])-?[0-9]{16}")
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
        self._read_id = _reader((self._id,))
        references = tuple(map(parse, template.reference))
        self._place = references[0].shown if references else ""
        self._read_reference = _reader(references) if references else None
        self._named: dict[str, str] = {}
        kinds = {field.name: field.type for field in template.fields}
        self._fields = tuple((name, _field_reader(kinds[name], paths)) for name, paths in template.paths().items())

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
        if type(resource) is not dict:
            raise Refused("", "wrong-type")
        if resource.get("resourceType") != self._resource:
            raise Refused("resourceType", "wrong-resource-type")
        identity = self._read_id(resource)
        if not isinstance(identity, str) or not _ID.fullmatch(identity):
            raise Refused(self._id.shown, "required" if identity is None else "wrong-type")
        whole = msgspec.Raw(data)
        fields: dict[str, Value] = {RESOURCE_FIELD: whole}
        for name, read in self._fields:
            found = read(resource)
            if found is not None:
                fields[name] = found
        return Row(number, end, identity, self._reference(resource), None, fields, data, self._place, whole)

    def _reference(self, resource: object) -> str | None:
        if self._read_reference is None:
            return None
        found = self._read_reference(resource)
        if not isinstance(found, str):
            raise Refused(self._place, "required" if found is None else "unresolved-reference")
        known = self._named.get(found)
        return known if known is not None else self._parsed(found)

    def _parsed(self, reference: str) -> str:
        """Return whom `reference` names; the last ones are kept, for lines of one patient stand together."""
        named = _REFERENCE.fullmatch(reference)
        if named is None:
            raise Refused(self._place, "unresolved-reference")
        if len(self._named) >= _NAMES_KEPT:
            self._named.clear()
        known: str = named[1] or named[2]
        self._named[reference] = known
        return known


def _reader(paths: tuple[Path, ...]) -> Reader:
    """Return what reads the first of `paths` that yields; it raises `Refused` for another shape."""
    ways = tuple((reader(path), path.shown) for path in paths)

    def read(resource: object) -> Leaf:
        for way, shown in ways:
            try:
                found = way(resource)
            except WrongType:
                raise Refused(shown, "wrong-type") from None
            if found is not None:
                return found
        return None

    return read


def _field_reader(kind: str, paths: tuple[Path, ...]) -> Reader:
    """Return what reads a field of the type `kind`; a date or time of which only a part is known yields None."""
    anything, shown = _reader(paths), paths[0].shown
    if kind not in _TEXTS:
        return anything

    def read(resource: object) -> Leaf:
        found = anything(resource)
        if found is None:
            return None
        if not isinstance(found, str):
            raise Refused(shown, "wrong-type")
        if kind == "date":
            return found[:_DATE_LENGTH] if len(found) >= _DATE_LENGTH else None
        return found if kind != "datetime" or len(found) > _DATE_LENGTH else None

    return read


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
