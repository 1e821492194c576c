"""Keys of streams: import and export blobs, error files, staging.

Rules: each stream has a random key of its own, wrapped under the tenant's FILE key and bound to tenant, epoch and blob;
what is stored is the wrapped key (63 bytes) and its commitment (32), compared at each unwrap. Whoever writes holds a
`StreamWriter`, which can't open; opening asks for a receipt that names the blob. The threat is staged PHI that is read
without an entry, or a blob that is served as another one's.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from uuid import UUID

from wellkeep.base.errors import IntegrityBroken
from wellkeep.crypto import canonical
from wellkeep.crypto.errors import CryptoError
from wellkeep.crypto.keys import SECRET_SIZE, check_commitment
from wellkeep.crypto.stream import StreamKey
from wellkeep.crypto.wrap import WRAPPED_SIZE
from wellkeep.gate.receipt import Receipt
from wellkeep.keys.opening import require_receipt
from wellkeep.keys.tenant import TenantKeys


class StreamWriter:
    """A stream's key in the hands of whoever writes it: it seals and can't open."""

    __slots__ = ("_context", "_key")

    def __init__(self, key: StreamKey, *, context: bytes) -> None:
        """`context` names tenant and blob, and is authenticated with every segment."""
        self._key = key
        self._context = context

    def __repr__(self) -> str:
        """Name the key by its kid, which is public."""
        return f"<StreamWriter kid={self._key.kid.hex()}>"

    def new_header(self) -> bytes:
        """Return the 27 bytes that a stream begins with; one blob may hold several streams (parts), each its own."""
        return self._key.new_header()

    def seal_segment(self, index: int, data: bytes, *, header: bytes, last: bool) -> bytes:
        """Seal segment `index`; never seal two different plaintexts at one index under one header."""
        return self._key.seal_segment(index, data, header=header, context=self._context, last=last)


class StreamReader:
    """A stream's key in the hands of somebody whose access is in the ledger."""

    __slots__ = ("_context", "_key")

    def __init__(self, key: StreamKey, *, context: bytes) -> None:
        """`context` names tenant and blob."""
        self._key = key
        self._context = context

    def __repr__(self) -> str:
        """Name the key by its kid, which is public."""
        return f"<StreamReader kid={self._key.kid.hex()}>"

    def open_segment(self, index: int, sealed: bytes, *, header: bytes, last: bool) -> bytes:
        """Return segment `index`; raises IntegrityBroken where it is not the segment of that place and role."""
        try:
            return self._key.open_segment(index, sealed, header=header, context=self._context, last=last)
        except CryptoError:
            raise IntegrityBroken from None


@dataclass(frozen=True, slots=True)
class NewStream:
    """A writer and what must be stored beside the blob: the wrapped key (95 bytes) and its epoch."""

    writer: StreamWriter
    wrapped: bytes
    epoch: int


async def new_stream(keys: TenantKeys, *, blob: UUID) -> NewStream:
    """Make a key for the blob; raises SealBudgetExhausted, KeysRevoked."""
    epoch, wrap_key = await keys.file_wrap()
    secret = os.urandom(SECRET_SIZE)
    key = StreamKey(secret)
    wrapped = wrap_key.wrap(secret, context=wrap_context(keys.tenant, epoch, blob)) + key.commit
    return NewStream(StreamWriter(key, context=_context(keys.tenant, blob)), wrapped, epoch)


def resume_stream(keys: TenantKeys, *, blob: UUID, wrapped: bytes, epoch: int) -> StreamWriter:
    """Return the writer of a blob that is still being written, such as an import's next part."""
    return StreamWriter(_unwrap(keys, blob, wrapped, epoch), context=_context(keys.tenant, blob))


def open_stream(receipt: Receipt, *, keys: TenantKeys, blob: UUID, wrapped: bytes, epoch: int) -> StreamReader:
    """Return the reader of a blob that `receipt` names.

    Raises ReceiptRefused, KeysRevoked, and IntegrityBroken where the wrapped key is not this blob's.
    """
    require_receipt(receipt, tenant=keys.tenant, covered=blob)
    return StreamReader(_unwrap(keys, blob, wrapped, epoch), context=_context(keys.tenant, blob))


def _unwrap(keys: TenantKeys, blob: UUID, wrapped: bytes, epoch: int) -> StreamKey:
    wrap_key = keys.file_unwrap(epoch)
    try:
        secret = wrap_key.unwrap(wrapped[:WRAPPED_SIZE], context=wrap_context(keys.tenant, epoch, blob))
        check_commitment(secret, commit=wrapped[WRAPPED_SIZE:])
        return StreamKey(secret)
    except CryptoError:
        raise IntegrityBroken("A blob's wrapped key does not open in its place.", resource=blob) from None


def wrap_context(tenant: UUID, epoch: int, blob: UUID) -> bytes:
    """Return the context that a blob's key is wrapped in under the tenant's FILE key of `epoch`."""
    return canonical.encode({"blob": blob.hex, "epoch": epoch, "purpose": "FILE", "tenant": tenant.hex})


def _context(tenant: UUID, blob: UUID) -> bytes:
    return tenant.bytes + blob.bytes
