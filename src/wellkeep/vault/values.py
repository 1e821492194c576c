"""From values to payload bytes and back: one encoding a type, byte for byte what was sent.

| type | payload |
|---|---|
| string, text | UTF-8 as sent: no normalisation, so combining and right-to-left characters come back as they went in |
| integer | ASCII digits, within ±(2^53 - 1) |
| decimal | the ASCII number as sent: `1.10` stays `1.10` |
| boolean | `1` or `0` |
| date, datetime | ISO 8601 / RFC 3339 as sent, a day that exists |
| json | the bytes as sent |

A value may come as the bytes of its JSON token (`msgspec.Raw`) or as a Python value. Refusals are codes, never values.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal

import msgspec

from wellkeep.base import strict_json
from wellkeep.base.errors import Internal, Validation
from wellkeep.crypto.padding import ValueType
from wellkeep.vault.definition import VALUE_TYPES, Field

Value = str | int | float | bool | Decimal | msgspec.Raw | None
"""What a caller hands in, and what it gets back: `Raw` for json and decimal, which keep their bytes."""

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
_LONGEST_NUMBER = 64
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_DATETIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)
_decode_text = msgspec.json.Decoder(str).decode
_decode_any = msgspec.json.Decoder().decode
_LITERALS = {b"true": b"1", b"false": b"0"}


class ValueRefused(Exception):
    """A value does not fit its field; `code` says how, `field` names the field where the caller can't know it."""

    def __init__(self, code: str, *, field: str = "*") -> None:
        """Hold wrong-type, malformed, too-long, out-of-range, not-allowed, nul, lone-surrogate or not-indexable."""
        super().__init__(code)
        self.code = code
        self.field = field


def encode(field: Field, value: Value) -> bytes:
    """Return the payload of `value` in `field`; raises ValueRefused with a code."""
    return _ENCODERS[field.type](field, value)


def _string(field: Field, value: Value) -> bytes:
    if type(value) is msgspec.Raw:
        try:
            text = _decode_text(value)
        except msgspec.DecodeError:
            raise ValueRefused("wrong-type") from None
    elif isinstance(value, str):
        text = value
    else:
        raise ValueRefused("wrong-type")
    if len(text) > field.max_length:
        raise ValueRefused("too-long")
    if "\x00" in text:
        raise ValueRefused("nul")
    if field.enum is not None and text not in field.enum:
        raise ValueRefused("not-allowed")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueRefused("lone-surrogate") from None


def _plain(value: Value) -> object:
    """Return `value`, a token decoded."""
    if type(value) is not msgspec.Raw:
        return value
    try:
        return _decode_any(value)
    except msgspec.DecodeError:
        raise ValueRefused("malformed") from None


def _integer(_field: Field, value: Value) -> bytes:
    number = _plain(value)
    if type(number) is not int:
        raise ValueRefused("wrong-type")
    if not -strict_json.LARGEST_INTEGER <= number <= strict_json.LARGEST_INTEGER:
        raise ValueRefused("out-of-range")
    return b"%d" % number


def _decimal(_field: Field, value: Value) -> bytes:
    if type(value) is msgspec.Raw:
        text = bytes(value).decode().strip()
        if text.startswith('"'):
            text = str(_plain(value))
    elif isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueRefused("wrong-type")
    else:
        text = repr(value) if isinstance(value, float) else str(value)
    if len(text) > _LONGEST_NUMBER:
        raise ValueRefused("too-long")
    if _NUMBER.fullmatch(text) is None:
        raise ValueRefused("wrong-type")
    return text.encode()


def _boolean(_field: Field, value: Value) -> bytes:
    truth = _plain(value)
    if not isinstance(truth, bool):
        raise ValueRefused("wrong-type")
    return b"1" if truth else b"0"


def _text_of(value: Value) -> str:
    text = _plain(value)
    if not isinstance(text, str):
        raise ValueRefused("wrong-type")
    return text


def _date(_field: Field, value: Value) -> bytes:
    text = _text_of(value)
    if _DATE.fullmatch(text) is None:
        raise ValueRefused("malformed")
    try:
        date.fromisoformat(text)
    except ValueError:
        raise ValueRefused("malformed") from None
    return text.encode()


def _datetime(_field: Field, value: Value) -> bytes:
    text = _text_of(value)
    parts = _DATETIME.fullmatch(text)
    if parts is None:
        raise ValueRefused("malformed")
    try:
        datetime.fromisoformat(parts[1] + ("+00:00" if parts[2] == "Z" else parts[2]))
    except ValueError:
        raise ValueRefused("malformed") from None
    return text.encode()


def _json(field: Field, value: Value) -> bytes:
    if type(value) is not msgspec.Raw:
        raise ValueRefused("wrong-type")
    payload = bytes(value)
    if len(payload) > field.max_length:
        raise ValueRefused("too-long")
    try:
        strict_json.check(payload)
    except Validation as refused:
        raise ValueRefused(refused.fields[0].code) from None
    return payload


_ENCODERS: dict[str, Callable[[Field, Value], bytes]] = {
    "string": _string,
    "text": _string,
    "integer": _integer,
    "decimal": _decimal,
    "boolean": _boolean,
    "date": _date,
    "datetime": _datetime,
    "json": _json,
}


def _raw(payload: bytes) -> Value:
    return msgspec.Raw(payload)


def _text(payload: bytes) -> Value:
    return payload.decode()


_DECODERS: dict[int, Callable[[bytes], Value]] = {
    ValueType.STRING: _text,
    ValueType.TEXT: _text,
    ValueType.INTEGER: int,
    ValueType.DECIMAL: _raw,
    ValueType.BOOLEAN: lambda payload: payload == b"1",
    ValueType.DATE: _text,
    ValueType.DATETIME: _text,
    ValueType.JSON: _raw,
}


def decode(kind: int, payload: bytes) -> Value:
    """Return the value of an opened `payload` of the type byte `kind`; raises Internal for a type no field has."""
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise Internal("A stored value has a type that no field can have")
    return decoder(payload)


def kind_of(field: Field) -> int:
    """Return the type byte of `field`'s values."""
    return VALUE_TYPES[field.type]
