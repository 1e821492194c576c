"""What wellkeep asks of a key management service, and how its troubles are told apart.

Rules: each call carries an encryption context {tenant, purpose, epoch}, which the service authenticates, so a wrapped
key opens in its own place only. A driver raises one of three errors and nothing else: `KeysUnavailable` (time-outs,
throttling, 5xx: caches may serve on), `KeysRevoked` (access denied, key disabled or pending deletion: caches are purged
at once), `IntegrityBroken` (the blob is not what was wrapped in this context). No text of a service is passed on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from uuid import UUID


class KeyPurpose(StrEnum):
    """What a wrapped key is for; a key of one purpose never serves another."""

    SEAL = "SEAL"
    CONTEXT = "CONTEXT"
    CURSOR = "CURSOR"
    CHECKPOINT = "CHECKPOINT"
    REASON = "REASON"
    WRAP = "WRAP"
    DATA = "DATA"
    INDEX = "INDEX"
    FILE = "FILE"
    BACKUP = "BACKUP"


DEPLOYMENT_PURPOSES = (
    KeyPurpose.SEAL,
    KeyPurpose.CONTEXT,
    KeyPurpose.CURSOR,
    KeyPurpose.CHECKPOINT,
    KeyPurpose.REASON,
)
"""Keys of the deployment: loaded at start, never under a customer's root key, never erased with a tenant."""

TENANT_PURPOSES = (KeyPurpose.WRAP, KeyPurpose.DATA, KeyPurpose.INDEX, KeyPurpose.FILE, KeyPurpose.BACKUP)
"""Keys of each tenant, made when the tenant is."""


@dataclass(frozen=True, slots=True)
class RootDescription:
    """Which root key wraps: `driver` is a word, `root` an identifier that gives nothing of the key away."""

    driver: str
    root: str


class Kms(Protocol):
    """The root key, wherever it lives."""

    async def wrap(self, plain: bytes, *, context: Mapping[str, str]) -> bytes:
        """Return `plain`, 32 bytes, wrapped under the root key, bound to `context`."""
        ...

    async def unwrap(self, blob: bytes, *, context: Mapping[str, str]) -> bytes:
        """Return what was wrapped in exactly this `context`.

        Raises KeysUnavailable, KeysRevoked or IntegrityBroken, as the module says.
        """
        ...

    def describe(self) -> RootDescription:
        """Return which root key this is; it is stored beside each wrapped key."""
        ...


class EpochKeys(Protocol):
    """The deployment's epoch keys, kept outside PostgreSQL and outside every backup of it.

    A WRAP key opens only with the root key and the epoch key together, so destroying an epoch key makes the wrapped
    subject keys of old backups worthless.
    """

    @property
    def current(self) -> int:
        """The epoch that new WRAP keys belong to, from 1."""
        ...

    async def wrap(self, plain: bytes, *, epoch: int, context: Mapping[str, str]) -> bytes:
        """Return `plain` wrapped under the key of `epoch`, bound to `context`."""
        ...

    async def unwrap(self, blob: bytes, *, epoch: int, context: Mapping[str, str]) -> bytes:
        """Return what was wrapped under the key of `epoch` in this `context`; raises as `Kms.unwrap` does."""
        ...


def key_context(tenant: UUID, purpose: KeyPurpose, epoch: int) -> dict[str, str]:
    """Return the encryption context of a tenant's key; names and forms are part of the format and never change."""
    return {"tenant": tenant.hex, "purpose": purpose.value, "epoch": str(epoch)}
