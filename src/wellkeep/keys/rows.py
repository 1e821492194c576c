"""Rows of `keys.tenant_key`: how a key becomes a row, and how a row becomes a key again.

Rules: a row holds the wrapped key, its commitment and the root key's name, never the key. What comes out of the KMS is
compared with all 32 bytes of the commitment, in constant time, before it is used: a KMS, or somebody in its place, that
answers with another key is found out.

A tenant's key needs the root key and the key of the deployment's epoch that the row names in `kms_epoch`. It is split
in two random shares, secret = a XOR b, both bound to the same context: wrapped = u16 length of the first | a wrapped by
the root key | b wrapped by the epoch key. One share is 32 random bytes, so the destruction of either key destroys the
tenant's; a service that wraps 32 bytes is all it takes. The deployment's own keys have one share and no epoch
(`kms_epoch` 0): they outlive every tenant.

What was just wrapped is opened once before anybody stores it: a service that may wrap and not open, or answers with
rubbish, would else be noticed when the row before is gone, and with it whatever the key ever sealed.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol, TypeAlias
from uuid import UUID

from wellkeep.base.errors import IntegrityBroken, KeysRevoked, KeysUnavailable
from wellkeep.crypto.errors import CryptoError
from wellkeep.crypto.keys import KID_SIZE, SECRET_SIZE, check_commitment, commitment
from wellkeep.db.connection import Connection, Record
from wellkeep.keys.kms import DEPLOYMENT_PURPOSES, KeyPurpose, Kms, key_context

Named: TypeAlias = Callable[[str], Kms]

_SELECT = """
SELECT purpose, epoch, kid, commit_hash, wrapped, kms_epoch, root, state, created_at FROM keys.tenant_key
WHERE state IN ('active', 'decrypt_only') ORDER BY purpose, epoch
"""
_INSERT = """
INSERT INTO keys.tenant_key (tenant_id, purpose, epoch, kid, commit_hash, wrapped, kms_epoch, root)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (tenant_id, purpose, epoch) DO NOTHING
"""
_ANOTHER_ROOT = (
    "These keys were wrapped by another root key than the one in use. Put that root key back (secrets/root.key or "
    "WELLKEEP_ROOT_KEY), or restore the database that belongs to this one."
)
_NOT_OPENED = "A key service does not open what it has just wrapped. Nothing was changed. Have it looked at."


class EpochWrapping(Protocol):
    """What of the epoch keys rows need: `kms.EpochKeys` has it."""

    async def wrap(self, plain: bytes, *, epoch: int, context: Mapping[str, str]) -> bytes:
        """Return `plain` wrapped under the key of `epoch`, bound to `context`."""
        ...

    async def unwrap(self, blob: bytes, *, epoch: int, context: Mapping[str, str]) -> bytes:
        """Return what was wrapped under the key of `epoch` in this `context`."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class KeyRow:
    """One wrapped key; `kid` 16 bytes, `commit` 32, `kms_epoch` 0 for a key of the deployment's own.

    `created_at` is known of a row that was read under its tenant's context.
    """

    purpose: KeyPurpose
    epoch: int
    kid: bytes
    commit: bytes
    wrapped: bytes
    kms_epoch: int
    root: str
    state: str
    created_at: datetime | None = field(default=None, compare=False)

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

    def __reduce__(self) -> str:
        """Refuse to be pickled: a spool or a cache is no place for a key."""
        raise TypeError("an OpenedKey can't be pickled")


def key_row(record: Record) -> KeyRow:
    """Return the row that the database gave."""
    return KeyRow(
        purpose=KeyPurpose(record["purpose"]),
        epoch=record["epoch"],
        kid=record["kid"],
        commit=record["commit_hash"],
        wrapped=record["wrapped"],
        kms_epoch=record["kms_epoch"],
        root=record["root"],
        state=record["state"],
        created_at=record.get("created_at"),
    )


async def read_rows(connection: Connection) -> list[KeyRow]:
    """Return the usable rows of the tenant whose context the connection's transaction has entered."""
    return [key_row(record) for record in await connection.fetch(_SELECT)]


async def store_rows(connection: Connection, rows: Sequence[KeyRow], *, tenant: UUID) -> None:
    """Store rows under the tenant's context; where one is there already, that one stays."""
    await connection.executemany(
        _INSERT,
        [
            (tenant, row.purpose.value, row.epoch, row.kid, row.commit, row.wrapped, row.kms_epoch, row.root)
            for row in rows
        ],
    )


async def new_row(
    kms: Kms, epochs: EpochWrapping | None, *, tenant: UUID, purpose: KeyPurpose, epoch: int, kms_epoch: int
) -> KeyRow:
    """Make a random key of 32 bytes and return its row; `kms` is the root key that wraps the tenant's keys now.

    `epoch` counts the keys of this tenant and purpose; `kms_epoch` is the deployment's epoch, 0 for a key of the
    deployment's own, which alone needs no `epochs`.
    """
    secret = os.urandom(SECRET_SIZE)
    context = key_context(tenant, purpose, epoch)
    wrapped = await _wrap(secret, kms, epochs, context=context, kms_epoch=kms_epoch)
    commit = commitment(secret)
    row = KeyRow(purpose, epoch, commit[:KID_SIZE], commit, wrapped, kms_epoch, kms.describe().root, "active")
    await require_opens(row, kms, epochs, tenant=tenant)
    return row


