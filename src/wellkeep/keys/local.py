"""The local driver: a root key and epoch keys that this process holds itself.

Rules: the same interface, contexts and errors as a service's, so nothing above can tell the two apart; a wrapped key is
bound to its context and scope by `crypto.wrap`. An epoch's key is read from its file at each use and kept nowhere, so
that its destruction holds at once in every process. The threats are code that takes a short cut because the key is
near (the secret leaves `keyfile` only into these objects, and no attribute or repr of theirs gives it back), and a
machine that holds root key and data together: whoever takes the machine has both. `wellkeep doctor` says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from wellkeep.base.clock import Clock, SystemClock
from wellkeep.base.errors import IntegrityBroken, KeysUnavailable, Misconfigured
from wellkeep.base.secrets import Secret
from wellkeep.crypto.errors import CryptoError
from wellkeep.crypto.keys import commitment
from wellkeep.crypto.wrap import WrapKey, tenant_key_context
from wellkeep.keys import keyfile
from wellkeep.keys.kms import EpochState, RootDescription
from wellkeep.keys.scope import Scope


def root_name(secret: Secret[bytes]) -> str:
    """Return the public identifier of a local root key: 64 bits of its commitment, one way."""
    return "local:" + commitment(secret.reveal())[:8].hex()


class LocalKms:
    """A root key held by this process, behind the same interface as a service's."""

    def __init__(self, secret: Secret[bytes], *, scope: Scope) -> None:
        """`secret` holds 32 bytes, as `keyfile.read_root_key` returns them."""
        self._key = WrapKey(secret.reveal())
        self._root = root_name(secret)
        self._scope = scope

    def __repr__(self) -> str:
        """Name the root key by its public identifier."""
        return f"<LocalKms {self._root}>"

    async def wrap(self, plain: bytes, *, context: Mapping[str, str]) -> bytes:
        """Return `plain` wrapped under the root key, bound to `context`."""
        return self._key.wrap(plain, context=_encode(context, self._scope))

    async def unwrap(self, blob: bytes, *, context: Mapping[str, str]) -> bytes:
        """Return what was wrapped in this context; raises IntegrityBroken on any other blob, key or context."""
        return _unwrap(self._key, blob, _encode(context, self._scope))

    def describe(self) -> RootDescription:
        """Return the driver's name and an identifier derived from the key, one way."""
        return RootDescription(driver="local", root=self._root)


class LocalEpochKeys:
    """The epoch keys of `<home>/secrets/epoch-<n>.key`; no backup and no recovery share may hold these files."""

    def __init__(self, directory: Path, *, scope: Scope, clock: Clock | None = None) -> None:
        """Read nothing yet; `directory` is the home's `secrets/`."""
        self._directory = directory
        self._scope = scope
        self._clock = clock or SystemClock()

    def __repr__(self) -> str:
        """Name no path: it may tell whose keys these are."""
        return "<LocalEpochKeys>"

    async def create(self, epoch: int) -> None:
        """Make the key of `epoch` in a new file; one that is there stays. Raises KeysUnavailable."""
        await asyncio.to_thread(self._create, epoch)

    async def wrap(self, plain: bytes, *, epoch: int, context: Mapping[str, str]) -> bytes:
        """Return `plain`, 32 bytes, wrapped under the key of `epoch`, bound to `context`."""
        encoded = _encode(context, self._scope)
        return (await asyncio.to_thread(self._read, epoch)).wrap(plain, context=encoded)

    async def unwrap(self, blob: bytes, *, epoch: int, context: Mapping[str, str]) -> bytes:
        """Return what was wrapped in this epoch and context.

        Raises KeysUnavailable where the epoch's key is not here, IntegrityBroken on any other blob, key or context.
        """
        encoded = _encode(context, self._scope)
        return _unwrap(await asyncio.to_thread(self._read, epoch), blob, encoded)

    async def destroy(self, epoch: int) -> datetime:
        """Overwrite the key's file with zeros, sync it, unlink it, sync the directory; return the time after that.

        What may survive below is nothing that a program can overwrite: blocks that a copy-on-write or journalling file
        system, a snapshot or a flash translation layer kept, and copies that somebody made of the file. Where that is
        not good enough, keep epoch keys in an HSM or a cloud's KMS. Raises KeysUnavailable, and then may be run again.
        """
        await asyncio.to_thread(self._destroy, epoch)
        return self._clock.now()

    async def state(self, epoch: int) -> EpochState:
        """Return whether the key's file is there and whole; a half destroyed one counts as gone, for it is."""
        return await asyncio.to_thread(self._state, epoch)

    def _create(self, epoch: int) -> None:
        try:
            keyfile.ensure_epoch_key(self._directory, scope=self._scope, epoch=epoch)
        except (Misconfigured, OSError):
            raise KeysUnavailable(
                "The key of a new epoch can't be made in secrets/. See that there is room and that it is writable.",
                retry_after=60,
            ) from None

    def _read(self, epoch: int) -> WrapKey:
        try:
            return WrapKey(keyfile.read_epoch_key(self._directory, scope=self._scope, epoch=epoch).reveal())
        except (Misconfigured, OSError):
            raise KeysUnavailable(
                "The epoch key of these keys is not here. If it was destroyed, they are erased; if not, put the file "
                "secrets/epoch-<n>.key back as it was.",
                retry_after=60,
            ) from None

    def _destroy(self, epoch: int) -> None:
        try:
            keyfile.destroy_epoch_key(self._directory, scope=self._scope, epoch=epoch)
        except (Misconfigured, OSError):
            raise KeysUnavailable(
                "The key of an epoch can't be destroyed: its file in secrets/ is another's, or can't be written.",
                retry_after=60,
            ) from None

    def _state(self, epoch: int) -> EpochState:
        try:
            whole = keyfile.has_epoch_key(self._directory, scope=self._scope, epoch=epoch)
        except (Misconfigured, OSError):
            raise KeysUnavailable(
                "The file of an epoch key can't be read, or is another's. Put secrets/epoch-<n>.key back as it was.",
                retry_after=60,
            ) from None
        return EpochState.USABLE if whole else EpochState.GONE


def _encode(context: Mapping[str, str], scope: Scope) -> bytes:
    """Return the canonical bytes of the context and the scope it is bound to."""
    bound = scope.bound(context)
    tenant, deployment = bytes.fromhex(bound["tenant"]), bytes.fromhex(bound["deployment"])
    return tenant_key_context(
        deployment=deployment,
        environment=bound["environment"],
        tenant=tenant,
        purpose=bound["purpose"],
        epoch=int(bound["epoch"]),
    )


def _unwrap(key: WrapKey, blob: bytes, context: bytes) -> bytes:
    try:
        return key.unwrap(blob, context=context)
    except CryptoError:
        raise IntegrityBroken("A wrapped key does not open in its place; it has been reported.") from None
