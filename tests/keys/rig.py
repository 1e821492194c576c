"""What the tests of the keys room stand on: a KMS with moods, a clock that is set, rings over a real PostgreSQL."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from local_keys import a_root
from wellkeep.base.clock import Clock
from wellkeep.base.errors import KeysRevoked, KeysUnavailable
from wellkeep.db.pool import Pool
from wellkeep.findings.findings import Findings
from wellkeep.gate import receipt as gate_receipt
from wellkeep.gate.receipt import Receipt
from wellkeep.keys.kms import Kms, OneRoot, RootDescription, Roots
from wellkeep.keys.local import LocalEpochKeys, LocalKms
from wellkeep.keys.ring import KeyRing
from wellkeep.keys.ring_states import Lifetimes


@dataclass
class SetClock:
    """A clock that stands until it is moved."""

    passed: float = 0.0
    set_on: float = 0.0
    """What somebody set the wall clock on by; only durations pass by themselves."""

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.passed + self.set_on)

    def seconds(self) -> float:
        return self.now().timestamp()

    def monotonic(self) -> float:
        return self.passed


@dataclass
class CompanyKms:
    """A key management service of somebody else's: real wrapping, and moods."""

    mood: str = "well"
    inner: LocalKms = field(default_factory=a_root)
    calls: int = 0
    met: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    def describe(self) -> RootDescription:
        return self.inner.describe()

    async def wrap(self, plain: bytes, *, context: Mapping[str, str]) -> bytes:
        await self._behave()
        return await self.inner.wrap(plain, context=context)

    async def unwrap(self, blob: bytes, *, context: Mapping[str, str]) -> bytes:
        self.calls += 1
        await self._behave()
        if self.mood == "another-key":
            return os.urandom(32)
        if self.mood == "rubbish":
            return b"<html>"
        if self.mood == "wraps alone":
            raise KeysRevoked
        if self.mood == "in another context":
            context = {**context, "tenant": bytes(16).hex()}
        return await self.inner.unwrap(blob, context=context)

    async def _behave(self) -> None:
        if self.mood == "slow":
            await asyncio.sleep(0.05)
        if self.mood == "held":
            self.met.set()
            await self.let_go.wait()
        if self.mood == "slow by 30 s":
            await asyncio.sleep(30)
        if self.mood == "hanging":
            await asyncio.sleep(3600)
        if self.mood == "gone":
            raise KeysUnavailable
        if self.mood == "throttled":
            raise KeysUnavailable(retry_after=7)
        if self.mood in {"denied", "disabled", "pending deletion"}:
            raise KeysRevoked
        if self.mood == "faulty-driver":
            raise ZeroDivisionError


@dataclass
class OwnRoots:
    """A root for everybody, and for some tenants the one they brought."""

    deployment: Kms
    own: Mapping[UUID, Kms]

    def current(self, tenant: UUID) -> Kms:
        return self.own.get(tenant, self.deployment)

    def named(self, tenant: UUID, root: str) -> Kms:
        found = self.current(tenant)
        if found.describe().root != root:
            raise KeysUnavailable
        return found


@dataclass
class Bench:
    """One process's keys, with what the test turns."""

    ring: KeyRing
    kms: CompanyKms
    clock: SetClock
    findings: Findings
    pool: Pool
    epochs: LocalEpochKeys


LIFETIMES = Lifetimes(kms=60.0)
"""A service that is well is waited for, however slow the machine is; see `impatient` for one that hangs."""


def impatient(ring: KeyRing, *, seconds: float = 0.5) -> None:
    """Have the ring wait for no call longer than this from here on: for services that never answer."""
    ring._lifetimes = replace(ring._lifetimes, kms=seconds)
    ring.calls._seconds = seconds
    for breaker in ring.calls._breakers.values():
        breaker._seconds = seconds


def new_ring(
    bench: Bench,
    *,
    pool: Pool | None = None,
    roots: Roots | None = None,
    clock: Clock | None = None,
    lifetimes: Lifetimes = LIFETIMES,
) -> KeyRing:
    """Return what another process over the same database and KMS would hold."""
    return KeyRing(
        pool or bench.pool,
        roots or OneRoot(bench.kms),
        bench.epochs,
        bench.findings,
        clock=clock or bench.clock,
        lifetimes=lifetimes,
    )


async def under_way(ring: KeyRing) -> None:
    """Let what the ring does in the background come to its end."""
    await asyncio.gather(*ring._loads.values(), return_exceptions=True)
    await ring.news.settled()


def receipt_for(tenant: UUID, *records: UUID) -> Receipt:
    """Return a receipt as the gate mints it: this room's tests begin where the entry is durable."""
    return Receipt(
        gate_receipt._MINT,
        tenant=tenant,
        event_id=uuid4(),
        request=uuid4(),
        resource_id=None,
        records=frozenset(records),
        groups=frozenset({"clinical"}),
    )