async def rewrapped(opened: OpenedKey, kms: Kms, epochs: EpochWrapping, *, tenant: UUID, kms_epoch: int) -> KeyRow:
    """Return the row of the same secret, split in two new shares under `kms` and the epoch `kms_epoch`.

    The row's kid, commitment, number and state stay; nothing that the key sealed is touched. Raises KeysUnavailable,
    KeysRevoked.
    """
    context = key_context(tenant, opened.row.purpose, opened.row.epoch)
    wrapped = await _wrap(opened.secret, kms, epochs, context=context, kms_epoch=kms_epoch)
    row = replace(opened.row, wrapped=wrapped, kms_epoch=kms_epoch, root=kms.describe().root)
    await require_opens(row, kms, epochs, tenant=tenant)
    return row


async def require_opens(row: KeyRow, kms: Kms, epochs: EpochWrapping | None, *, tenant: UUID) -> None:
    """Raise KeysUnavailable unless a row that was just wrapped opens, KeysRevoked where opening is denied."""
    try:
        await open_row(row, kms, epochs, tenant=tenant)
    except IntegrityBroken:
        raise KeysUnavailable(_NOT_OPENED, retry_after=60) from None


async def open_row(row: KeyRow, kms: Kms, epochs: EpochWrapping | None, *, tenant: UUID) -> OpenedKey:
    """Return the key that a row wraps; `kms` is the root key that the row names, among those that may open it.

    Raises KeysUnavailable, KeysRevoked, or IntegrityBroken where the row is not what was stored for this tenant,
    purpose and epoch, or the KMS answers with another key.
    """
    if row.root != kms.describe().root:
        raise KeysUnavailable(_ANOTHER_ROOT, retry_after=60)
    if (row.kms_epoch == 0) != (row.purpose in DEPLOYMENT_PURPOSES):
        raise IntegrityBroken("A wrapped key does not say which epoch it needs; it has been reported.")
    context = key_context(tenant, row.purpose, row.epoch)
    if row.kms_epoch == 0:
        secret = await kms.unwrap(row.wrapped, context=context)
    else:
        first, second = shares(row)
        share = await kms.unwrap(first, context=context)
        other = await _required(epochs).unwrap(second, epoch=row.kms_epoch, context=context)
        secret = _xor(share, other)
    try:
        check_commitment(secret, commit=row.commit)
    except CryptoError:
        raise IntegrityBroken("A wrapped key does not match its commitment; it has been reported.") from None
    if not hmac.compare_digest(row.kid, row.commit[:KID_SIZE]):
        raise IntegrityBroken("A wrapped key's kid does not match its commitment; it has been reported.")
    return OpenedKey(row, secret)


def shares(row: KeyRow) -> tuple[bytes, bytes]:
    """Return the two wrapped shares of a tenant's key: the root key's and the epoch key's."""
    second_at = 2 + int.from_bytes(row.wrapped[:2], "big")
    return row.wrapped[2:second_at], row.wrapped[second_at:]


def proofs(rows: Sequence[KeyRow]) -> list[KeyRow]:
    """Return so few of a tenant's `rows` that each root and each epoch among them is asked once, WRAP first."""
    chosen: dict[tuple[str, int], KeyRow] = {}
    for row in sorted(rows, key=lambda row: (row.purpose is not KeyPurpose.WRAP, row.state != "active")):
        chosen.setdefault((row.root, row.kms_epoch), row)
    return list(chosen.values())


async def open_rows(
    rows: Sequence[KeyRow], named: Named, epochs: EpochWrapping | None, *, tenant: UUID, seconds: float
) -> list[OpenedKey]:
    """Open all rows at once, within `seconds`; raises the worst of what went wrong.

    `named` returns the root key of a name, or refuses it, as `Roots.named` does for a tenant.
    A revocation outweighs everything, a broken row outweighs a time-out. An error that no driver may raise counts as
    KeysUnavailable, so that a faulty driver can neither unlock nor purge anything.
    """
    try:
        async with asyncio.timeout(seconds):
            results = await asyncio.gather(
                *(_open_named(row, named, epochs, tenant=tenant) for row in rows), return_exceptions=True
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


async def _open_named(row: KeyRow, named: Named, epochs: EpochWrapping | None, *, tenant: UUID) -> OpenedKey:
    return await open_row(row, named(row.root), epochs, tenant=tenant)


async def _wrap(
    secret: bytes, kms: Kms, epochs: EpochWrapping | None, *, context: Mapping[str, str], kms_epoch: int
) -> bytes:
    """Return `secret` as its row holds it: whole under the root key, or split between it and an epoch's key."""
    if (kms_epoch == 0) != (KeyPurpose(context["purpose"]) in DEPLOYMENT_PURPOSES):
        raise ValueError("the deployment's own keys belong to no epoch, and a tenant's keys to one")
    if kms_epoch == 0:
        return await kms.wrap(secret, context=context)
    share = os.urandom(SECRET_SIZE)
    first = await kms.wrap(share, context=context)
    second = await _required(epochs).wrap(_xor(secret, share), epoch=kms_epoch, context=context)
    return len(first).to_bytes(2, "big") + first + second


def _xor(left: bytes, right: bytes) -> bytes:
    if len(left) != SECRET_SIZE or len(right) != SECRET_SIZE:
        raise IntegrityBroken("A wrapped key does not have 32 bytes; it has been reported.")
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def _required(epochs: EpochWrapping | None) -> EpochWrapping:
    if epochs is None:
        raise KeysUnavailable("A tenant's key needs the deployment's epoch keys.")
    return epochs
