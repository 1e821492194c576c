"""Promise: a value comes back byte for byte, or was refused by a code that does not tell it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.stack import field as declared
from wellkeep.base.errors import Internal
from wellkeep.crypto.padding import ValueType
from wellkeep.vault.declaration import numbered
from wellkeep.vault.definition import Field
from wellkeep.vault.values import Value, ValueRefused, decode, encode, kind_of

CANARY = "canary4711"


def field(kind: str, **more: object) -> Field:
    return numbered([declared("f", kind, **more)], first=7)[0]


@pytest.mark.parametrize(
    ("kind", "value", "code"),
    [
        ("string", 7, "wrong-type"),
        ("string", msgspec.Raw(b"7"), "wrong-type"),
        ("string", CANARY + "\x00", "nul"),
        ("string", CANARY + "\ud800", "lone-surrogate"),
        ("string", CANARY + "x" * 1024, "too-long"),
        ("text", msgspec.Raw(b'"a\\u0000"'), "nul"),
        ("integer", 2**53, "out-of-range"),
        ("integer", -(2**53), "out-of-range"),
        ("integer", True, "wrong-type"),
        ("integer", 1.0, "wrong-type"),
        ("integer", "1", "wrong-type"),
        ("integer", msgspec.Raw(b"1e3"), "wrong-type"),
        ("decimal", True, "wrong-type"),
        ("decimal", "1,5", "wrong-type"),
        ("decimal", "NaN", "wrong-type"),
        ("decimal", float("inf"), "wrong-type"),
        ("decimal", "0" * 2, "wrong-type"),
        ("decimal", "1" * 65, "too-long"),
        ("decimal", "\u0661", "wrong-type"),
        ("boolean", 1, "wrong-type"),
        ("boolean", "true", "wrong-type"),
        ("date", "2023-02-30", "malformed"),
        ("date", "2023-2-3", "malformed"),
        ("date", "0000-01-01", "malformed"),
        ("date", "2023-02-28T00:00:00Z", "malformed"),
        ("date", 20230228, "wrong-type"),
        ("datetime", "2023-02-28", "malformed"),
        ("datetime", "2023-02-28T24:00:00Z", "malformed"),
        ("datetime", "2023-02-28T12:00:00", "malformed"),
        ("datetime", "2023-02-28T12:00:00+25:00", "malformed"),
        ("datetime", "2023-02-30T12:00:00Z", "malformed"),
        ("json", {"a": 1}, "wrong-type"),
        ("json", msgspec.Raw(b'{"a":1,"a":2}'), "duplicate-key"),
        ("json", msgspec.Raw(b"[NaN]"), "not-finite"),
        ("json", msgspec.Raw(b'"\\ud800"'), "lone-surrogate"),
        ("json", msgspec.Raw(b'"' + b"x" * 2**20 + b'"'), "too-long"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_code(kind: str, value: Value, code: str) -> None:
    with pytest.raises(ValueRefused) as refused:
        encode(field(kind), value)
    assert refused.value.code == code
    assert CANARY not in repr(refused.value)


def test_an_enumeration_takes_its_members_alone() -> None:
    one = field("string", enum=("a", "b"))
    assert encode(one, "a") == b"a"
    with pytest.raises(ValueRefused):
        encode(one, "c")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("string", "e\u0301 \u202e\u0627\u0644 \U0001f600 \ufeff"),
        ("text", ""),
        ("integer", -(2**53) + 1),
        ("decimal", msgspec.Raw(b"1.10")),
        ("decimal", msgspec.Raw(b"-0.00e-10")),
        ("boolean", False),
        ("date", "2024-02-29"),
        ("datetime", "2023-02-28T23:59:59.123456789-05:30"),
        ("json", msgspec.Raw(b'{ "b":1.10 , "a" : ["\\u00e9", null]}')),
    ],
)
def test_what_fits_comes_back_byte_for_byte(kind: str, value: Value) -> None:
    one = field(kind)
    assert decode(kind_of(one), encode(one, value)) == value


@given(st.text(max_size=200))
def test_any_text_comes_back_or_is_refused(value: str) -> None:
    one = field("string")
    try:
        payload = encode(one, value)
    except ValueRefused as refused:
        assert refused.code in {"nul", "lone-surrogate"}  # noqa: PT017
        return
    assert decode(kind_of(one), payload) == value
    assert encode(one, msgspec.Raw(msgspec.json.encode(value))) == payload


@given(st.integers())
def test_an_integer_is_exact_or_refused(value: int) -> None:
    one = field("integer")
    try:
        assert decode(kind_of(one), encode(one, value)) == value
    except ValueRefused:
        assert abs(value) > 2**53 - 1


def test_a_type_that_no_field_has_is_a_fault_of_ours() -> None:
    with pytest.raises(Internal):
        decode(ValueType.BYTES, b"")
