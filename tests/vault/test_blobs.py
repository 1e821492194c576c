"""Parts of a blob: whole, in their place, or refused."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wellkeep.base.errors import IntegrityBroken, TooLarge, Validation
from wellkeep.base.ids import uuid7
from wellkeep.crypto.stream import SEGMENT_SIZE, StreamKey
from wellkeep.keys.streams import StreamReader, StreamWriter
from wellkeep.vault.blobs import MAX_PART, PartReader, PartWriter

KEY = StreamKey(os.urandom(32))
WRITER = PartWriter(StreamWriter(KEY, context=b"blob"))
READER = PartReader(StreamReader(KEY, context=b"blob"), blob=uuid7())


@settings(max_examples=30, deadline=None)
@given(
    st.integers(min_value=0, max_value=99_999),
    st.sampled_from([1, 17, SEGMENT_SIZE - 1, SEGMENT_SIZE, SEGMENT_SIZE + 1, 3 * SEGMENT_SIZE]),
)
def test_what_was_sealed_opens_in_its_place_alone(n: int, size: int) -> None:
    data = os.urandom(size)
    part = WRITER.seal(n, data)
    assert data not in part.data or size == 1
    assert READER.open(n, part.data) == data
    with pytest.raises(IntegrityBroken):
        READER.open(n + 1, part.data)
    with pytest.raises(IntegrityBroken):
        READER.open(n, part.data[:-1])
    other = PartReader(StreamReader(KEY, context=b"another blob"), blob=uuid7())
    with pytest.raises(IntegrityBroken):
        other.open(n, part.data)


def test_a_part_cut_at_a_segment_is_refused() -> None:
    part = WRITER.seal(0, os.urandom(3 * SEGMENT_SIZE))
    for segments in (0, 1, 2):
        with pytest.raises(IntegrityBroken):
            READER.open(0, part.data[: 27 + segments * (SEGMENT_SIZE + 16)])


def test_bounds() -> None:
    assert READER.open(3, WRITER.seal(3, b"x" * MAX_PART).data) == b"x" * MAX_PART
    with pytest.raises(TooLarge):
        WRITER.seal(0, b"x" * (MAX_PART + 1))
    with pytest.raises(Validation):
        WRITER.seal(0, b"")
