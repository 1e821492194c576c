"""Keys in an HSM (PKCS#11): the root key, and a key of its own for each epoch.

Rules: an AES-256 key of the token that is sensitive and was never extractable encrypts 32 bytes by AES-GCM in the HSM,
with the canonical five names as associated data: "WP" | version 1 | nonce 12 | ciphertext 32 | tag 16. The nonce is 96
random bits of the kernel; wraps under one key stay far below 2^32. A key is looked up by its label at each use, so one
that was destroyed wraps and opens nothing from that moment on; two keys of one label are none. What PKCS#11 calls a
wrong tag differs from library to library (SoftHSM: CKR_GENERAL_ERROR), so where a decryption fails a probe of the same
key and a second try say whether the blob is broken or the HSM. The threat is a key that leaves the HSM, or a fault
taken for tampering.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from wellkeep.base.clock import Clock
from wellkeep.base.errors import IntegrityBroken, KeysRevoked, KeysUnavailable
from wellkeep.crypto.canonical import encode
from wellkeep.keys.kms import EpochState, RootDescription
from wellkeep.keys.pkcs11_token import Token
from wellkeep.keys.scope import Scope

if TYPE_CHECKING:
    import pkcs11

_MARKER = b"WP\x01"
_NONCE = 12
_KEY_SIZE = 32
_SIZE = len(_MARKER) + _NONCE + _KEY_SIZE + 16
_TAG_BITS = 128
_TRIES = 8
_DOWN = "The HSM can't do this now."
_UNFIT = (
    "The key in the HSM must be AES-256, sensitive, never extractable, for encryption and decryption. Make one that "
    "is, and name it in [keys]."
)


class HsmKeys:
    """What is done with the keys of one token; each function runs in the token's thread."""

    def __init__(self, token: Token, *, scope: Scope) -> None:
        """Talk to nothing yet."""
        self._token = token
        self.scope = scope

    @property
    def token(self) -> str:
        """What the token is called."""
        return self._token.label

    async def wrap(self, plain: bytes, *, label: str, context: Mapping[str, str]) -> bytes:
        """Return `plain`, 32 bytes, wrapped by the key `label`, bound to `context` and scope. Raises as `Kms` does."""
        if len(plain) != _KEY_SIZE:
            raise ValueError("a key has 32 bytes")
        bound = _MARKER + encode(self.scope.bound(context))
        nonce = os.urandom(_NONCE)
        sealed = await self._token.run(lambda session: _encrypt(_fit(session, label), plain, nonce, bound))
        if len(sealed) != _KEY_SIZE + _TAG_BITS // 8:
            raise KeysUnavailable(_DOWN)
        return _MARKER + nonce + sealed

    async def unwrap(self, blob: bytes, *, label: str, context: Mapping[str, str]) -> bytes:
        """Return what the key `label` wrapped in this `context` and scope. Raises as `Kms.unwrap` does."""
        bound = _MARKER + encode(self.scope.bound(context))
        if len(blob) != _SIZE or not blob.startswith(_MARKER):
            raise IntegrityBroken("A wrapped key is not of an HSM's form; it has been reported.")
        nonce, sealed = blob[len(_MARKER) : len(_MARKER) + _NONCE], blob[len(_MARKER) + _NONCE :]
        plain = await self._token.run(lambda session: _decrypt(_fit(session, label), sealed, nonce, bound))
        if len(plain) != _KEY_SIZE:
            raise IntegrityBroken("The HSM answered with what is no key of 32 bytes.")
        return plain

    async def make(self, label: str) -> None:
        """Make the key `label`; one that is there stays, and must be fit. Raises KeysUnavailable, KeysRevoked."""
        await self._token.run(lambda session: _make(session, label))

    async def destroy(self, label: str) -> None:
        """Destroy every key `label`; where there is none that is no error. Raises KeysUnavailable, KeysRevoked."""
        await self._token.run(lambda session: _destroy(session, label))

    async def exists(self, label: str) -> bool:
        """Say whether there is a key `label`. Raises KeysUnavailable, KeysRevoked."""
        return await self._token.run(lambda session: bool(_found(session, label)))


class Pkcs11Kms:
    """A root key in an HSM."""

    def __init__(self, keys: HsmKeys, *, label: str) -> None:
        """`label` is the key's. It is not asked yet."""
        self._keys = keys
        self._label = label

    def __repr__(self) -> str:
        """Name the key."""
        return f"<Pkcs11Kms {self._label}>"

    async def wrap(self, plain: bytes, *, context: Mapping[str, str]) -> bytes:
        """Return `plain`, 32 bytes, wrapped in the HSM, bound to `context` and scope."""
        return await self._keys.wrap(plain, label=self._label, context=context)

    async def unwrap(self, blob: bytes, *, context: Mapping[str, str]) -> bytes:
        """Return what was wrapped in this `context` and scope. Raises as `Kms.unwrap` does."""
        return await self._keys.unwrap(blob, label=self._label, context=context)

    def describe(self) -> RootDescription:
        """Return the driver's name, and where the key is."""
        return RootDescription(driver="pkcs11", root=f"pkcs11:{self._keys.token}/{self._label}")


