"""Rows of `keys.tenant_key`: how a key becomes a row, and how a row becomes a key again.

Rules: a row holds the wrapped key, its commitment and the root key's name, never the key. What comes out of the KMS is
compared with all 32 bytes of the commitment, in constant time, before it is used: a KMS, or somebody in its place, that
answers with another key is found out.

A WRAP key needs the root key and the epoch key. It is split in two random shares, secret = a XOR b, both bound to the
same context: wrapped = u16 length of the first | a wrapped by the root key | b wrapped by the epoch key. One share is
32 random bytes, so either key's destruction destroys the WRAP key; a service that wraps 32 bytes is all it takes.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from wellkeep.base.errors import IntegrityBroken, KeysRevoked, KeysUnavailable
from wellkeep.crypto.errors import CryptoError
from wellkeep.crypto.keys import KID_SIZE, SECRET_SIZE, check_commitment, commitment
from wellkeep.db.connection import Connection, Record
from wellkeep.keys.kms import EpochKeys, KeyPurpose, Kms, key_context

_SELECT = """
SELECT purpose, epoch, kid, commit_hash, wrapped, root, state FROM keys.tenant_key
WHERE state IN ('active', 'decrypt_only') ORDER BY purpose, epoch
"""
_INSERT = """
INSERT INTO keys.tenant_key (tenant_id, purpose, epoch, kid, commit_hash, wrapped, root)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (tenant_id, purpose, epoch) DO NOTHING
"""
_ANOTHER_ROOT = (
    "These keys were wrapped by another root key than the one in use. Put that root key back (secrets/root.key or "
    "WELLKEEP_ROOT_KEY), or restore the database that belongs to this one."
)


@dataclass(frozen=True, slots=True, repr=False)
class KeyRow:
    """One wrapped key; `kid` 16 bytes, `commit` 32."""

    purpose: KeyPurpose
    epoch: int
    kid: bytes
    commit: bytes
    wrapped: bytes
    root: str
    state: str

    def __repr__(self) -> str:
        """Name the row by what is public."""
        return f"<KeyRow {self.purpose} epoch={self.epoch} kid={self.kid.hex()}>"


@dataclass(frozen=True, slots=True, repr=False)
class OpenedKey:
    """A row and the 32 bytes that it wraps."""

    row: KeyRow
    secret: bytes

    def __repr__(self) -> str:
        """Name the row and nothing of the key."""
        return f"<OpenedKey {self.row!r}>"


def key_row(record: Record) -> KeyRow:
    """Return the row that the database gave."""
    return KeyRow(
        purpose=KeyPurpose(record["purpose"]),
        epoch=record["epoch"],
        kid=record["kid"],
        commit=record["commit_hash"],
        wrapped=record["wrapped"],
        root=record["root"],
        state=record["state"],
    )


async def read_rows(connection: Connection) -> list[KeyRow]:
    """Return the usable rows of the tenant whose context the connection's transaction has entered."""
    return [key_row(record) for record in await connection.fetch(_SELECT)]


async def store_rows(connection: Connection, rows: Sequence[KeyRow], *, tenant: UUID) -> None:
    """Store rows under the tenant's context; where one is there already, that one stays."""
    await connection.executemany(
        _INSERT, [(tenant, row.purpose.value, row.epoch, row.kid, row.commit, row.wrapped, row.root) for row in rows]
    )


async def new_row(kms: Kms, epochs: EpochKeys | None, *, tenant: UUID, purpose: KeyPurpose, epoch: int) -> KeyRow:
    """Make a random key of 32 bytes and return its row; `epochs` is needed for WRAP alone."""
    secret = os.urandom(SECRET_SIZE)
    context = key_context(tenant, purpose, epoch)
    if purpose is KeyPurpose.WRAP:
        share = os.urandom(SECRET_SIZE)
        first = await kms.wrap(share, context=context)
        second = await _required(epochs).wrap(_xor(secret, share), epoch=epoch, context=context)
        wrapped = len(first).to_bytes(2, "big") + first + second
    else:
        wrapped = await kms.wrap(secret, context=context)
    commit = commitment(secret)
    root = kms.describe().root
    return KeyRow(purpose, epoch, commit[:KID_SIZE], commit, wrapped, root, "active")


async def open_row(row: KeyRow, kms: Kms, epochs: EpochKeys | None, *, tenant: UUID) -> OpenedKey:
    """Return the key that a row wraps.

    Raises KeysUnavailable, KeysRevoked, or IntegrityBroken where the row is not what was stored for this tenant,
    purpose and epoch, or the KMS answers with another key.
    """
    if row.root != kms.describe().root:
        raise KeysUnavailable(_ANOTHER_ROOT, retry_after=60)
    context = key_context(tenant, row.purpose, row.epoch)
    if row.purpose is KeyPurpose.WRAP:
        second_at = 2 + int.from_bytes(row.wrapped[:2], "big")
        share = await kms.unwrap(row.wrapped[2:second_at], context=context)
        other = await _required(epochs).unwrap(row.wrapped[second_at:], epoch=row.epoch, context=context)
        secret = _xor(share, other)
    else:
        secret = await kms.unwrap(row.wrapped, context=context)
    try:
        check_commitment(secret, commit=row.commit)
    except CryptoError:
        raise IntegrityBroken("A wrapped key does not match its commitment; it has been reported.") from None
    if not hmac.compare_digest(row.kid, row.commit[:KID_SIZE]):
        raise IntegrityBroken("A wrapped key's kid does not match its commitment; it has been reported.")
    return OpenedKey(row, secret)


async def open_rows(
    rows: Sequence[KeyRow], kms: Kms, epochs: EpochKeys | None, *, tenant: UUID, seconds: float
) -> list[OpenedKey]:
    """Open all rows at once, within `seconds`; raises the worst of what went wrong.

    A revocation outweighs everything, a broken row outweighs a time-out. An error that no driver may raise counts as
    KeysUnavailable, so that a faulty driver can neither unlock nor purge anything.
    """
    try:
        async with asyncio.timeout(seconds):
            results = await asyncio.gather(
                *(open_row(row, kms, epochs, tenant=tenant) for row in rows), return_exceptions=True
            )
    except TimeoutError:
        raise KeysUnavailable("The key management service did not answer in time.") from None
    failures = [result for result in results if isinstance(result, BaseException)]
    for kind in (KeysRevoked, IntegrityBroken, KeysUnavailable):
        for failure in failures:
            if isinstance(failure, kind):
                raise failure
    if failures:
        raise KeysUnavailable("The key management service gave an answer that its driver could not read.")
    return [result for result in results if isinstance(result, OpenedKey)]


def _xor(left: bytes, right: bytes) -> bytes:
    if len(left) != SECRET_SIZE or len(right) != SECRET_SIZE:
        raise IntegrityBroken("A wrapped key does not have 32 bytes; it has been reported.")
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def _required(epochs: EpochKeys | None) -> EpochKeys:
    if epochs is None:
        raise KeysUnavailable("A WRAP key needs the deployment's epoch keys.")
    return epochs
