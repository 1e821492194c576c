"""AWS KMS: the root key, and a key of its own for each epoch.

Rules: what is wrapped is bound to all five names by the encryption context. KMS judges each call by itself; beside
that, the key is described when it is used and at most once a minute, and one that is disabled, or waits for its
deletion, counts as revoked whatever Encrypt and Decrypt still answer: they may lag behind, and a stand-in may not look.
Where the policy does not let us describe it, KMS's own word on each call stands alone. An epoch's key is found by its
alias, and is ours only if its description says whose and which epoch's: an alias can be pointed elsewhere, and what a
key wraps that no roll destroys would never be erased.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime

from wellkeep.base.clock import Clock
from wellkeep.base.errors import IntegrityBroken, KeysRevoked, KeysUnavailable
from wellkeep.keys.aws_calls import (
    ACCESS_DENIED,
    EXISTS,
    INVALID_STATE,
    NOT_FOUND,
    AwsCalls,
    AwsRefused,
    Described,
    Metadata,
    require_fit,
    told_apart,
)
from wellkeep.keys.kms import EpochState, RootDescription
from wellkeep.keys.scope import Scope

_LOOK_SECONDS = 60.0
_PENDING = frozenset({"PendingDeletion", "PendingReplicaDeletion"})
_TRIES = 8
_PAUSE_SECONDS = 0.5
_LEAST_DAYS = 7


class AwsKms:
    """A root key in AWS KMS."""

    def __init__(self, calls: AwsCalls, *, arn: str, scope: Scope, clock: Clock) -> None:
        """`arn` is the key's own, no alias's. Connects to nothing yet."""
        self._calls = calls
        self._arn = arn
        self._scope = scope
        self._clock = clock
        self._looked = float("-inf")
        self._looking = asyncio.Lock()

    def __repr__(self) -> str:
        """Name the key."""
        return f"<AwsKms {self._arn}>"

    async def wrap(self, plain: bytes, *, context: Mapping[str, str]) -> bytes:
        """Return `plain`, 32 bytes, wrapped by the key, bound to `context` and scope."""
        bound = self._scope.bound(context)
        await self._look()
        return await self._calls.encrypt(plain, arn=self._arn, context=bound)

    async def unwrap(self, blob: bytes, *, context: Mapping[str, str]) -> bytes:
        """Return what was wrapped in this `context` and scope. Raises as `Kms.unwrap` does."""
        bound = self._scope.bound(context)
        await self._look()
        return await self._calls.decrypt(blob, arn=self._arn, context=bound)

    def describe(self) -> RootDescription:
        """Return the driver's name and the key's ARN."""
        return RootDescription(driver="aws", root=f"aws:{self._arn}")

    async def _look(self) -> None:
        async with self._looking:
            if self._clock.monotonic() >= self._looked + _LOOK_SECONDS:
                with told_apart():
                    await self._require_fit()
                self._looked = self._clock.monotonic()

    async def _require_fit(self) -> None:
        try:
            found = await self._calls.describe(self._arn)
        except AwsRefused as refused:
            if refused.name != ACCESS_DENIED:
                raise
            return
        require_fit(found)
        if found.arn != self._arn:
            raise IntegrityBroken("AWS KMS describes another key than the one that was asked for.")


class AwsEpochKeys:
    """A KMS key for each epoch, by the alias `alias/wellkeep-<deployment>-epoch-<n>`."""

    def __init__(self, calls: AwsCalls, *, scope: Scope, wait_days: int, clock: Clock) -> None:
        """`wait_days` (7 to 30) is how long AWS keeps a key that is to be destroyed. Connects to nothing yet."""
        self._calls = calls
        self._scope = scope
        self._wait_days = wait_days
        self._clock = clock
        self._looked: dict[int, tuple[str, float]] = {}
        self._looking = asyncio.Lock()

    def __repr__(self) -> str:
        """Name the deployment."""
        return f"<AwsEpochKeys {self._scope.deployment}>"

    async def create(self, epoch: int) -> None:
        """Make the key of `epoch` and its alias, and wait until AWS knows it everywhere; one that is there stays.

        A crash between the two leaves a key without an alias: it wraps nothing, and AWS bills it until it is deleted.
        """
        with told_apart():
            if await self._find(epoch) is None:
                await self._make(epoch)
            for _ in range(_TRIES):
                found = await self._find(epoch)
                if found is not None:
                    require_fit(found)
                    return
                await asyncio.sleep(_PAUSE_SECONDS)
        raise KeysUnavailable("AWS KMS does not know a key that it has just made. Try again.")

    async def wrap(self, plain: bytes, *, epoch: int, context: Mapping[str, str]) -> bytes:
        """Return `plain`, 32 bytes, wrapped by the key of `epoch`, bound to `context` and scope."""
        bound = self._scope.bound(context)
        return await self._calls.encrypt(plain, arn=await self._arn(epoch), context=bound)

    async def unwrap(self, blob: bytes, *, epoch: int, context: Mapping[str, str]) -> bytes:
        """Return what was wrapped in this epoch, `context` and scope. Raises as `Kms.unwrap` does."""
        bound = self._scope.bound(context)
        return await self._calls.decrypt(blob, arn=await self._arn(epoch), context=bound)

    async def destroy(self, epoch: int) -> datetime:
        """Schedule the deletion of the key of `epoch`, and return its date; from now on nothing is opened under it.

        Until that date whoever administers the AWS account can cancel it: `state` says whether they did.
        """
        self._looked.pop(epoch, None)
        with told_apart():
            found = await self._find(epoch)
            if found is None:
                return self._clock.now()
            if found.key_state in _PENDING:
                return found.destroyed_at
            told = {"KeyId": _id(found.arn), "PendingWindowInDays": self._wait_days}
            try:
                await self._calls.do("ScheduleKeyDeletion", told)
            except AwsRefused as refused:
                if refused.name != INVALID_STATE:  # a twin was quicker
                    raise
            found = await self._find(epoch)
        if found is None:
            return self._clock.now()
        if found.key_state not in _PENDING:
            raise KeysUnavailable("AWS KMS has not scheduled the deletion of an epoch's key. Try again.")
        return found.destroyed_at

    async def state(self, epoch: int) -> EpochState:
        """Return how the key of `epoch` stands; a disabled one is pending: it opens nothing and is not gone."""
        with told_apart():
            found = await self._find(epoch)
        if found is None:
            return EpochState.GONE
        return EpochState.USABLE if found.key_state == "Enabled" else EpochState.PENDING

    async def _arn(self, epoch: int) -> str:
        """Return the ARN of the key of `epoch`, which was looked at within a minute."""
        async with self._looking:
            held = self._looked.get(epoch)
            if held is not None and self._clock.monotonic() < held[1]:
                return held[0]
            with told_apart():
                found = await self._find(epoch)
            if found is None:
                raise KeysRevoked
            require_fit(found)
            self._looked[epoch] = (found.arn, self._clock.monotonic() + _LOOK_SECONDS)
            return found.arn

    async def _find(self, epoch: int) -> Metadata | None:
        """Return what there is to say of the key of `epoch`, None where there is none. Raises AwsRefused."""
        try:
            found = await self._calls.describe(self._alias(epoch))
        except AwsRefused as refused:
            if refused.name == NOT_FOUND:
                return None
            raise
        if found.description != self._description(epoch):
            raise IntegrityBroken("An epoch's alias in AWS KMS points to a key that is not this epoch's.")
        return found

    async def _make(self, epoch: int) -> None:
        described = {"Description": self._description(epoch), "KeyUsage": "ENCRYPT_DECRYPT"}
        made = (await self._calls.ask("CreateKey", described, Described)).key_metadata.arn
        alias = {"AliasName": self._alias(epoch), "TargetKeyId": _id(made)}
        try:
            await self._calls.do("CreateAlias", alias)
        except AwsRefused as refused:
            told = {"KeyId": _id(made), "PendingWindowInDays": _LEAST_DAYS}
            await self._calls.do("ScheduleKeyDeletion", told)
            if refused.name != EXISTS:  # a twin was quicker, and its key is the epoch's
                raise

    def _alias(self, epoch: int) -> str:
        return f"alias/wellkeep-{self._scope.deployment}-epoch-{epoch}"

    def _description(self, epoch: int) -> str:
        return f"wellkeep {self._scope.deployment} {self._scope.environment} epoch {epoch}"


def _id(arn: str) -> str:
    return arn.rpartition("/")[2]
