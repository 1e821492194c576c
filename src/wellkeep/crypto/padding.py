"""Padding of a field to a bucket, so that a ciphertext's length says little about its value.

Plaintext = type(1) | payload | 0x80 | 0x00… up to the bucket (ISO/IEC 7816-4). Buckets: 16, 32, 48, 64, 96, 128, then
the next multiple of an eighth of the power of two below. Enumerated fields take at least 32 bytes, so that the members
of an enumeration look alike. Threat: reading a value off its length ("male" or "female").
"""

from enum import IntEnum

_SMALL_BUCKETS = (16, 32, 48, 64, 96, 128)
_ENUMERATED_BUCKET = 32
_TABLE = 1024


class ValueType(IntEnum):
    """The type byte: how a payload reads (`docs/spec/wk1.md`, "Types"). Numbers are never used again."""

    STRING = 1
    TEXT = 2
    INTEGER = 3
    DECIMAL = 4
    BOOLEAN = 5
    DATE = 6
    DATETIME = 7
    JSON = 8
    BYTES = 9


def bucket(size: int) -> int:
    """Return the padded length for `size` bytes of type, payload and marker."""
    for candidate in _SMALL_BUCKETS:
        if size <= candidate:
            return candidate
    step = 1 << ((size - 1).bit_length() - 4)
    return -(-size // step) * step


def padding(length: int, *, enumerated: bool) -> bytes:
    """Return what follows a payload of `length` bytes: the marker 0x80 and zeros."""
    size = length + 2
    padded = max(bucket(size), _ENUMERATED_BUCKET) if enumerated else bucket(size)
    return b"\x80" + bytes(padded - size)


class _Paddings(dict[int, bytes]):
    """Paddings by payload length: looking one up costs a tenth of making it; long ones are made and not kept."""

    def __init__(self, *, enumerated: bool) -> None:
        super().__init__((length, padding(length, enumerated=enumerated)) for length in range(_TABLE))
        self._enumerated = enumerated

    def __missing__(self, length: int) -> bytes:
        return padding(length, enumerated=self._enumerated)


TYPE_BYTE = {int(kind): bytes((kind,)) for kind in ValueType}
KNOWN_TYPES = frozenset(TYPE_BYTE)
PADDINGS = _Paddings(enumerated=False)
PADDINGS_ENUMERATED = _Paddings(enumerated=True)
MARKER = 0x80
