"""The local driver: a root key and epoch keys that this process holds itself.

Rules: the same interface, contexts and errors as a service's, so nothing above can tell the two apart; a wrapped key is
bound to its context by `crypto.wrap`. The threat is code that takes a short cut because the key is near: the secret
leaves `keyfile` only into these objects, and no attribute or repr of theirs gives it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

from wellkeep.base.errors import IntegrityBroken, KeysUnavailable, Misconfigured
from wellkeep.base.secrets import Secret
from wellkeep.crypto.errors import CryptoError
from wellkeep.crypto.keys import commitment
from wellkeep.crypto.wrap import WrapKey, tenant_key_context
from wellkeep.keys import keyfile
from wellkeep.keys.kms import RootDescription


class LocalKms:
    """A root key held by this process, behind the same interface as a service's."""

    def __init__(self, secret: Secret[bytes]) -> None:
        """`secret` holds 32 bytes, as `keyfile.read_root_key` returns them."""
        self._key = WrapKey(secret.reveal())
        self._root = "local:" + commitment(secret.reveal())[:8].hex()

    def __repr__(self) -> str:
        """Name the root key by its public identifier."""
        return f"<LocalKms {self._root}>"

    async def wrap(self, plain: bytes, *, context: Mapping[str, str]) -> bytes:
        """Return `plain` wrapped under the root key, bound to `context`."""
        return self._key.wrap(plain, context=_encode(context))

    async def unwrap(self, blob: bytes, *, context: Mapping[str, str]) -> bytes:
        """Return what was wrapped in this context; raises IntegrityBroken on any other blob, key or context."""
        return _unwrap(self._key, blob, context)

    def describe(self) -> RootDescription:
        """Return the driver's name and an identifier derived from the key, one way."""
        return RootDescription(driver="local", root=self._root)


class LocalEpochKeys:
    """The epoch keys of `<home>/secrets/epoch-<n>.key`; no backup and no recovery share may hold these files."""

    def __init__(self, secrets: Mapping[int, Secret[bytes]]) -> None:
        """`secrets` holds 32 bytes for each epoch that still exists (at least one)."""
        if not secrets:
            raise Misconfigured("There is no epoch key (secrets/epoch-<n>.key). Make a deployment with: wellkeep init")
        self._keys = {epoch: WrapKey(secret.reveal()) for epoch, secret in secrets.items()}

    def __repr__(self) -> str:
        """Name the epochs."""
        return f"<LocalEpochKeys {sorted(self._keys)}>"

    @classmethod
    def open(cls, directory: Path, *, deployment: UUID) -> LocalEpochKeys:
        """Read every epoch key in `directory`; raises Misconfigured as `keyfile` does."""
        return cls(keyfile.read_epoch_keys(directory, deployment=deployment))

    @property
    def current(self) -> int:
        """The newest epoch."""
        return max(self._keys)

    async def wrap(self, plain: bytes, *, epoch: int, context: Mapping[str, str]) -> bytes:
        """Return `plain`, 32 bytes, wrapped under the key of `epoch`, bound to `context`."""
        return self._of(epoch).wrap(plain, context=_encode(context))

    async def unwrap(self, blob: bytes, *, epoch: int, context: Mapping[str, str]) -> bytes:
        """Return what was wrapped in this epoch and context.

        Raises KeysUnavailable where the epoch's key is not here, IntegrityBroken on any other blob, key or context.
        """
        return _unwrap(self._of(epoch), blob, context)

    def _of(self, epoch: int) -> WrapKey:
        key = self._keys.get(epoch)
        if key is None:
            raise KeysUnavailable(
                "The epoch key of these keys is not here. If it was destroyed, they are erased; if not, put the file "
                "secrets/epoch-<n>.key back.",
                retry_after=60,
            )
        return key


def _encode(context: Mapping[str, str]) -> bytes:
    """Return the canonical bytes of {tenant, purpose, epoch}; any other context is a fault of ours."""
    if set(context) != {"tenant", "purpose", "epoch"}:
        raise ValueError("an encryption context names tenant, purpose and epoch")
    tenant = bytes.fromhex(context["tenant"])
    return tenant_key_context(tenant=tenant, purpose=context["purpose"], epoch=int(context["epoch"]))


def _unwrap(key: WrapKey, blob: bytes, context: Mapping[str, str]) -> bytes:
    try:
        return key.unwrap(blob, context=_encode(context))
    except CryptoError:
        raise IntegrityBroken("A wrapped key does not open in its place; it has been reported.") from None
