"""FHIR R4 resources, one a line, into rows of a built-in collection.

Rules: the resource is kept byte for byte, and is refused where its bytes have more than one reading: a key twice in one
object, a NUL, a lone surrogate, bytes that are not UTF-8. A partial date is valid FHIR but no date: the field beside
the resource stays empty, the resource is whole. A reference names its patient as `Patient/<id>` (absolute addresses and
histories included) or `urn:uuid:<id>`. Errors hold paths and codes alone.

Source: FHIR R4, https://hl7.org/fhir/R4/ (json.html, references.html, datatypes.html). Pure: bytes in, rows out.
"""

from __future__ import annotations

import json
import re
from typing import NoReturn

import msgspec

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
_DEEPEST = 64


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
        fields: dict[str, Value] = {RESOURCE_FIELD: msgspec.Raw(data)}
        for name, kind, paths in self._fields:
            found = _read(resource, paths)
            if found is not None:
                whole = _of_kind(found, kind, paths[0])
                if whole is not None:
                    fields[name] = whole
        return Row(number, end, identity, self._reference(resource), None, fields, data)

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
    """Decode JSON that has one reading; raises `Refused` where it is malformed or ambiguous.

    Bytes that come back the same when the decoded value is written again hold no key twice, so only what was written in
    another style (spaces, escapes, numbers) is read a second time, pair by pair.
    """
    try:
        found: object = _decode(data)
        if _encode(found) != data:
            json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_constant)
    except (msgspec.DecodeError, UnicodeError, ValueError, RecursionError):
        raise Refused("", "malformed-json") from None
    if b"\\u0000" in data and _has_nul(found, _DEEPEST):
        raise Refused("", "nul-byte")
    return found


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    whole = dict(pairs)
    if len(whole) != len(pairs):
        raise Refused("", "duplicate-key")
    return whole


def _constant(_name: str) -> NoReturn:
    raise Refused("", "malformed-json")


def _has_nul(node: object, depth: int) -> bool:
    if depth == 0:
        return True
    if isinstance(node, str):
        return "\0" in node
    if isinstance(node, dict):
        return any(_has_nul(key, depth - 1) or _has_nul(item, depth - 1) for key, item in node.items())
    return isinstance(node, list) and any(_has_nul(item, depth - 1) for item in node)
