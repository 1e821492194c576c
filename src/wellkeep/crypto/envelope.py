"""The field envelope of format wk1: one sealed value, bound to its place.

    "WK" | suite 1 | flags 1 | kid 16 | nonce 12 (suite 2: 24) | ciphertext | tag 16
    AAD = the first 20 bytes | tenant 16 | collection u32 | field u32 | record 16

Rules: nonces come from `os.urandom`, one call a record, and never from a buffer that outlives the call (a fork would
use it twice). The first 20 bytes of every envelope are compared with the key's own, which checks version, suite, flags
and kid at once. Every failure raises; no path returns a ciphertext, or anything unauthenticated, as a value.
Threats: a ciphertext moved to another field, record, collection or tenant; one changed, cut or sealed under another
key; a header rewritten to an older suite.

The record functions work in phases (all AADs, all AES calls, all frames): measured 10 % faster than field by field,
because the interpreter's code and OpenSSL's then do not evict each other from the instruction cache.
"""

import hashlib
from collections.abc import Iterable, Sequence
from itertools import repeat
from os import urandom
from struct import Struct, unpack
from struct import error as StructError  # noqa: N812 - it is the class `struct.error`

from cryptography.exceptions import InvalidTag

from wellkeep.crypto.errors import CryptoError, Malformed, SealBroken, WrongKey
from wellkeep.crypto.keys import HEADER_SIZE, PADDED, SealingKey
from wellkeep.crypto.padding import KNOWN_TYPES, MARKER, PADDINGS, PADDINGS_ENUMERATED, TYPE_BYTE

FieldIn = tuple[int, int, bytes, bool]
"""(field id, type, payload, enumerated): what is sealed."""
FieldSealed = tuple[int, bytes]
"""(field id, envelope): what is stored."""
Opened = tuple[int, bytes]
"""(type, payload): what comes out."""

_KID_AT = 4
_TAG_SIZE = 16
_ID_SIZE = 16
_NONCE_SIZES = {1: 12, 2: 24}

_aad = Struct(">20s16sII16s").pack
"""The associated data: header, tenant, collection, field, record."""
_digest_prefix = Struct(">II").pack


def seal_record(
    key: SealingKey, *, tenant: bytes, collection: int, record: bytes, items: Sequence[FieldIn]
) -> list[bytes]:
    """Seal the fields of one record and return their envelopes in the same order.

    `tenant` and `record` are 16-byte UUIDs, `collection` and the field ids u32. Raises `Malformed` for anything else
    and for an unknown type.
    """
    size = key.nonce_size
    nonces = unpack(f"{size}s" * len(items), urandom(size * len(items)))
    return _seal_with_unsafe_nonces(
        key, tenant=tenant, collection=collection, record=record, items=items, nonces=nonces
    )


def _seal_with_unsafe_nonces(
    key: SealingKey,
    *,
    tenant: bytes,
    collection: int,
    record: bytes,
    items: Sequence[FieldIn],
    nonces: Sequence[bytes],
) -> list[bytes]:
    """Seal with the caller's nonces: unsafe, because a repeated nonce gives the key away; for test vectors alone."""
    _check_ids(tenant, record)
    header = key.header
    aads = []
    plaintexts = []
    try:
        for field, kind, payload, enumerated in items:
            aads.append(_aad(header, tenant, collection, field, record))
            paddings = PADDINGS_ENUMERATED if enumerated else PADDINGS
            plaintexts.append(TYPE_BYTE[kind] + payload + paddings[len(payload)])
    except (StructError, KeyError):
        raise Malformed("ids are unsigned 32-bit numbers and types are those of wk1") from None
    ciphertexts = list(map(key.encrypt, nonces, plaintexts, aads))
    return list(map(b"".join, zip(repeat(header), nonces, ciphertexts, strict=False)))


def seal_one(key: SealingKey, item: FieldIn, *, tenant: bytes, collection: int, record: bytes) -> bytes:
    """Seal one field; as `seal_record` with one item, without a list's cost."""
    if len(tenant) != _ID_SIZE or len(record) != _ID_SIZE:
        raise Malformed("tenant and record are 16-byte ids")
    field, kind, payload, enumerated = item
    header = key.header
    try:
        aad = _aad(header, tenant, collection, field, record)
        paddings = PADDINGS_ENUMERATED if enumerated else PADDINGS
        plaintext = TYPE_BYTE[kind] + payload + paddings[len(payload)]
    except (StructError, KeyError):
        raise Malformed("ids are unsigned 32-bit numbers and types are those of wk1") from None
    nonce = urandom(key.nonce_size)
    return header + nonce + key.encrypt(nonce, plaintext, aad)


