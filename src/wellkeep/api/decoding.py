"""From bytes to a checked Struct, with refusals that name places and never values.

Rules: duplicate keys, NUL, lone surrogates, numbers past 2^53 - 1 and deep nesting are refused before anything looks at
the content; then msgspec validates against the declared shape. The texts of msgspec quote values and unknown keys, so
of such a text two things are used: its fixed beginning (which rule) and the path at its end, and of the path only
segments that are array positions or names that our shapes declare. Anything else becomes `*`.
"""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec

from wellkeep.api.problems import validation
from wellkeep.base import strict_json
from wellkeep.base.errors import Validation

T = TypeVar("T")

_ASIDE = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decoding")
_MILLISECONDS_BYTES = 16 * 1024
"""A body of this size takes about one millisecond to read strictly."""

_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), code)
    for pattern, code in (
        (r"Object missing required field `", "required"),
        (r"Object contains unknown field `", "unknown-field"),
        (r"Invalid enum value ", "not-allowed"),
        (r"Expected `(str|array|object|bytes)` of length <= ", "too-long"),
        (r"Expected `(str|array|object|bytes)` of length ", "too-short"),
        (r"Expected `(int|float)` (<|>|that's)", "out-of-range"),
        (r"Expected `str` matching regex ", "malformed"),
        (r"Invalid (UUID|RFC3339|base64)", "malformed"),
        (r"Expected `", "wrong-type"),
    )
)
_MISSING = re.compile(r"Object missing required field `([A-Za-z_][A-Za-z0-9_]*)`")
_TAIL = re.compile(r" - at `(key in )?\$([^`]*)`\Z")
_SEGMENT = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\[([0-9]+)\]|\[\.\.\.\]")


_DECODERS: dict[type, tuple[msgspec.json.Decoder[Any], frozenset[str]]] = {}
"""One a shape: the shapes are those of the routes, so this stays as small as the route tables."""


def decode(body: bytes, shape: type[T]) -> T:
    """Return `body` as a `shape`; raises Validation with a JSON pointer of declared names and a code."""
    decoder, declared = _DECODERS.get(shape) or _prepare(shape)
    strict_json.check(body, declared=declared)
    try:
        decoded: T = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _refusal(str(error), declared) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise validation("", "malformed-json", "The body is not valid JSON") from None
    return decoded


async def decode_aside(body: bytes, shape: type[T]) -> T:
    """Do what `decode` does; a body that takes milliseconds is read in a thread, one such body at a time.

    The event loop gets its turns in between, mostly each millisecond: an array of arrays is read in one go. Several
    threads would take turns among themselves, and leave the event loop one of many.
    """
    if len(body) < _MILLISECONDS_BYTES:
        return decode(body, shape)
    return await asyncio.get_running_loop().run_in_executor(_ASIDE, decode, body, shape)


def _prepare(shape: type) -> tuple[msgspec.json.Decoder[Any], frozenset[str]]:
    prepared = _DECODERS[shape] = (msgspec.json.Decoder(shape), _declared(shape))
    return prepared


def _refusal(text: str, declared: frozenset[str]) -> Validation:
    code = next((code for pattern, code in _RULES if pattern.match(text)), "malformed")
    tail = _TAIL.search(text)
    path = _pointer(tail[2] if tail else "", declared)
    missing = _MISSING.match(text)
    if missing is not None and missing[1] in declared:
        path += "/" + missing[1]
    elif code == "unknown-field" or (tail and tail[1]):
        path += "/*"
    return validation(path, code)


def _pointer(path: str, declared: frozenset[str]) -> str:
    segments = []
    for match in _SEGMENT.finditer(path):
        name, position = match[1], match[2]
        if position is not None:
            segments.append(position[:6])
        else:
            segments.append(name if name in declared else "*")
    return "".join("/" + segment for segment in segments)


def _declared(shape: type) -> frozenset[str]:
    _, components = msgspec.json.schema_components([shape], ref_template="{name}")
    return frozenset(name for schema in components.values() for name in schema.get("properties", ()))
