"""Promise: what is stored has one reading; a refusal names the place and never what stood there."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellkeep.base import strict_json
from wellkeep.base.errors import Validation

CANARY = "canary4711"


def problem(body: bytes, **more: frozenset[str]) -> tuple[str, str]:
    with pytest.raises(Validation) as caught:
        strict_json.check(body, **more)
    assert CANARY not in f"{caught.value!r} {caught.value.fields!r} {caught.value.__context__!r}"
    (found,) = caught.value.fields
    return found.path, found.code


@pytest.mark.parametrize(
    ("body", "place", "code"),
    [
        (b"", "", "malformed-json"),
        (b"{", "", "malformed-json"),
        (b"{} {}", "", "malformed-json"),
        (b"\xef\xbb\xbf{}", "", "malformed-json"),
        (b"[1,]", "", "malformed-json"),
        (b"'a'", "", "malformed-json"),
        (b'"\x00"', "", "malformed-json"),
        (b'"\xff"', "", "not-utf8"),
        (b'"\xed\xa0\x80"', "", "not-utf8"),
        (b'{"a":1,"a":2}', "/a", "duplicate-key"),
        (b'{"canary4711":1,"canary4711":2}', "/*", "duplicate-key"),
        (b'{"a":[0,{"b":1,"\\u0062":2}]}', "/a/1/*", "duplicate-key"),
        (b"[NaN]", "/0", "not-finite"),
        (b"-Infinity", "", "not-finite"),
        (b'{"a":1e999}', "/a", "not-finite"),
        (b"9007199254740992", "", "out-of-range"),
        (b"-9007199254740992", "", "out-of-range"),
        (b"[" + b"9" * 5000 + b"]", "/0", "out-of-range"),
        (b'{"a":"canary4711\\u0000"}', "/a", "nul"),
        (b'{"a":"\\ud800canary4711"}', "/a", "lone-surrogate"),
        (b'{"\\udc00":1}', "/*", "lone-surrogate"),
        (b"[" * 65 + b"]" * 65, "", "too-deep"),
        (b'[ "]",' * 65 + b"1" + b"]" * 65, "", "too-deep"),
        (b"[" * 100_000, "", "too-deep"),
        (b"[" * 100_000 + b"]" * 100_000, "", "too-deep"),
    ],
)
def test_what_has_two_readings_is_refused_with_its_place(body: bytes, place: str, code: str) -> None:
    assert problem(body, declared=frozenset({"a"})) == (place, code)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b" [1, -0.0, 1.5e3, true, null] \r\n",
        b"9007199254740991",
        b'"\\ud83d\\ude00 \\\\u0000"',
        '"سلام e\u0301"'.encode(),
        b"[" * 64 + b"]" * 64,
        b"[" + b'["[[[["],' * 100 + b"1]",
        b'{"a":{"b":1},"c":{"b":1}}',
    ],
)
def test_what_has_one_reading_passes(body: bytes) -> None:
    strict_json.check(body)


def test_members_are_split_into_the_bytes_that_were_sent() -> None:
    members = strict_json.split(b'{"a": 1.10 , "b":{"x": [1 ,2]}}')
    assert {name: bytes(raw) for name, raw in members.items()} == {"a": b"1.10", "b": b'{"x": [1 ,2]}'}
    with pytest.raises(Validation):
        strict_json.split(b"[1]")


_texts = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
    max_leaves=20,
)


@given(_values, st.booleans())
def test_whatever_json_writes_is_accepted_and_read_alike(value: object, escaped: bool) -> None:  # noqa: FBT001
    body = json.dumps(value, ensure_ascii=escaped).encode()
    strict_json.check(body)
    assert msgspec.json.decode(body) == value


@given(st.binary(max_size=40))
def test_no_bytes_do_more_than_be_refused(body: bytes) -> None:
    try:
        strict_json.check(body)
    except Validation as refused:
        assert len(refused.fields) == 1  # noqa: PT017
    else:
        json.loads(body)
