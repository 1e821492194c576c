"""What the tests of the keys room stand on: a KMS with moods, a clock that is set, rings over a real PostgreSQL."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from wellkeep.base.errors import KeysRevoked, KeysUnavailable
from wellkeep.base.secrets import Secret
from wellkeep.db.pool import Pool
from wellkeep.findings.findings import Findings
from wellkeep.gate import receipt as gate_receipt
from wellkeep.gate.receipt import Receipt
from wellkeep.keys.kms import RootDescription
from wellkeep.keys.local import LocalEpochKeys, LocalKms
from wellkeep.keys.ring import KeyRing, Lifetimes


@dataclass
class SetClock:
    """A clock that stands until it is moved."""

    passed: float = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.passed)

    def seconds(self) -> float:
        return self.now().timestamp()

    def monotonic(self) -> float:
        return self.passed


@dataclass
class CompanyKms:
    """A key management service of somebody else's: real wrapping, and moods."""

    mood: str = "well"
    inner: LocalKms = field(default_factory=lambda: LocalKms(Secret(os.urandom(32))))
    calls: int = 0

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
        return await self.inner.unwrap(blob, context=context)

    async def _behave(self) -> None:
        if self.mood == "slow":
            await asyncio.sleep(0.05)
        if self.mood == "hanging":
            await asyncio.sleep(3600)
        if self.mood == "gone":
            raise KeysUnavailable
        if self.mood == "denied":
            raise KeysRevoked
        if self.mood == "faulty-driver":
            raise ZeroDivisionError


@dataclass
class Bench:
    """One process's keys, with what the test turns."""

    ring: KeyRing
    kms: CompanyKms
    clock: SetClock
    findings: Findings
    pool: Pool
    epochs: LocalEpochKeys


LIFETIMES = Lifetimes(kms=0.5)


def new_ring(bench: Bench, *, pool: Pool | None = None) -> KeyRing:
    """Return what another process over the same database and KMS would hold."""
    return KeyRing(pool or bench.pool, bench.kms, bench.epochs, bench.findings, clock=bench.clock, lifetimes=LIFETIMES)


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
