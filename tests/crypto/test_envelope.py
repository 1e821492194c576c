"""A sealed field opens in its place and nowhere else; whatever was touched is refused."""

from __future__ import annotations

import os
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto import spec_reader
from wellkeep.crypto import envelope, padding
from wellkeep.crypto.errors import CryptoError, Malformed, SealBroken, WrongKey
from wellkeep.crypto.keys import DataKey, SubjectKey

SECRET = bytes(range(32))
KEYS: list[SubjectKey | DataKey] = [SubjectKey(SECRET), DataKey(SECRET)]
TENANT = b"T" * 16
RECORD = b"R" * 16
PLACE: dict[str, Any] = {"tenant": TENANT, "collection": 7, "record": RECORD}

u32 = st.integers(0, 2**32 - 1)
ids = st.binary(min_size=16, max_size=16)
fields = st.tuples(u32, st.sampled_from(sorted(padding.KNOWN_TYPES)), st.binary(max_size=2000), st.booleans())
both_suites = pytest.mark.parametrize("key", KEYS, ids=["suite1", "suite2"])


def seal(key: SubjectKey | DataKey, payload: bytes = b"1985-04-12") -> bytes:
    return envelope.seal_one(key, (3, 6, payload, False), **PLACE)


@given(st.sampled_from(KEYS), ids, u32, ids, st.lists(fields, max_size=8))
def test_what_goes_in_comes_out(
    key: SubjectKey | DataKey, tenant: bytes, collection: int, record: bytes, items: list[envelope.FieldIn]
) -> None:
    place: dict[str, Any] = {"tenant": tenant, "collection": collection, "record": record}
    sealed = envelope.seal_record(key, items=items, **place)
    stored = [(item[0], data) for item, data in zip(items, sealed, strict=True)]
    expected = [(item[1], item[2]) for item in items]
    assert envelope.open_record(key, items=stored, **place) == expected
    assert [envelope.open_one(key, one, **place) for one in stored] == expected
    single = [(item[0], envelope.seal_one(key, item, **place)) for item in items]
    assert envelope.open_record(key, items=single, **place) == expected
    assert [spec_reader.open_envelope(SECRET, data, field=field, **place) for field, data in single] == expected


@both_suites
def test_no_two_seals_share_a_nonce(key: SubjectKey | DataKey) -> None:
    sealed = envelope.seal_record(key, items=[(n, 1, b"same", False) for n in range(500)], **PLACE)
    sealed += [envelope.seal_one(key, (1, 1, b"same", False), **PLACE) for _ in range(500)]
    assert len({data[20 : key.body_at] for data in sealed}) == 1000


@both_suites
@pytest.mark.parametrize(
    "moved",
    [{"tenant": b"t" * 16}, {"collection": 8}, {"record": b"r" * 16}, {"field": 4}],
    ids=["tenant", "collection", "record", "field"],
)
def test_a_moved_ciphertext_is_refused(key: SubjectKey | DataKey, moved: dict[str, Any]) -> None:
    place = PLACE | moved
    field = place.pop("field", 3)
    with pytest.raises(SealBroken):
        envelope.open_one(key, (field, seal(key)), **place)
    with pytest.raises(SealBroken):
        envelope.open_record(key, items=[(field, seal(key))], **place)


@both_suites
def test_two_fields_swapped_are_refused(key: SubjectKey | DataKey) -> None:
    one, two = envelope.seal_record(key, items=[(1, 1, b"a", False), (2, 1, b"b", False)], **PLACE)
    with pytest.raises(SealBroken):
        envelope.open_record(key, items=[(1, two), (2, one)], **PLACE)


