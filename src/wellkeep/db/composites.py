"""Columns of composite values in PostgreSQL's own binary form, for the rooms that put rows together by hand.

Rules: the driver would encode each column of each row by itself, which costs as much as making the row; so hot paths
hand over bytes (`Pool.connection(packed=…)`). PostgreSQL reads them with the same checks as any parameter (number and
types of the columns, lengths), so what is written wrongly is refused there, never stored.

Format: https://www.postgresql.org/docs/current/protocol-overview.html and the functions record_recv, array_recv: number
of columns; then for each its type, its length or -1, its bytes. Numbers are big-endian.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from struct import Struct
from typing import Final

BOOL: Final = 16
BYTES: Final = 17
LONG: Final = 20
INT: Final = 23
TEXT: Final = 25
BLOBS: Final = 1001
INTS: Final = 1007
TIME: Final = 1184
UUID: Final = 2950
JSON: Final = 3802
"""Types by their numbers: pg_type.dat of PostgreSQL's source; BLOBS are bytea[], INTS int4[], JSON is jsonb."""

BEGINNING: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""Where PostgreSQL's timestamps begin, in microseconds."""

_NULL = -1
_ARRAY_HEAD = 20
_EMPTY_ARRAY = 12

_column = Struct(">ii").pack
_empty_array = Struct(">iiiii").pack
_array_head = Struct(">iiiiiii").pack
integer = Struct(">i").pack
_LENGTHS = tuple(map(integer, range(4096)))


def column(kind: int, value: bytes | None) -> bytes:
    """Return a column of any type whose bytes are `value`, or null."""
    return _column(kind, _NULL) if value is None else _column(kind, len(value)) + value


def blobs(values: Sequence[bytes]) -> bytes:
    """Return a column of byte strings."""
    pieces = []
    for value in values:
        size = len(value)
        pieces.append(_LENGTHS[size] if size < len(_LENGTHS) else integer(size))
        pieces.append(value)
    return array(BLOBS, BYTES, len(values), b"".join(pieces))


def integers(numbers: Sequence[int]) -> bytes:
    """Return a column of 32-bit integers."""
    return array(INTS, INT, len(numbers), b"".join(_LENGTHS[4] + integer(number) for number in numbers))


def array(kind: int, element: int, count: int, elements: bytes) -> bytes:
    """Return a one-dimensional array without nulls: `count` elements of the type `element`, each behind its length."""
    if not count:
        return _empty_array(kind, _EMPTY_ARRAY, 0, 0, element)
    return _array_head(kind, _ARRAY_HEAD + len(elements), 1, 0, element, count, 1) + elements


def microseconds(at: datetime) -> int:
    """Return a time as PostgreSQL counts it."""
    since = at - BEGINNING
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
