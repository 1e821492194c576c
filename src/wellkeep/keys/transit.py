"""The transit engine of Vault or OpenBao: the root key, and a key of its own for each epoch.

Untested on a real server: built from the documented requests and answers, and tested on a stand-in that gives these.

Rules: the five names are the context that a key is derived with, and the associated data beside it, so a key that is
not `derived` is refused before anything is wrapped by it, and so is one that can be exported or backed up in the clear;
the key is looked at before each wrapping, because `encrypt` makes a key that is not there where the policy lets it, and
at most once a minute before unwrapping. The name in each path is ours, whatever a blob says. A refused token counts as
a revocation: that is how the owner of a Vault withdraws, so let an agent renew it. A key is gone where the engine says
so in its own form, an empty list of errors; any other 404 is that the engine was not reached. No text of the service is
passed on.

Source: the transit engine's HTTP API (OpenBao api-docs/secret/transit), endpoints keys, encrypt, decrypt.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from wellkeep.base.clock import Clock
from wellkeep.base.errors import IntegrityBroken, KeysRevoked, KeysUnavailable, Misconfigured
from wellkeep.base.secret_files import read_secret
from wellkeep.crypto.canonical import encode
from wellkeep.keys.calling import DESCRIBED, UNREADABLE, Answer, Counted, Service
from wellkeep.keys.kms import EpochState, RootDescription
from wellkeep.keys.scope import Scope

_TYPE = "aes256-gcm96"
_LOOK_SECONDS = 60.0
_KEY_SIZE = 32
_MOST_BLOB = 1_024
_GOOD = range(200, 300)
_FORBIDDEN, _NOT_FOUND = 403, 404
_BROKEN = ("message authentication failed", "invalid ciphertext", "unable to decrypt")
_GONE = ("encryption key not found", "soft-deleted", "soft deleted", "disallowed by policy")
_UNFIT = (
    "The key in the transit engine must be of type aes256-gcm96, derived, not convergent, not exportable, and without "
    "plaintext backups. Make one that is, and name it in [keys]."
)
T = TypeVar("T")


class _Key(msgspec.Struct, frozen=True):
    type: str
    derived: bool
    exportable: bool
    allow_plaintext_backup: bool
    convergent_encryption: bool = False
    soft_deleted: bool = False


class _Encrypted(msgspec.Struct, frozen=True):
    ciphertext: str


class _Decrypted(msgspec.Struct, frozen=True):
    plaintext: bytes


class _Errors(msgspec.Struct, frozen=True):
    errors: list[str]


class TransitCalls:
    """One mount of the engine."""

    def __init__(
        self,
        service: Service,
        *,
        mount: str,
        namespace: str | None,
        token: Path,
        scope: Scope,
        clock: Clock,
        counted: Counted | None = None,
    ) -> None:
        """Connect to nothing yet; `token` is a file in `secrets/`, read at each call, so that an agent may renew it.

        `counted` is told of each look at a key.
        """
        self._service = service
        self._mount = mount
        self._namespace = namespace
        self._token = token
        self._scope = scope
        self._clock = clock
        self._counted = Counted() if counted is None else counted
        self._looked: dict[str, float] = {}

    @property
    def mount(self) -> str:
        """Where the engine is: the place and its mount."""
        return f"{self._service.place}/{self._mount}"

    @property
    def scope(self) -> Scope:
        """Whose keys are wrapped."""
        return self._scope

    async def wrap(self, plain: bytes, *, key: str, context: Mapping[str, str]) -> bytes:
        """Return `plain`, 32 bytes, wrapped by `key`, bound to `context` and scope. Raises as `Kms` does."""
        if len(plain) != _KEY_SIZE:
            raise ValueError("a key has 32 bytes")
        told = {"plaintext": b64encode(plain).decode("ascii"), **self._bound(context)}
        await self._require_fit(key)
        blob = (await self._ask("POST", f"encrypt/{key}", told, _Encrypted)).ciphertext.encode("utf-8")
        if not blob.startswith(b"vault:v") or len(blob) > _MOST_BLOB or b64encode(plain).rstrip(b"=") in blob:
            raise KeysUnavailable(UNREADABLE)
        return blob

    async def unwrap(self, blob: bytes, *, key: str, context: Mapping[str, str]) -> bytes:
        """Return what `key` wrapped in this `context` and scope. Raises as `Kms.unwrap` does."""
        told = {"ciphertext": _ciphertext(blob), **self._bound(context)}
        if self._clock.monotonic() >= self._looked.get(key, float("-inf")) + _LOOK_SECONDS:
            await self._require_fit(key)
        plain = (await self._ask("POST", f"decrypt/{key}", told, _Decrypted)).plaintext
        if len(plain) != _KEY_SIZE:
            raise IntegrityBroken("The key management service answered with what is no key of 32 bytes.")
        return plain

    async def make(self, key: str) -> None:
        """Make `key`; one that is there stays, and must be fit. Raises KeysUnavailable, KeysRevoked."""
        told = {"type": _TYPE, "derived": True, "exportable": False, "allow_plaintext_backup": False}
        await self._send("POST", f"keys/{key}", told)
        await self._require_fit(key)

    async def delete(self, key: str) -> None:
        """Delete `key` for good; one that is not there is no error. Raises KeysUnavailable, KeysRevoked."""
        self._looked.pop(key, None)
        if await self.exists(key):
            await self._send("POST", f"keys/{key}/config", {"deletion_allowed": True})
            await self._send("DELETE", f"keys/{key}", None)
        if await self.exists(key):
            raise KeysUnavailable("The transit engine still has a key that it was told to delete. Try again.")

    async def exists(self, key: str) -> bool:
        """Say whether the engine has `key`. Raises KeysUnavailable, KeysRevoked."""
        return await self._found(key) is not None

    async def _require_fit(self, key: str) -> None:
        found = await self._found(key)
        if found is None or found.soft_deleted:
            raise KeysRevoked
        fit = found.type == _TYPE and found.derived and not found.convergent_encryption
        if not fit or found.exportable or found.allow_plaintext_backup:
            raise KeysUnavailable(_UNFIT, retry_after=60)
        self._looked[key] = self._clock.monotonic()

    async def _found(self, key: str) -> _Key | None:
        self._counted["transit", DESCRIBED] += 1
        answer = await self._exchange("GET", f"keys/{key}", None)
        if answer.status == _NOT_FOUND and not _errors(answer):  # with words it is the mount that is not there
            return None
        return _data(_good(answer), _Key)

    async def _ask(self, method: str, path: str, told: object, answer: type[T]) -> T:
        return _data(_good(await self._exchange(method, path, told)), answer)

    async def _send(self, method: str, path: str, told: object) -> None:
        _good(await self._exchange(method, path, told))

    async def _exchange(self, method: str, path: str, told: object) -> Answer:
        try:
            token = (await asyncio.to_thread(read_secret, self._token)).reveal().decode("ascii")
        except (Misconfigured, UnicodeDecodeError):
            raise KeysUnavailable("The token for the transit engine can't be read from secrets/.") from None
        headers = {"x-vault-token": token, "x-vault-request": "true", "content-type": "application/json"}
        if self._namespace is not None:
            headers["x-vault-namespace"] = self._namespace
        body = b"" if told is None else msgspec.json.encode(told)
        return await self._service.exchange(method, f"/v1/{self._mount}/{path}", headers=headers, body=body)

    def _bound(self, context: Mapping[str, str]) -> dict[str, str]:
        bound = b64encode(encode(self._scope.bound(context))).decode("ascii")
        return {"context": bound, "associated_data": bound}


class TransitKms:
    """A root key in the transit engine."""

    def __init__(self, calls: TransitCalls, *, key: str) -> None:
        """`key` is its name. Connects to nothing yet."""
        self._calls = calls
        self._key = key

    def __repr__(self) -> str:
        """Name the key."""
        return f"<TransitKms {self._key}>"

    async def wrap(self, plain: bytes, *, context: Mapping[str, str]) -> bytes:
        """Return `plain`, 32 bytes, wrapped by the key, bound to `context` and scope."""
        return await self._calls.wrap(plain, key=self._key, context=context)

    async def unwrap(self, blob: bytes, *, context: Mapping[str, str]) -> bytes:
        """Return what was wrapped in this `context` and scope. Raises as `Kms.unwrap` does."""
        return await self._calls.unwrap(blob, key=self._key, context=context)

    def describe(self) -> RootDescription:
        """Return the driver's name, and where the key is."""
        return RootDescription(driver="transit", root=f"transit:{self._calls.mount}/{self._key}")


