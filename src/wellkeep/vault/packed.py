"""Rows to be written in PostgreSQL's own binary form: the composites `vault.bulk_row` and `vault.create_in`, by hand.

Rules: the driver would encode each element of each array by itself, which costs as much as sealing the row; so a row is
put together here from a few pieces, most of which many rows share. PostgreSQL reads it with the same checks as any
parameter (number and types of the columns, lengths), so what is written wrongly here is refused there, never stored.

Format: https://www.postgresql.org/docs/current/protocol-overview.html and the functions record_recv, array_recv,
jsonb_recv: number of columns; then for each its type, its length or -1, its bytes. Numbers are big-endian.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from struct import Struct
from uuid import UUID

_BULK_COLUMNS, _CREATE_COLUMNS = 16, 25
_BOOL, _BYTES, _INT, _TEXT, _TIME, _UUID, _BLOBS, _INTS, _JSON = 16, 17, 23, 25, 1184, 2950, 1001, 1007, 3802
_NULL = -1
_ARRAY_HEAD = 20
_EMPTY_ARRAY = 12
_JSON_VERSION = b"\x01"

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""Where PostgreSQL's timestamps begin, in microseconds."""

_head = Struct(">iii16siii").pack
_count = Struct(">i").pack
_uuid_column = Struct(">ii16s").pack
_time_column = Struct(">iiq").pack
_column = Struct(">ii").pack
_int_column = Struct(">iii").pack
_bool_column = Struct(">ii?").pack
_array_head = Struct(">iiiiiii").pack
_length = Struct(">i").pack
_LENGTHS = tuple(map(_length, range(4096)))


def bulk_row(record: UUID, *, expected: int, keyed: bytes, state: bytes) -> bytes:
    """Return one row; `expected` 0 makes the record, `keyed` is from `key_columns`, `state` from `state_columns`."""
    return _head(_BULK_COLUMNS, _UUID, 16, record.bytes, _INT, 4, expected) + keyed + state


def create_row(
    token: str,
    *,
    credential: UUID | None,
    event_id: UUID,
    event: bytes,
    collection: int,
    version: int,
    record: UUID,
    keyed: bytes,
    state: bytes,
    at: datetime,
    claim: tuple[bytes | None, bytes | None, bytes | None],
) -> bytes:
    """Return one element of `vault.create_batch`; `keyed` comes from `key_columns`, `state` from `state_columns`."""
    return b"".join(
        (
            _count(_CREATE_COLUMNS),
            _bytes_column(_TEXT, token.encode()),
            _bytes_column(_UUID, None if credential is None else credential.bytes),
            _uuid_column(_UUID, 16, event_id.bytes),
            _bytes_column(_BYTES, event),
            _int_column(_INT, 4, collection),
            _int_column(_INT, 4, version),
            _uuid_column(_UUID, 16, record.bytes),
            keyed,
            state,
            _time_column(_TIME, 8, _microseconds(at)),
            *(_bytes_column(_BYTES, value) for value in claim),
        )
    )


def state_columns(
    *,
    field_ids: tuple[int, ...],
    sealed: Sequence[bytes],
    plain: str | None,
    tag_fields: tuple[int, ...],
    tags: Sequence[bytes],
    unique_tags: int,
    content_mac: bytes | None,
    digest: bytes,
) -> bytes:
    """Return the columns of a stored state, which end a row of either kind; unique tags stand first."""
    return b"".join(
        (
            _ints(field_ids),
            _blobs(sealed),
            _bytes_column(_JSON, None if plain is None else _JSON_VERSION + plain.encode()),
            _ints(tag_fields),
            _blobs(tags),
            _int_column(_INT, 4, unique_tags),
            _bytes_column(_BYTES, content_mac),
            _bytes_column(_BYTES, digest),
        )
    )


def _microseconds(at: datetime) -> int:
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def key_columns(
    mode: int, subject: UUID | None, kid: bytes | None, wrapped: bytes | None, wrap_epoch: int | None, *, lease: bool
) -> bytes:
    """Return the columns that say whose a row is and under which key it is sealed: equal for many rows."""
    return b"".join(
        (
            _int_column(_INT, 4, mode),
            _bytes_column(_UUID, None if subject is None else subject.bytes),
            _bytes_column(_BYTES, kid),
            _bytes_column(_BYTES, wrapped),
            _column(_INT, _NULL) if wrap_epoch is None else _int_column(_INT, 4, wrap_epoch),
            _bool_column(_BOOL, 1, lease),
        )
    )


def _bytes_column(kind: int, value: bytes | None) -> bytes:
    return _column(kind, _NULL) if value is None else _column(kind, len(value)) + value


@lru_cache(maxsize=1024)
def _ints(numbers: tuple[int, ...]) -> bytes:
    """Return a column of integers; rows of one collection have few different ones."""
    elements = b"".join(_LENGTHS[4] + _length(number) for number in numbers)
    return _array(_INTS, _INT, len(numbers), len(elements)) + elements


def _blobs(values: Sequence[bytes]) -> bytes:
    """Return a column of byte strings."""
    pieces = []
    for value in values:
        size = len(value)
        pieces.append(_LENGTHS[size] if size < len(_LENGTHS) else _length(size))
        pieces.append(value)
    elements = b"".join(pieces)
    return _array(_BLOBS, _BYTES, len(values), len(elements)) + elements


def _array(kind: int, element: int, count: int, size: int) -> bytes:
    """Return what stands before the elements of a one-dimensional array without nulls that take `size` bytes."""
    if not count:
        return _column(kind, _EMPTY_ARRAY) + _int_column(0, 0, element)
    return _array_head(kind, _ARRAY_HEAD + size, 1, 0, element, count, 1)
