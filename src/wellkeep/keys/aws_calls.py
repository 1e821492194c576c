"""Calls of AWS KMS over HTTP: signed, bounded, their answers decoded and their refusals told apart by name.

Rules: a key is named by its ARN in every call, also to decrypt, whatever the blob says; the answer's own `KeyId` must
be that ARN. A refusal that says no for this key is KeysRevoked; one that says that the blob is not what was wrapped is
IntegrityBroken; all else, wrong or expired credentials of ours among it, is KeysUnavailable, since it says nothing of
the key. The threat is a service, or somebody in its place, that answers with another key, or with rubbish.

Source: the AWS KMS API reference (2014-11-01), JSON 1.1 protocol.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol, TypeVar

import msgspec

from wellkeep.base.clock import Clock
from wellkeep.base.errors import IntegrityBroken, KeysRevoked, KeysUnavailable
from wellkeep.egress import sigv4
from wellkeep.egress.sigv4 import Credentials
from wellkeep.keys.calling import DESCRIBED, UNREADABLE, Answer, Counted, Service

_OK = 200
_KEY_SIZE = 32
_MOST_BLOB = 6_144
ACCESS_DENIED = "AccessDeniedException"
DISABLED = "DisabledException"
EXISTS = "AlreadyExistsException"
INVALID_STATE = "KMSInvalidStateException"
NOT_FOUND = "NotFoundException"
_REVOKED = frozenset({ACCESS_DENIED, DISABLED, INVALID_STATE, NOT_FOUND})
_BROKEN = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})

T = TypeVar("T")


class Identity(Protocol):
    """Who signs."""

    async def credentials(self) -> Credentials:
        """Return what requests are signed with now. Raises KeysUnavailable."""
        ...


class AwsRefused(Exception):
    """AWS answered with an error; `name` is its type. It does not leave the drivers."""

    def __init__(self, name: str) -> None:
        """`name` is as the API reference has it, such as DisabledException."""
        super().__init__(name)
        self.name = name


class Metadata(msgspec.Struct, frozen=True, rename="pascal"):
    """What DescribeKey says of a key."""

    arn: str
    key_state: str
    key_usage: str
    key_spec: str = "SYMMETRIC_DEFAULT"
    description: str = ""
    deletion_date: float | None = None

    @property
    def destroyed_at(self) -> datetime:
        """From when on the key is no more, where that was scheduled. Raises KeysUnavailable where it is not said."""
        if self.deletion_date is None:
            raise KeysUnavailable(UNREADABLE)
        try:
            return datetime.fromtimestamp(self.deletion_date, UTC)
        except (OverflowError, ValueError, OSError):  # no date of any calendar
            raise KeysUnavailable(UNREADABLE) from None


class Described(msgspec.Struct, frozen=True, rename="pascal"):
    """The answer of DescribeKey and CreateKey."""

    key_metadata: Metadata


class _Encrypted(msgspec.Struct, frozen=True, rename="pascal"):
    key_id: str
    ciphertext_blob: bytes


class _Decrypted(msgspec.Struct, frozen=True, rename="pascal"):
    key_id: str
    plaintext: bytes


class _Refusal(msgspec.Struct, frozen=True):
    type: str = msgspec.field(name="__type", default="")


class AwsCalls:
    """One region's KMS, as one identity calls it."""

    def __init__(
        self, service: Service, *, region: str, identity: Identity, clock: Clock, counted: Counted | None = None
    ) -> None:
        """Connect to nothing yet; `counted` is told of each look at a key."""
        self._service = service
        self._region = region
        self._identity = identity
        self._clock = clock
        self._counted = Counted() if counted is None else counted

    async def ask(self, action: str, told: Mapping[str, object], answer: type[T]) -> T:
        """Call `action` and return its answer. Raises KeysUnavailable, and AwsRefused with what AWS says."""
        got = await self._called(action, told)
        try:
            return msgspec.json.decode(got.body, type=answer)
        except ValueError:
            raise KeysUnavailable(UNREADABLE) from None

    async def do(self, action: str, told: Mapping[str, object]) -> None:
        """Call `action`, whose answer says nothing. Raises as `ask` does."""
        await self._called(action, told)

    async def _called(self, action: str, told: Mapping[str, object]) -> Answer:
        body = msgspec.json.encode(told)
        headers = sigv4.signed(
            await self._identity.credentials(),
            method="POST",
            authority=self._service.authority,
            path="/",
            query=(),
            headers={"content-type": "application/x-amz-json-1.1", "x-amz-target": f"TrentService.{action}"},
            body=body,
            region=self._region,
            service="kms",
            now=self._clock.now(),
        )
        got = await self._service.exchange("POST", "/", headers=headers, body=body)
        if got.status != _OK:
            raise AwsRefused(_named(got))
        return got

    async def encrypt(self, plain: bytes, *, arn: str, context: Mapping[str, str]) -> bytes:
        """Return `plain`, 32 bytes, encrypted by the key `arn` in `context`. Raises as `Kms` does."""
        if len(plain) != _KEY_SIZE:
            raise ValueError("a key has 32 bytes")
        told = {"KeyId": arn, "Plaintext": plain, "EncryptionContext": context}
        with told_apart():
            got = await self.ask("Encrypt", told, _Encrypted)
        if got.key_id != arn or not 0 < len(got.ciphertext_blob) <= _MOST_BLOB or plain in got.ciphertext_blob:
            raise KeysUnavailable(UNREADABLE)
        return got.ciphertext_blob

    async def decrypt(self, blob: bytes, *, arn: str, context: Mapping[str, str]) -> bytes:
        """Return the 32 bytes that the key `arn` encrypted in `context`. Raises as `Kms` does."""
        if not 0 < len(blob) <= _MOST_BLOB:
            raise IntegrityBroken("A wrapped key is not as long as one can be; it has been reported.")
        told = {"KeyId": arn, "CiphertextBlob": blob, "EncryptionContext": context}
        with told_apart():
            got = await self.ask("Decrypt", told, _Decrypted)
        if got.key_id != arn:
            raise IntegrityBroken("The key management service opened a wrapped key with another key than ours.")
        if len(got.plaintext) != _KEY_SIZE:
            raise IntegrityBroken("The key management service answered with what is no key of 32 bytes.")
        return got.plaintext

    async def describe(self, key: str) -> Metadata:
        """Return what there is to say of a key, by ARN or alias. Raises KeysUnavailable, AwsRefused."""
        self._counted["aws", DESCRIBED] += 1
        return (await self.ask("DescribeKey", {"KeyId": key}, Described)).key_metadata


@contextmanager
def told_apart() -> Iterator[None]:
    """Turn what AWS refused into one of the three errors of a driver."""
    try:
        yield
    except AwsRefused as refused:
        if refused.name in _REVOKED:
            raise KeysRevoked from None
        if refused.name in _BROKEN:
            raise IntegrityBroken("A wrapped key does not open in its place; it has been reported.") from None
        raise KeysUnavailable("AWS KMS can't do this now, or refuses this deployment's credentials.") from None


def require_fit(found: Metadata) -> None:
    """Raise KeysRevoked unless a key is enabled and made to encrypt."""
    fit = (found.key_state, found.key_usage, found.key_spec) == ("Enabled", "ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT")
    if not fit:
        raise KeysRevoked


def _named(answer: Answer) -> str:
    try:
        name = msgspec.json.decode(answer.body, type=_Refusal).type
    except ValueError:
        name = ""
    name = name or answer.headers.get("x-amzn-errortype", "")
    return name.rpartition("#")[2].partition(":")[0][:64]
