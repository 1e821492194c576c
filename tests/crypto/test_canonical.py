"""One value, one encoding: what has two is refused."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellkeep.crypto import canonical
from wellkeep.crypto.errors import NotCanonical

keys = st.text(st.characters(max_codepoint=127), max_size=8)
scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20)
documents = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4))


def jcs(value: Any) -> bytes:
    """Write RFC 8785 for this subset with the standard library: the same escapes, keys sorted, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@given(documents)
def test_encoding_is_jcs_and_decodes_to_itself(value: Any) -> None:
    encoded = canonical.encode(value)
    assert encoded == jcs(value)
    assert canonical.decode(encoded) == value


@pytest.mark.parametrize(
    "value",
    [1.0, float("nan"), 2**53, -(2**53), {"é": 1}, {1: 2}, {"a": [{"b": 0.5}]}, "\ud800", (1,), b"x", {1}, UUID(int=0)],
)
def test_what_lies_outside_the_subset_is_refused(value: Any) -> None:
    with pytest.raises(NotCanonical):
        canonical.encode(value)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b' {"a":1}', b'{"a": 1}', b'{"b":1,"a":2}', b'{"a":1,"a":1}', b"1.0", b"1e3", b"-0", b'"\\u0041"',
     b'"\\/"', b'{"a":1}\n', b'"\xff"', b"9007199254740992", b"NaN", '{"é":1}'.encode()],
)  # fmt: skip
def test_other_encodings_are_refused(data: bytes) -> None:
    with pytest.raises(NotCanonical):
        canonical.decode(data)


def test_deep_nesting_is_refused_and_exhausts_nothing() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(NotCanonical):
        canonical.encode(value)
