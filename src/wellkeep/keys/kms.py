"""What wellkeep asks of a key management service, and how its troubles are told apart.

Rules: each call carries an encryption context {tenant, purpose, epoch}, to which the driver adds its `Scope`
{deployment, environment}; the service authenticates all five, so a wrapped key opens in its own place only, also where
two deployments share a key. A driver raises one of three errors and nothing else: `KeysUnavailable` (time-outs,
throttling, 5xx: caches may serve on), `KeysRevoked` (access denied, key disabled or pending deletion: caches are purged
at once), `IntegrityBroken` (the blob is not what was wrapped in this context). No text of a service is passed on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
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
    MAC = "MAC"


DEPLOYMENT_PURPOSES = (
    KeyPurpose.SEAL,
    KeyPurpose.CONTEXT,
    KeyPurpose.CURSOR,
    KeyPurpose.CHECKPOINT,
    KeyPurpose.REASON,
)
"""Keys of the deployment: loaded at start, never under a customer's root key, never erased with a tenant."""

TENANT_PURPOSES = (
    KeyPurpose.WRAP,
    KeyPurpose.DATA,
    KeyPurpose.INDEX,
    KeyPurpose.FILE,
    KeyPurpose.BACKUP,
    KeyPurpose.MAC,
)
"""Keys of each tenant, made when the tenant is."""


@dataclass(frozen=True, slots=True)
class RootDescription:
    """Which root key wraps: `driver` is a word, `root` an identifier that gives nothing of the key away."""

    driver: str
    root: str


class EpochState(StrEnum):
    """How an epoch's key stands outside: it opens, it waits for its destruction and opens nothing, it is no more."""

    USABLE = "usable"
    PENDING = "pending"
    GONE = "gone"


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


class Roots(Protocol):
    """The root keys of a deployment: its own, and those that its settings pin to single tenants."""

    @property
    def deployment(self) -> Kms:
        """The root key of the deployment's own keys."""
        ...

    def current(self, tenant: UUID) -> Kms:
        """Return the root key that new keys of `tenant` are wrapped by."""
        ...

    def named(self, tenant: UUID, root: str) -> Kms:
        """Return the root key that a row of `tenant` names; KeysUnavailable where the settings do not allow it."""
        ...


class OneRoot:
    """One root key for everything and everybody."""

    def __init__(self, kms: Kms) -> None:
        """`kms` holds it; a row that names another root is refused where it is opened."""
        self._kms = kms

    @property
    def deployment(self) -> Kms:
        """The one root key."""
        return self._kms

    def current(self, _tenant: UUID) -> Kms:
        """Return the one root key."""
        return self._kms

    def named(self, _tenant: UUID, _root: str) -> Kms:
        """Return the one root key; `rows.open_row` compares its name with the row's."""
        return self._kms


class EpochKeys(Protocol):
    """The deployment's epoch keys, kept outside PostgreSQL and outside every backup of it.

    A tenant's key opens only with the root key and the epoch key together, so destroying an epoch key makes what was
    wrapped under it worthless, in old backups too.
    """

    async def create(self, epoch: int) -> None:
        """Make the key of `epoch` durably; where it exists already, that one stays, whoever made it."""
        ...

    async def wrap(self, plain: bytes, *, epoch: int, context: Mapping[str, str]) -> bytes:
        """Return `plain` wrapped under the key of `epoch`, bound to `context`."""
        ...

    async def unwrap(self, blob: bytes, *, epoch: int, context: Mapping[str, str]) -> bytes:
        """Return what was wrapped under the key of `epoch` in this `context`; raises as `Kms.unwrap` does."""
        ...

    async def destroy(self, epoch: int) -> datetime:
        """Destroy the key of `epoch` and return from when on nothing opens under it; doing it again is no harm.

        That may lie in the future: a cloud waits. Raises KeysUnavailable or KeysRevoked where it could not be done.
        """
        ...

    async def state(self, epoch: int) -> EpochState:
        """Return how the key of `epoch` stands; `gone` too where it never was. Raises KeysUnavailable, KeysRevoked."""
        ...


def key_context(tenant: UUID, purpose: KeyPurpose, epoch: int) -> dict[str, str]:
    """Return the encryption context of a tenant's key; names and forms are part of the format and never change."""
    return {"tenant": tenant.hex, "purpose": purpose.value, "epoch": str(epoch)}