class Pkcs11EpochKeys:
    """A key of the token for each epoch: `wellkeep-<deployment>-epoch-<n>`."""

    def __init__(self, keys: HsmKeys, *, clock: Clock) -> None:
        """Talk to nothing yet."""
        self._keys = keys
        self._clock = clock

    def __repr__(self) -> str:
        """Name the deployment."""
        return f"<Pkcs11EpochKeys {self._keys.scope.deployment}>"

    async def create(self, epoch: int) -> None:
        """Make the key of `epoch`; one that is there stays."""
        await self._keys.make(self._label(epoch))

    async def wrap(self, plain: bytes, *, epoch: int, context: Mapping[str, str]) -> bytes:
        """Return `plain`, 32 bytes, wrapped by the key of `epoch`, bound to `context` and scope."""
        return await self._keys.wrap(plain, label=self._label(epoch), context=context)

    async def unwrap(self, blob: bytes, *, epoch: int, context: Mapping[str, str]) -> bytes:
        """Return what was wrapped in this epoch, `context` and scope. Raises as `Kms.unwrap` does."""
        return await self._keys.unwrap(blob, label=self._label(epoch), context=context)

    async def destroy(self, epoch: int) -> datetime:
        """Destroy the key of `epoch` in the HSM (C_DestroyObject) and return the time after that.

        Backups that the HSM's owner made of the whole token hold it on: their keeping is the owner's.
        """
        await self._keys.destroy(self._label(epoch))
        return self._clock.now()

    async def state(self, epoch: int) -> EpochState:
        """Return whether the HSM has the key of `epoch`."""
        return EpochState.USABLE if await self._keys.exists(self._label(epoch)) else EpochState.GONE

    def _label(self, epoch: int) -> str:
        return f"wellkeep-{self._keys.scope.deployment}-epoch-{epoch}"


def _found(session: pkcs11.Session, label: str) -> list[Any]:
    from pkcs11 import Attribute, KeyType, ObjectClass, SecretKey  # noqa: PLC0415 -- an extra

    asked = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES, Attribute.LABEL: label}
    return [one for one in session.get_objects(asked) if isinstance(one, SecretKey)]


def _fit(session: pkcs11.Session, label: str) -> Any:
    """Return the one key of `label`. Raises KeysRevoked where there is none, KeysUnavailable where it is not fit."""
    from pkcs11 import Attribute  # noqa: PLC0415 -- an extra

    found = _found(session, label)
    if not found:
        raise KeysRevoked
    if len(found) > 1:
        raise KeysUnavailable("The HSM has two keys of one label. Delete the one that wrapped nothing.")
    key = found[0]
    safe = key[Attribute.SENSITIVE] and key[Attribute.NEVER_EXTRACTABLE] and not key[Attribute.EXTRACTABLE]
    if not safe or key[Attribute.VALUE_LEN] != _KEY_SIZE:
        raise KeysUnavailable(_UNFIT, retry_after=60)
    return key


def _encrypt(key: Any, plain: bytes, nonce: bytes, bound: bytes) -> bytes:
    from pkcs11 import GCMParams, Mechanism  # noqa: PLC0415 -- an extra

    parameters = GCMParams(nonce, bound, _TAG_BITS)
    return bytes(key.encrypt(plain, mechanism=Mechanism.AES_GCM, mechanism_param=parameters))


def _decrypt(key: Any, sealed: bytes, nonce: bytes, bound: bytes) -> bytes:
    from pkcs11 import GCMParams, Mechanism, PKCS11Error  # noqa: PLC0415 -- an extra

    parameters = GCMParams(nonce, bound, _TAG_BITS)
    with suppress(PKCS11Error):
        return bytes(key.decrypt(sealed, mechanism=Mechanism.AES_GCM, mechanism_param=parameters))
    probe, fresh = os.urandom(_KEY_SIZE), os.urandom(_NONCE)
    again = _encrypt(key, probe, fresh, bound)
    parameters = GCMParams(fresh, bound, _TAG_BITS)
    if bytes(key.decrypt(again, mechanism=Mechanism.AES_GCM, mechanism_param=parameters)) != probe:
        raise KeysUnavailable(_DOWN)
    with suppress(PKCS11Error):  # a fault that has passed by now is none of the blob's
        parameters = GCMParams(nonce, bound, _TAG_BITS)
        return bytes(key.decrypt(sealed, mechanism=Mechanism.AES_GCM, mechanism_param=parameters))
    raise IntegrityBroken("A wrapped key does not open in its place; it has been reported.")


def _make(session: pkcs11.Session, label: str) -> None:
    """Make a key unless there is one. Of twins who both made one, each takes its own back and tries again later."""
    from pkcs11 import Attribute, KeyType, MechanismFlag  # noqa: PLC0415 -- an extra

    for _ in range(_TRIES):
        if _found(session, label):
            _fit(session, label)
            return
        made = session.generate_key(
            KeyType.AES,
            _KEY_SIZE * 8,
            label=label,
            id=os.urandom(16),
            store=True,
            capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
            template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True},
        )
        if len(_found(session, label)) == 1:
            _fit(session, label)
            return
        made.destroy()
        time.sleep(secrets.randbelow(200) / 1_000)
    raise KeysUnavailable("Others make the same key in the HSM at the same time. Try again.")


def _destroy(session: pkcs11.Session, label: str) -> None:
    for key in _found(session, label):
        key.destroy()
    if _found(session, label):
        raise KeysUnavailable("The HSM still has a key that it was told to destroy. Try again.")
