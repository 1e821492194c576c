"""Steps and entries in PostgreSQL's own binary form: the composites `ledger.step` and `ledger.entry_in`, by hand.

Rules are those of `db.composites`; words that many rows share are encoded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from struct import Struct
from typing import Final
from uuid import UUID

from wellkeep.db.composites import BLOBS, BYTES, INT, LONG, TEXT, TIME, array, column, integer, microseconds
from wellkeep.db.composites import UUID as _UUID

STEP: Final = "ledger.step"
ENTRY_IN: Final = "ledger.entry_in"
KINDS: Final = (STEP, ENTRY_IN)
"""What a connection takes as bytes before it appends."""

_STEP_COLUMNS, _ENTRY_COLUMNS = 12, 13
_HASH_BYTES = 32
_HASH_LENGTH = integer(_HASH_BYTES)

_entry_head = Struct(">i iii iiq ii16s").pack
_entry_tail = Struct(">ii16s ii32s ii").pack
_step_head = Struct(">i ii16s iii").pack
_step_sizes = Struct(">iiq ii32s iiq ii32s iiq").pack
_step_tail = Struct(">ii32s ii32s").pack
_uuid_column = Struct(">ii16s").pack
_NULL_UUID = column(_UUID, None)


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
            _entry_head(_ENTRY_COLUMNS, INT, 4, step, LONG, 8, seq, _UUID, 16, event_id.bytes),
            _word(actor),
            _word(action),
            _word(purpose),
            _word(resource_type),
            column(TEXT, None if resource_id is None else resource_id.encode()),
            _NULL_UUID if subject is None else _uuid_column(_UUID, 16, subject.bytes),
            _word(outcome),
            _entry_tail(_UUID, 16, request.bytes, BYTES, _HASH_BYTES, leaf, BYTES, len(entry)),
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
    return b"".join(
        (
            _step_head(_STEP_COLUMNS, _UUID, 16, tenant.bytes, INT, 4, epoch),
            column(TEXT, origin.encode()),
            _step_sizes(
                *(LONG, 8, old_size, BYTES, _HASH_BYTES, old_leaf),
                *(LONG, 8, size, BYTES, _HASH_BYTES, leaf, TIME, 8, microseconds(time)),
            ),
            _hashes(frontier),
            _word(key_id),
            _step_tail(BYTES, _HASH_BYTES, root, BYTES, _HASH_BYTES, mac),
        )
    )


def _hashes(values: Sequence[bytes]) -> bytes:
    """Return a column of hashes, each behind its length."""
    return array(BLOBS, BYTES, len(values), _HASH_LENGTH.join((b"", *values)))


@lru_cache(maxsize=4096)
def _word(value: str | None) -> bytes:
    """Return a column that many rows share: an actor, an action, a purpose."""
    return column(TEXT, None if value is None else value.encode())