class TransitEpochKeys:
    """A key of the transit engine for each epoch: `wellkeep-<deployment>-epoch-<n>`."""

    def __init__(self, calls: TransitCalls, *, clock: Clock) -> None:
        """Connect to nothing yet."""
        self._calls = calls
        self._clock = clock

    def __repr__(self) -> str:
        """Name the deployment."""
        return f"<TransitEpochKeys {self._calls.scope.deployment}>"

    async def create(self, epoch: int) -> None:
        """Make the key of `epoch`; one that is there stays."""
        await self._calls.make(self._name(epoch))

    async def wrap(self, plain: bytes, *, epoch: int, context: Mapping[str, str]) -> bytes:
        """Return `plain`, 32 bytes, wrapped by the key of `epoch`, bound to `context` and scope."""
        return await self._calls.wrap(plain, key=self._name(epoch), context=context)

    async def unwrap(self, blob: bytes, *, epoch: int, context: Mapping[str, str]) -> bytes:
        """Return what was wrapped in this epoch, `context` and scope. Raises as `Kms.unwrap` does."""
        return await self._calls.unwrap(blob, key=self._name(epoch), context=context)

    async def destroy(self, epoch: int) -> datetime:
        """Delete the key of `epoch` and return the time after that.

        Snapshots and replicas of the Vault's own storage may hold it on: their keeping is the Vault's owner's.
        """
        await self._calls.delete(self._name(epoch))
        return self._clock.now()

    async def state(self, epoch: int) -> EpochState:
        """Return whether the engine has the key of `epoch`."""
        return EpochState.USABLE if await self._calls.exists(self._name(epoch)) else EpochState.GONE

    def _name(self, epoch: int) -> str:
        return f"wellkeep-{self._calls.scope.deployment}-epoch-{epoch}"


