"""Rows to be written in PostgreSQL's own binary form: the composites `vault.bulk_row` and `vault.create_in`, by hand.

Rules are those of `db.composites`; a row is put together from a few pieces, most of which many rows share. A jsonb is
the byte 1, then its text (jsonb_recv).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from struct import Struct
from uuid import UUID

from wellkeep.db.composites import BOOL, BYTES, INT, JSON, TEXT, TIME, blobs, column, integer, integers, microseconds
from wellkeep.db.composites import UUID as _UUID

_BULK_COLUMNS, _CREATE_COLUMNS = 16, 25
_JSON_VERSION = b"\x01"

_head = Struct(">iii16siii").pack
_uuid_column = Struct(">ii16s").pack
_time_column = Struct(">iiq").pack
_int_column = Struct(">iii").pack
_bool_column = Struct(">ii?").pack


def bulk_row(record: UUID, *, expected: int, keyed: bytes, state: bytes) -> bytes:
    """Return one row; `expected` 0 makes the record, `keyed` is from `key_columns`, `state` from `state_columns`."""
    return _head(_BULK_COLUMNS, _UUID, 16, record.bytes, INT, 4, expected) + keyed + state


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
            integer(_CREATE_COLUMNS),
            column(TEXT, token.encode()),
            column(_UUID, None if credential is None else credential.bytes),
            _uuid_column(_UUID, 16, event_id.bytes),
            column(BYTES, event),
            _int_column(INT, 4, collection),
            _int_column(INT, 4, version),
            _uuid_column(_UUID, 16, record.bytes),
            keyed,
            state,
            _time_column(TIME, 8, microseconds(at)),
            *(column(BYTES, value) for value in claim),
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
            blobs(sealed),
            column(JSON, None if plain is None else _JSON_VERSION + plain.encode()),
            _ints(tag_fields),
            blobs(tags),
            _int_column(INT, 4, unique_tags),
            column(BYTES, content_mac),
            column(BYTES, digest),
        )
    )


def key_columns(
    mode: int, subject: UUID | None, kid: bytes | None, wrapped: bytes | None, wrap_epoch: int | None, *, lease: bool
) -> bytes:
    """Return the columns that say whose a row is and under which key it is sealed: equal for many rows."""
    return b"".join(
        (
            _int_column(INT, 4, mode),
            column(_UUID, None if subject is None else subject.bytes),
            column(BYTES, kid),
            column(BYTES, wrapped),
            column(INT, None) if wrap_epoch is None else _int_column(INT, 4, wrap_epoch),
            _bool_column(BOOL, 1, lease),
        )
    )


@lru_cache(maxsize=1024)
def _ints(numbers: tuple[int, ...]) -> bytes:
    """Return a column of integers; rows of one collection have few different ones."""
    return integers(numbers)
