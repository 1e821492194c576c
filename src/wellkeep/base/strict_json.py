"""JSON with one reading only: what two parsers could read differently is refused before anything looks at it.

Refused: bytes that are not UTF-8; a key twice in one object, at any depth; NaN, Infinity and numbers that become one;
integers beyond ±(2^53 - 1), which JavaScript rounds; the character NUL; half of a surrogate pair; nesting past 64.
Threats: a check that reads the first of two keys and a store that reads the second; a text that PostgreSQL or a
recipient can't hold; a stack overflow; an error message that quotes what it refuses.

Fast where nothing is wrong: the C scanner of the standard library calls back once an object and once a number. Only a
refused body is read a second time, slowly, to say where.
"""

from __future__ import annotations

import json
import re
from json.decoder import JSONDecodeError
from typing import NoReturn

import msgspec

from wellkeep.base.errors import FieldProblem, Validation

DEEPEST = 64
LARGEST_INTEGER = 2**53 - 1
_DIGITS = len(str(LARGEST_INTEGER)) + 1
_INFINITE = (float("inf"), float("-inf"))
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NOT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))
_UNFIT = re.compile("[\x00\ud800-\udfff]")
_RAW_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NO_NAMES: frozenset[str] = frozenset()


class _Refused(Exception):
    """Something is wrong; the second reading says what and where."""


def check(body: bytes, *, declared: frozenset[str] = _NO_NAMES) -> None:
    """Raise Validation unless `body` is one JSON text with one reading.

    The problem has a JSON pointer, in which a name that is not `declared` is shown as `*`, and one of the codes
    `malformed-json`, `not-utf8`, `duplicate-key`, `not-finite`, `out-of-range`, `nul`, `lone-surrogate`, `too-deep`.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        _refuse("", "not-utf8")
    try:
        value, end = (None, 0) if _deep(body) else _scan(text, _start(text))
    except (_Refused, RecursionError):
        _locate(text, declared)
    except JSONDecodeError:
        _refuse("", "malformed-json")
    if end == 0 or ("\\u" in text and _UNFIT.search(_all_text(value))):
        _locate(text, declared)
    if text[end:].strip(" \t\r\n"):
        _refuse("", "malformed-json")


def split(body: bytes | msgspec.Raw, *, declared: frozenset[str] = _NO_NAMES) -> dict[str, msgspec.Raw]:
    """Return the members of the JSON object `body`, each as the bytes that were sent.

    Checks the whole as `check` does; raises Validation, `wrong-type` for what is no object.
    """
    check(bytes(body), declared=declared)
    try:
        return _RAW_FIELDS.decode(body)
    except msgspec.ValidationError:
        _refuse("", "wrong-type")
    except msgspec.DecodeError:
        _refuse("", "malformed-json")


def _refuse(path: str, code: str) -> NoReturn:
    message = "The body is not valid JSON" if code in ("malformed-json", "not-utf8") else None
    raise Validation(message, fields=(FieldProblem(path, code),)) from None


def _start(text: str) -> int:
    # A leading byte order mark is no JSON (RFC 8259, section 8.1); the scanner refuses it by itself.
    return len(text) - len(text.lstrip(" \t\r\n"))


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Refused
    return members


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS or not -LARGEST_INTEGER <= (number := int(digits)) <= LARGEST_INTEGER:
        raise _Refused
    return number


def _float(digits: str) -> float:
    if (number := float(digits)) in _INFINITE:
        raise _Refused
    return number


def _constant(_name: str) -> NoReturn:
    raise _Refused


_scan = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
).raw_decode


def _deep(body: bytes) -> bool:
    """Say whether `body` nests deeper than `DEEPEST`; each pass takes the innermost pairs of brackets away."""
    if body.count(b"[") + body.count(b"{") <= DEEPEST:
        return False
    brackets = _STRING.sub(b"", body).translate(None, _NOT_BRACKETS)
    for _ in range(DEEPEST):
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if not brackets:
            return False
    return True


def _all_text(value: object) -> str:
    """Return all keys and texts of `value`, joined; wanted only where there are escapes, which can hold the unfit."""
    found: list[str] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            found.append(one)
        elif isinstance(one, dict):
            found.extend(one)
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
    return " ".join(found)


class _Members(list[tuple[str, object]]):
    """The members of an object as written, the repeated ones too."""


class _Bad(str):
    """A number that is refused; its text is the code."""

    __slots__ = ()


def _judged_integer(digits: str) -> object:
    try:
        return _integer(digits)
    except _Refused:
        return _Bad("out-of-range")


def _judged_float(digits: str) -> object:
    return float(digits) if float(digits) not in _INFINITE else _Bad("not-finite")


_judge = json.JSONDecoder(
    object_pairs_hook=_Members,
    parse_int=_judged_integer,
    parse_float=_judged_float,
    parse_constant=lambda _name: _Bad("not-finite"),
).raw_decode


def _locate(text: str, declared: frozenset[str]) -> NoReturn:
    """Refuse `text`, which the fast reading did not like, with the first place and its code."""
    try:
        value, _ = _judge(text, _start(text))
    except RecursionError:
        _refuse("", "too-deep")
    except JSONDecodeError:
        _refuse("", "malformed-json")
    waiting: list[tuple[str, int, object]] = [("", 0, value)]
    while waiting:
        path, depth, one = waiting.pop()
        if isinstance(one, _Bad):
            _refuse(path, str(one))
        if isinstance(one, str):
            _refuse_unfit(path, one)
        elif isinstance(one, list):
            if depth == DEEPEST:
                _refuse("", "too-deep")
            waiting.extend((place, depth + 1, child) for place, child in reversed(_children(path, one, declared)))
    # Brackets that do not pair make the depth look wrong where nothing else is; such a text is no JSON.
    _refuse("", "malformed-json")


def _children(path: str, one: list[object], declared: frozenset[str]) -> list[tuple[str, object]]:
    if not isinstance(one, _Members):
        return [(f"{path}/{position}", child) for position, child in enumerate(one)]
    seen: set[str] = set()
    children = []
    for name, child in one:
        place = f"{path}/{name if name in declared else '*'}"
        if name in seen:
            _refuse(place, "duplicate-key")
        _refuse_unfit(place, name)
        seen.add(name)
        children.append((place, child))
    return children


def _refuse_unfit(path: str, text: str) -> None:
    if found := _UNFIT.search(text):
        _refuse(path, "nul" if found[0] == "\x00" else "lone-surrogate")