def _ciphertext(blob: bytes) -> str:
    try:
        text = blob.decode("ascii")
    except UnicodeDecodeError:
        text = ""
    if not text.startswith("vault:v") or len(text) > _MOST_BLOB:
        raise IntegrityBroken("A wrapped key is not of the transit engine's form; it has been reported.")
    return text


def _good(answer: Answer) -> Answer:
    """Return the answer where it says yes; else raise what it says."""
    if answer.status in _GOOD:
        return answer
    if answer.status == _FORBIDDEN:
        raise KeysRevoked
    told = " ".join(_errors(answer)).lower()
    if any(words in told for words in _GONE):
        raise KeysRevoked
    if any(words in told for words in _BROKEN):
        raise IntegrityBroken("A wrapped key does not open in its place; it has been reported.")
    raise KeysUnavailable("The transit engine can't do this now: it is sealed, standing by, limited, or not there.")


def _errors(answer: Answer) -> list[str]:
    try:
        return msgspec.json.decode(answer.body, type=_Errors).errors
    except ValueError:
        return [""]  # no answer of the engine's: a gateway's 404 says nothing of a key


def _data(answer: Answer, kind: type[T]) -> T:
    try:
        held = msgspec.json.decode(answer.body, type=dict[str, msgspec.Raw])
        return msgspec.json.decode(held["data"], type=kind)
    except (KeyError, ValueError):
        raise KeysUnavailable(UNREADABLE) from None
