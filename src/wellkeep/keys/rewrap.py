"""Re-wrapping: the key that wraps changes, what it wraps does not, and no data is touched.

Pure: rows in, rows out. Rules: what is unwrapped is compared with its commitment before it is wrapped again, so a row
that was exchanged is found out here and not made to look genuine; the commitment's bytes go on as they are. The threat
is a database owner who swaps wrapped keys and lets a rotation bless the swap.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from wellkeep.base.errors import IntegrityBroken, KeysUnavailable
from wellkeep.crypto.errors import CryptoError
from wellkeep.crypto.keys import commitment
from wellkeep.crypto.wrap import WRAPPED_SIZE, WrapKey, subject_key_context
from wellkeep.keys.streams import wrap_context

_SLICE = 128
"""Rows between two breaths: at some 12 µs a row the event loop waits for no more than 2 ms."""

_BROKEN = "A wrapped key does not open in its place; it was left as it is and has been reported."
_NOT_LOADED = "A key is wrapped under one of this tenant's keys that is not loaded. Try again."


class SubjectRow(NamedTuple):
    """A subject's wrapped key as the database has it."""

    subject: UUID
    generation: int
    kid: bytes
    wrapped: bytes
    wrap_epoch: int


class StreamRow(NamedTuple):
    """A blob's wrapped key as the database has it."""

    blob: UUID
    wrapped: bytes
    epoch: int


@dataclass(frozen=True, slots=True, repr=False)
class WrapKeys:
    """A tenant's keys of one purpose: those that rows are still wrapped under, by epoch, and the one they go to."""

    tenant: UUID
    old: Mapping[int, WrapKey]
    new: WrapKey
    epoch: int

    def __repr__(self) -> str:
        """Name tenant and epoch."""
        return f"<WrapKeys tenant={self.tenant} epoch={self.epoch}>"


def subject_slices(keys: WrapKeys, rows: Sequence[SubjectRow]) -> Iterator[list[bytes]]:
    """Yield what is stored in place of each row's `wrapped`, in order, some rows at a time.

    Raises IntegrityBroken where a row does not open in its place, KeysUnavailable for an epoch that is not loaded.
    """
    for start in range(0, len(rows), _SLICE):
        yield [_subject(keys, row) for row in rows[start : start + _SLICE]]


def stream_slices(keys: WrapKeys, rows: Sequence[StreamRow]) -> Iterator[list[bytes]]:
    """Yield what is stored in place of each blob's `wrapped`; as `subject_slices`."""
    for start in range(0, len(rows), _SLICE):
        yield [_stream(keys, row) for row in rows[start : start + _SLICE]]


def _subject(keys: WrapKeys, row: SubjectRow) -> bytes:
    context = subject_key_context(
        tenant=keys.tenant.bytes, subject=row.subject.bytes, generation=row.generation, kid=row.kid
    )
    rest = row.wrapped[WRAPPED_SIZE:]
    secret = _opened(keys, row.wrap_epoch, row.wrapped[:WRAPPED_SIZE], context=context, commit=row.kid + rest)
    return keys.new.wrap(secret, context=context) + rest


def _stream(keys: WrapKeys, row: StreamRow) -> bytes:
    commit = row.wrapped[WRAPPED_SIZE:]
    context = wrap_context(keys.tenant, row.epoch, row.blob)
    secret = _opened(keys, row.epoch, row.wrapped[:WRAPPED_SIZE], context=context, commit=commit)
    return keys.new.wrap(secret, context=wrap_context(keys.tenant, keys.epoch, row.blob)) + commit


def _opened(keys: WrapKeys, epoch: int, wrapped: bytes, *, context: bytes, commit: bytes) -> bytes:
    key = keys.old.get(epoch)
    if key is None:
        raise KeysUnavailable(_NOT_LOADED, retry_after=1)
    try:
        secret = key.unwrap(wrapped, context=context)
    except CryptoError:
        raise IntegrityBroken(_BROKEN) from None
    if not hmac.compare_digest(commitment(secret), commit):
        raise IntegrityBroken(_BROKEN)
    return secret
