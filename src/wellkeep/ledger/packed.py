"""Steps and entries in PostgreSQL's own binary form: the composites `ledger.step` and `ledger.entry_in`, by hand.

Rules: the driver would encode each column of each row by itself, which costs as much as the splicing; so a row is put
together here, and words that many rows share are encoded once. PostgreSQL reads it with the same checks as any
parameter (number and types of the columns, lengths), so what is written wrongly here is refused there, never stored.

Format: https://www.postgresql.org/docs/current/protocol-overview.html and the functions record_recv and array_recv:
number of columns; then for each its type, its length or -1, its bytes. Numbers are big-endian.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from struct import Struct
from typing import Final
from uuid import UUID

STEP: Final = "ledger.step"
ENTRY_IN: Final = "ledger.entry_in"
KINDS: Final = (STEP, ENTRY_IN)
"""What a connection takes as bytes before it appends."""

_STEP_COLUMNS, _ENTRY_COLUMNS = 12, 13
_BYTES, _LONG, _INT, _TEXT, _BLOBS, _TIME, _UUID = 17, 20, 23, 25, 1001, 1184, 2950
_HASH_BYTES = 32
_ARRAY_HEAD = 20
_NULL = -1

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_entry_head = Struct(">i iii iiq ii16s").pack
_entry_tail = Struct(">ii16s ii32s ii").pack
_step_head = Struct(">i ii16s iii").pack
_step_sizes = Struct(">iiq ii32s iiq ii32s iiq").pack
_step_tail = Struct(">ii32s ii32s").pack
_frontier_head = Struct(">ii iiiii").pack
_uuid_column = Struct(">ii16s").pack
_column = Struct(">ii").pack
_HASH_LENGTH = Struct(">i").pack(_HASH_BYTES)
_NULL_TEXT = _column(_TEXT, _NULL)
_NULL_UUID = _column(_UUID, _NULL)
_NO_FRONTIER = Struct(">iiiii").pack(_BLOBS, 12, 0, 0, _BYTES)


def entry_row(
    step: int,
    seq: int,
    event_id: UUID,
    actor: str,
    action: str,
    purpose: str | None,
    resource_type: str | None,
    resource_id: str | None,
    subject: UUID | None,
    outcome: str,
    request: UUID,
    leaf: bytes,
    entry: bytes,
) -> bytes:
    """Return one `ledger.entry_in`; `leaf` has 32 bytes."""
    return b"".join(
        (
            _entry_head(_ENTRY_COLUMNS, _INT, 4, step, _LONG, 8, seq, _UUID, 16, event_id.bytes),
            _word(actor),
            _word(action),
            _word(purpose),
            _word(resource_type),
            _NULL_TEXT if resource_id is None else _text(resource_id),
            _NULL_UUID if subject is None else _uuid_column(_UUID, 16, subject.bytes),
            _word(outcome),
            _entry_tail(_UUID, 16, request.bytes, _BYTES, _HASH_BYTES, leaf, _BYTES, len(entry)),
            entry,
        )
    )


def step_row(
    tenant: UUID,
    epoch: int,
    origin: str,
    old_size: int,
    old_leaf: bytes,
    size: int,
    leaf: bytes,
    time: datetime,
    frontier: Sequence[bytes],
    key_id: str,
    root: bytes,
    mac: bytes,
) -> bytes:
    """Return one `ledger.step`; leaves, root, MAC and each hash of the frontier have 32 bytes."""
    moment = (time - _EPOCH) // _MICROSECOND
    return b"".join(
        (
            _step_head(_STEP_COLUMNS, _UUID, 16, tenant.bytes, _INT, 4, epoch),
            _text(origin),
            _step_sizes(
                *(_LONG, 8, old_size, _BYTES, _HASH_BYTES, old_leaf),
                *(_LONG, 8, size, _BYTES, _HASH_BYTES, leaf, _TIME, 8, moment),
            ),
            _frontier(frontier),
            _word(key_id),
            _step_tail(_BYTES, _HASH_BYTES, root, _BYTES, _HASH_BYTES, mac),
        )
    )


def _frontier(hashes: Sequence[bytes]) -> bytes:
    if not hashes:
        return _NO_FRONTIER
    joined = _HASH_LENGTH + _HASH_LENGTH.join(hashes)
    return _frontier_head(_BLOBS, _ARRAY_HEAD + len(joined), 1, 0, _BYTES, len(hashes), 1) + joined


def _text(value: str) -> bytes:
    encoded = value.encode()
    return _column(_TEXT, len(encoded)) + encoded


@lru_cache(maxsize=4096)
def _word(value: str | None) -> bytes:
    """Return a column that many rows share: an actor, an action, a purpose."""
    return _NULL_TEXT if value is None else _text(value)
