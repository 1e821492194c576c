"""Asking key services: how many calls, how many at once, and none in vain while a service does not answer.

Rules: each root key and each epoch key has a breaker of its own, so that the trouble of one tenant's service, or of one
epoch, is nobody else's. A call ends within its time. After five calls in a row without an answer the key is asked by
one call at a time, after pauses that grow to half a minute; every other call fails at once. A refusal (KeysRevoked) and
a broken blob (IntegrityBroken) are answers. Never more than 16 calls to one key are under way, so that a service that
hangs is not met by every tenant at once. What is counted holds no id: drivers and outcomes alone.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from wellkeep.base.clock import Clock
from wellkeep.base.errors import IntegrityBroken, KeysRevoked, KeysUnavailable
from wellkeep.keys.kms import Kms, RootDescription
from wellkeep.keys.rows import EpochWrapping

_TOLERATED = 5
_AT_ONCE = 16
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
_EPOCHS = "epoch"

_NOT_ASKED = "The key management service has not answered several times; it is asked again shortly."
_NO_ANSWER = "The key management service did not answer in time."
_UNREADABLE = "The key management service gave an answer that its driver could not read."


@dataclass(frozen=True, slots=True)
class BreakerState:
    """How one key's breaker stands: its driver, and whether calls fail at once."""

    driver: str
    open: bool


class Breaker:
    """Lets calls to one key through, or lets one try where the last ones went unanswered."""

    def __init__(self, driver: str, *, clock: Clock, seconds: float, calls: Counter[tuple[str, str]]) -> None:
        """`seconds` is what one call may take; `calls` counts by (driver, outcome)."""
        self.driver = driver
        self._clock = clock
        self._seconds = seconds
        self._calls = calls
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._unanswered = 0
        self._pause = 0.0
        self._retry_at: float | None = None
        self._trying = False

    @property
    def open(self) -> bool:
        """Whether calls fail at once."""
        return self._retry_at is not None

    async def call(self, ask: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return what `ask` returns; KeysUnavailable where it takes too long, fails oddly, or is not asked at all."""
        self._require_due()
        async with self._turns:
            trying = self._require_due()
            self._trying = self._trying or trying
            try:
                return await self._asked(ask, trying=trying)
            finally:
                if trying:
                    self._trying = False

    async def _asked(self, ask: Callable[[], Awaitable[bytes]], *, trying: bool) -> bytes:
        try:
            async with asyncio.timeout(self._seconds):
                answer = await ask()
        except (KeysRevoked, IntegrityBroken) as refusal:
            self._answered("revoked" if isinstance(refusal, KeysRevoked) else "broken")
            raise
        except KeysUnavailable:
            self._failed("unavailable", trying=trying)
            raise
        except TimeoutError:
            self._failed("timeout", trying=trying)
            raise KeysUnavailable(_NO_ANSWER) from None
        except Exception:  # noqa: BLE001 -- a faulty driver neither unlocks nor purges anything, and no text of it passes
            self._failed("unreadable", trying=trying)
            raise KeysUnavailable(_UNREADABLE) from None
        self._answered("answered")
        return answer

    def _require_due(self) -> bool:
        """Return whether this call is the one that tries an open breaker; KeysUnavailable where none is due."""
        if self._retry_at is None:
            return False
        if self._trying or self._clock.monotonic() < self._retry_at:
            raise KeysUnavailable(_NOT_ASKED)
        return True

    def _answered(self, outcome: str) -> None:
        self._calls[self.driver, outcome] += 1
        self._unanswered, self._pause, self._retry_at = 0, 0.0, None

    def _failed(self, outcome: str, *, trying: bool) -> None:
        self._calls[self.driver, outcome] += 1
        self._unanswered += 1
        if trying or (self._retry_at is None and self._unanswered >= _TOLERATED):
            self._pause = min(max(2 * self._pause, _FIRST_PAUSE), _LONGEST_PAUSE)
            jitter = 1 + secrets.randbelow(251) / 1_000
            self._retry_at = self._clock.monotonic() + self._pause * jitter


class KeyCalls:
    """Every call of one process to its key services."""

    def __init__(self, *, clock: Clock, seconds: float) -> None:
        """`seconds` is what one call may take."""
        self._clock = clock
        self._seconds = seconds
        self._counted: Counter[tuple[str, str]] = Counter()
        self._beside: Mapping[tuple[str, str], int] = {}
        self._breakers: dict[str, Breaker] = {}

    @property
    def counts(self) -> Mapping[tuple[str, str], int]:
        """How many calls were made since the process started, by driver and outcome."""
        return {**self._counted, **self._beside}

    def include(self, counted: Mapping[tuple[str, str], int]) -> None:
        """Tell in `counts` also of the calls that drivers make beside those that are asked for: looks at a key."""
        self._beside = counted

    def breakers(self) -> list[BreakerState]:
        """Return how the breaker of each key stands that was asked for yet."""
        return [BreakerState(breaker.driver, breaker.open) for breaker in self._breakers.values()]

    def is_open(self, root: str) -> bool:
        """Say whether the root key of this name has not answered lately, and is not asked by everybody."""
        breaker = self._breakers.get(root)
        return breaker is not None and breaker.open

    def root(self, kms: Kms) -> Kms:
        """Return `kms`, counted and behind its breaker."""
        root = kms.describe()
        return _CountedKms(kms, self._breaker(root.root, root.driver))

    def epochs(self, epochs: EpochWrapping) -> EpochWrapping:
        """Return `epochs`, counted and each epoch behind its breaker."""
        return _CountedEpochs(epochs, lambda epoch: self._breaker(f"{_EPOCHS}:{epoch}", _EPOCHS))

    def _breaker(self, name: str, driver: str) -> Breaker:
        breaker = self._breakers.get(name)
        if breaker is None:
            breaker = Breaker(driver, clock=self._clock, seconds=self._seconds, calls=self._counted)
            self._breakers[name] = breaker
        return breaker


class _CountedKms:
    """A root key behind its breaker."""

    __slots__ = ("_breaker", "_kms")

    def __init__(self, kms: Kms, breaker: Breaker) -> None:
        self._kms = kms
        self._breaker = breaker

    async def wrap(self, plain: bytes, *, context: Mapping[str, str]) -> bytes:
        """Return `plain` wrapped."""
        return await self._breaker.call(lambda: self._kms.wrap(plain, context=context))

    async def unwrap(self, blob: bytes, *, context: Mapping[str, str]) -> bytes:
        """Return what was wrapped."""
        return await self._breaker.call(lambda: self._kms.unwrap(blob, context=context))

    def describe(self) -> RootDescription:
        """Return which root key this is."""
        return self._kms.describe()


class _CountedEpochs:
    """The deployment's epoch keys, each behind its breaker: what rows are wrapped and opened with."""

    __slots__ = ("_breaker", "_epochs")

    def __init__(self, epochs: EpochWrapping, breaker: Callable[[int], Breaker]) -> None:
        """`breaker` returns that of an epoch."""
        self._epochs = epochs
        self._breaker = breaker

    async def wrap(self, plain: bytes, *, epoch: int, context: Mapping[str, str]) -> bytes:
        """Return `plain` wrapped under the key of `epoch`."""
        return await self._breaker(epoch).call(lambda: self._epochs.wrap(plain, epoch=epoch, context=context))

    async def unwrap(self, blob: bytes, *, epoch: int, context: Mapping[str, str]) -> bytes:
        """Return what was wrapped under the key of `epoch`."""
        return await self._breaker(epoch).call(lambda: self._epochs.unwrap(blob, epoch=epoch, context=context))