@both_suites
def test_every_flipped_bit_is_refused(key: SubjectKey | DataKey) -> None:
    sealed = seal(key)
    for position in range(len(sealed) * 8):
        touched = bytearray(sealed)
        touched[position // 8] ^= 1 << position % 8
        with pytest.raises(CryptoError):
            envelope.open_one(key, (3, bytes(touched)), **PLACE)
        with pytest.raises(CryptoError):
            envelope.open_record(key, items=[(3, bytes(touched))], **PLACE)


@both_suites
def test_every_truncation_and_every_addition_is_refused(key: SubjectKey | DataKey) -> None:
    sealed = seal(key)
    for wrong in [sealed[:length] for length in range(len(sealed))] + [sealed + b"\x00", sealed + sealed]:
        with pytest.raises(CryptoError):
            envelope.open_one(key, (3, wrong), **PLACE)
        with pytest.raises(CryptoError):
            envelope.open_record(key, items=[(3, wrong)], **PLACE)


def test_another_key_is_named_as_such() -> None:
    other = SubjectKey(b"x" * 32)
    with pytest.raises(WrongKey):
        envelope.open_one(other, (3, seal(KEYS[0])), **PLACE)
    with pytest.raises(WrongKey):
        envelope.open_record(other, items=[(3, seal(KEYS[0]))], **PLACE)


def test_the_suite_cannot_be_changed() -> None:
    """The same secret in both suites: the header names one, and the other refuses."""
    for key, other in [KEYS, KEYS[::-1]]:
        with pytest.raises(Malformed):
            envelope.open_one(other, (3, seal(key)), **PLACE)


@pytest.mark.parametrize(
    "wrong",
    [b"", b"WK", b"WL" + bytes(80), b"WK\x03\x01" + bytes(80), b"WK\x01\x00" + bytes(80), b"WK\x01\x03" + bytes(80),
     b"WK\x01\x01" + bytes(43), b"WK\x02\x01" + bytes(55), b"a patient's name in the clear"],
)  # fmt: skip
def test_what_is_no_envelope_is_malformed(wrong: bytes) -> None:
    """A plaintext left in the column is refused, never taken for a value."""
    for function in (envelope.envelope_suite, envelope.envelope_kid):
        with pytest.raises(Malformed):
            function(wrong)
    with pytest.raises(Malformed):
        envelope.open_one(KEYS[0], (3, wrong), **PLACE)


@both_suites
@pytest.mark.parametrize(
    "plaintext",
    [
        b"",
        b"\x00" * 16,
        b"\x01" + bytes(15),
        b"\x01value" + bytes(10),
        b"\x80",
        b"\x00value\x80",
        b"\x0avalue\x80",
        b"\x01value\x80\x01",
    ],
)
def test_authentic_but_not_wk1_is_refused(key: SubjectKey | DataKey, plaintext: bytes) -> None:
    nonce = os.urandom(key.nonce_size)
    aad = struct.pack(">20s16sII16s", key.header, TENANT, 7, 3, RECORD)
    forged = key.header + nonce + key.encrypt(nonce, plaintext, aad)
    with pytest.raises(SealBroken):
        envelope.open_one(key, (3, forged), **PLACE)
    with pytest.raises(SealBroken):
        envelope.open_record(key, items=[(3, forged)], **PLACE)


@both_suites
@pytest.mark.parametrize(
    "wrong", [{"tenant": b"short"}, {"record": b"R" * 17}, {"collection": 2**32}, {"collection": -1}]
)
def test_ids_of_the_wrong_width_are_refused(key: SubjectKey | DataKey, wrong: dict[str, Any]) -> None:
    """Struct would pad and cut silently: two records could then share one AAD."""
    place = PLACE | wrong
    item = (3, 1, b"v", False)
    stored = (3, seal(key))
    with pytest.raises(Malformed):
        envelope.seal_one(key, item, **place)
    with pytest.raises(Malformed):
        envelope.seal_record(key, items=[item], **place)
    with pytest.raises(Malformed):
        envelope.open_one(key, stored, **place)
    with pytest.raises(Malformed):
        envelope.open_record(key, items=[stored], **place)


@pytest.mark.parametrize("item", [(3, 0, b"", False), (3, 10, b"", False), (2**32, 1, b"", False), (-1, 1, b"", False)])
def test_unknown_types_and_wide_field_ids_are_refused(item: envelope.FieldIn) -> None:
    with pytest.raises(Malformed):
        envelope.seal_one(KEYS[0], item, **PLACE)
    with pytest.raises(Malformed):
        envelope.seal_record(KEYS[0], items=[item], **PLACE)


def test_the_digest_binds_every_part() -> None:
    items = [(1, b"aa"), (2, b"b")]
    reference = envelope.digest(RECORD, items)
    others = [[(1, b"a"), (2, b"ab")], [(1, b"aa")], [(2, b"aa"), (1, b"b")], [(1, b"aa"), (3, b"b")], []]
    assert (
        len({reference, envelope.digest(b"r" * 16, items), *(envelope.digest(RECORD, other) for other in others)}) == 7
    )
    with pytest.raises(Malformed):
        envelope.digest(RECORD, [(1, b"a"), (1, b"b")])
    with pytest.raises(Malformed):
        envelope.digest(RECORD, [(2**32, b"a")])
    with pytest.raises(Malformed):
        envelope.digest(b"short", items)


@pytest.mark.parametrize(
    ("size", "expected"),
    [(2, 16), (16, 16), (17, 32), (33, 48), (49, 64), (65, 96), (97, 128), (128, 128), (129, 144), (256, 256),
     (257, 288), (1000, 1024), (1025, 1152), (5002, 5120)],
)  # fmt: skip
def test_buckets(size: int, expected: int) -> None:
    assert padding.bucket(size) == expected


@given(st.integers(0, 200_000), st.booleans())
def test_padding_costs_at_most_an_eighth_and_hides_the_length(length: int, enumerated: bool) -> None:  # noqa: FBT001
    padded = 1 + length + len(padding.padding(length, enumerated=enumerated))
    assert padded >= (32 if enumerated else 16)
    assert padded <= max((length + 2) * 9 / 8 + 1, 32, (length + 2) + 31)
    table = padding.PADDINGS_ENUMERATED if enumerated else padding.PADDINGS
    assert table[length] == padding.padding(length, enumerated=enumerated)


def test_the_members_of_an_enumeration_look_alike() -> None:
    sizes = {len(envelope.seal_one(KEYS[0], (1, 1, word, True), **PLACE)) for word in (b"m", b"female", b"x" * 30)}
    assert len(sizes) == 1


@both_suites
def test_an_error_carries_no_value(key: SubjectKey | DataKey) -> None:
    canary = b"canary-ssn-999-12-3456"
    with pytest.raises(CryptoError) as caught:
        envelope.open_one(key, (4, seal(key, canary)), **PLACE)
    assert "canary" not in repr(caught.value)
    assert caught.value.__suppress_context__
    assert caught.value.code == "seal-broken"
