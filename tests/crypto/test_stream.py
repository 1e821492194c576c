"""A stream opens whole or not at all: no cut, swap, repeat, addition or other owner."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wellkeep.crypto import stream
from wellkeep.crypto.errors import BadStream, CryptoError, Malformed, WrongKey

KEY = stream.StreamKey(bytes(range(32)))
CONTEXT = b"tenant|file"
SEGMENT, SEALED = stream.SEGMENT_SIZE, stream.SEALED_SEGMENT_SIZE


def seal(data: bytes, piece: int = 1 << 20) -> tuple[bytes, bytes]:
    sealer = stream.StreamSealer(KEY, context=CONTEXT)
    pieces = [sealer.update(data[at : at + piece]) for at in range(0, len(data), piece)]
    return sealer.header, b"".join([*pieces, sealer.finalise()])


def unseal(header: bytes, sealed: bytes, *, context: bytes = CONTEXT, piece: int = 1 << 20) -> bytes:
    opener = stream.StreamOpener(KEY, header=header, context=context)
    pieces = [opener.update(sealed[at : at + piece]) for at in range(0, len(sealed), piece)]
    return b"".join([*pieces, opener.finalise()])


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 3).flatmap(lambda n: st.integers(max(0, n * SEGMENT - 2), n * SEGMENT + 2)),
    st.integers(1000, 200_000),
    st.integers(1000, 200_000),
)
def test_what_goes_in_comes_out(size: int, piece_in: int, piece_out: int) -> None:
    data = bytes(SEGMENT) + b"x" * (size - SEGMENT) if size > SEGMENT else b"y" * size
    header, sealed = seal(data, piece_in)
    assert unseal(header, sealed, piece=piece_out) == data
    assert len(sealed) == size + 16 * max(1, -(-size // SEGMENT))


def test_tampering_with_segments_is_refused() -> None:
    header, sealed = seal(bytes(3 * SEGMENT + 5))
    one, two, three, last = (sealed[at : at + SEALED] for at in range(0, len(sealed), SEALED))
    wrong = {
        "last dropped": one + two + three,
        "middle dropped": one + three + last,
        "swapped": two + one + three + last,
        "repeated": one + one + two + three + last,
        "continued": sealed + last,
        "one byte more": sealed + b"\x00",
        "one byte less": sealed[:-1],
        "cut inside": sealed[: SEALED + 100],
        "nothing": b"",
        "last alone": last,
    }
    for data in wrong.values():
        with pytest.raises(BadStream):
            unseal(header, data)


def test_every_cut_of_a_short_stream_is_refused() -> None:
    header, sealed = seal(b"short")
    for length in range(len(sealed)):
        with pytest.raises(BadStream):
            unseal(header, sealed[:length])


def test_every_flipped_bit_is_refused() -> None:
    header, sealed = seal(b"short")
    whole = header + sealed
    for position in range(len(whole) * 8):
        touched = bytearray(whole)
        touched[position // 8] ^= 1 << position % 8
        with pytest.raises(CryptoError):
            unseal(bytes(touched[: stream.HEADER_SIZE]), bytes(touched[stream.HEADER_SIZE :]))


def test_another_context_key_or_stream_is_refused() -> None:
    header, sealed = seal(b"data")
    with pytest.raises(BadStream):
        unseal(header, sealed, context=b"tenant|other")
    with pytest.raises(BadStream):
        unseal(KEY.new_header(), sealed)
    with pytest.raises(WrongKey):
        stream.StreamOpener(stream.StreamKey(b"x" * 32), header=header, context=CONTEXT)
    with pytest.raises(WrongKey):
        stream.StreamSealer(stream.StreamKey(b"x" * 32), header=header, context=CONTEXT)
    for wrong in (b"", header[:-1], header + b"\x00", b"WK" + header[2:]):
        with pytest.raises(Malformed):
            stream.StreamOpener(KEY, header=wrong, context=CONTEXT)


def test_a_finished_stream_takes_nothing_more() -> None:
    sealer = stream.StreamSealer(KEY, context=CONTEXT)
    sealed = sealer.finalise()
    opener = stream.StreamOpener(KEY, header=sealer.header, context=CONTEXT)
    opener.update(sealed)
    assert opener.finalise() == b""
    for finished in (sealer, opener):
        with pytest.raises(BadStream):
            finished.update(b"more")
        with pytest.raises(BadStream):
            finished.finalise()


def test_a_writer_and_a_reader_resume_at_a_segment() -> None:
    data = bytes(2 * SEGMENT) + b"end"
    header, sealed = seal(data)
    resumed = stream.StreamSealer(KEY, context=CONTEXT, header=header, first=1)
    assert resumed.update(data[SEGMENT:]) + resumed.finalise() == sealed[SEALED:]
    opener = stream.StreamOpener(KEY, header=header, context=CONTEXT, first=1)
    assert opener.update(sealed[SEALED:]) + opener.finalise() == data[SEGMENT:]
    assert KEY.open_segment(2, sealed[2 * SEALED :], header=header, context=CONTEXT, last=True) == b"end"


@pytest.mark.parametrize(
    ("index", "size", "last"),
    [(0, 10, False), (0, SEGMENT + 1, True), (0, SEGMENT + 1, False), (1, 0, True), (-1, 1, True), (2**32, 1, True)],
)
def test_segments_that_break_the_rules_are_not_made_and_not_opened(index: int, size: int, last: bool) -> None:  # noqa: FBT001
    header = KEY.new_header()
    with pytest.raises(Malformed):
        KEY.seal_segment(index, bytes(size), header=header, context=CONTEXT, last=last)
    with pytest.raises(BadStream):
        KEY.open_segment(index, bytes(size + 16), header=header, context=CONTEXT, last=last)