def open_record(
    key: SealingKey, *, tenant: bytes, collection: int, record: bytes, items: Iterable[FieldSealed]
) -> list[Opened]:
    """Open the fields of one record and return (type, payload) in the same order; all of them or none.

    Raises `WrongKey` where an envelope names another key, `Malformed` for bytes that are no wk1 envelope of this suite,
    `SealBroken` where authentication fails: changed, cut, or sealed for another place.
    """
    _check_ids(tenant, record)
    header = key.header
    body_at = key.body_at
    aads = []
    nonces = []
    ciphertexts = []
    try:
        for field, envelope in items:
            if envelope[:20] != header:
                raise _foreign(key, envelope)
            aads.append(_aad(header, tenant, collection, field, record))
            nonces.append(envelope[20:body_at])
            ciphertexts.append(envelope[body_at:])
        plaintexts = list(map(key.decrypt, nonces, ciphertexts, aads))
    except (InvalidTag, StructError, ValueError) as failure:
        raise _refusal(failure) from None
    opened = []
    for plaintext in plaintexts:
        body = plaintext.rstrip(b"\x00")
        kind = body[0] if body else 0
        if kind not in KNOWN_TYPES or body[-1] != MARKER:
            raise SealBroken("authentic, but made by no writer of wk1")
        opened.append((kind, body[1:-1]))
    return opened


def open_one(key: SealingKey, item: FieldSealed, *, tenant: bytes, collection: int, record: bytes) -> Opened:
    """Open one field; as `open_record` with one item, without a list's cost."""
    if len(tenant) != _ID_SIZE or len(record) != _ID_SIZE:
        raise Malformed("tenant and record are 16-byte ids")
    field, envelope = item
    header = key.header
    if envelope[:20] != header:
        raise _foreign(key, envelope)
    body_at = key.body_at
    try:
        body = key.decrypt(
            envelope[20:body_at], envelope[body_at:], _aad(header, tenant, collection, field, record)
        ).rstrip(b"\x00")
    except (InvalidTag, StructError, ValueError) as failure:
        raise _refusal(failure) from None
    kind = body[0] if body else 0
    if kind not in KNOWN_TYPES or body[-1] != MARKER:
        raise SealBroken("authentic, but made by no writer of wk1")
    return kind, body[1:-1]


def _refusal(failure: Exception) -> CryptoError:
    """Name what the primitives refused, without their words."""
    if isinstance(failure, InvalidTag):
        return SealBroken("authentication failed: altered, cut, or sealed for another place")
    return Malformed("an envelope that was cut, or an id that is no unsigned 32-bit number")


def _check_ids(tenant: bytes, record: bytes) -> None:
    if len(tenant) != _ID_SIZE or len(record) != _ID_SIZE:
        raise Malformed("tenant and record are 16-byte ids")


def envelope_suite(envelope: bytes) -> int:
    """Return the suite (1 or 2) an envelope names, unauthenticated; raises `Malformed` for what is no wk1 envelope."""
    if envelope[:2] != b"WK" or len(envelope) < HEADER_SIZE:
        raise Malformed("not a wk1 envelope")
    suite = envelope[2]
    if suite not in _NONCE_SIZES:
        raise Malformed("a suite this version does not know")
    if envelope[3] != PADDED:
        raise Malformed("flags this version does not know")
    if len(envelope) < HEADER_SIZE + _NONCE_SIZES[suite] + _TAG_SIZE:
        raise Malformed("an envelope that was cut")
    return suite


def envelope_kid(envelope: bytes) -> bytes:
    """Return the 16-byte kid an envelope names, unauthenticated: good for finding the key, for nothing else."""
    envelope_suite(envelope)
    return envelope[_KID_AT:HEADER_SIZE]


def _foreign(key: SealingKey, envelope: bytes) -> CryptoError:
    """Say why an envelope's first 20 bytes are not this key's."""
    try:
        kid = envelope_kid(envelope)
    except Malformed as refusal:
        return refusal
    if kid != key.header[_KID_AT:]:
        return WrongKey("sealed under another key")
    return Malformed("sealed with another suite than the key's")


def digest(record: bytes, items: Iterable[FieldSealed]) -> bytes:
    """Return the 32-byte digest of one revision's ciphertexts, as the ledger keeps it.

    SHA-256("wk1/digest" ‖ record 16 ‖ count u32 ‖ for each field in ascending id: id u32 ‖ length u32 ‖ envelope).
    Raises `Malformed` for a field named twice. Threat: an older ciphertext put back, which opens but is not the newest.
    """
    if len(record) != _ID_SIZE:
        raise Malformed("a record id has 16 bytes")
    ordered = sorted(items)
    if len({field for field, _ in ordered}) != len(ordered):
        raise Malformed("a field stands in a revision once")
    parts = [b"wk1/digest", record, len(ordered).to_bytes(4, "big")]
    try:
        for field, envelope in ordered:
            parts += (_digest_prefix(field, len(envelope)), envelope)
    except StructError:
        raise Malformed("ids are unsigned 32-bit numbers") from None
    return hashlib.sha256(b"".join(parts)).digest()
