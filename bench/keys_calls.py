"""How often the key service is asked, and how soon a revocation bites: rings over one database, as workers are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from database import Database
from vault.stack import Stack
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import KeysRevoked
from wellkeep.keys.kms import TENANT_PURPOSES, EpochKeys, Kms, OneRoot, RootDescription
from wellkeep.keys.ring import KeyRing
from wellkeep.keys.signals import Signals

_WORKERS = 4
_HOUR = 3_600
_STEP = 5
_PER_HOUR = 12
"""Soft lifetimes in an hour."""
_PATIENCE_SECONDS = 10.0


@dataclass
class _Counting:
    """A root key that counts what it is asked."""

    inner: Kms
    calls: int = 0

    def describe(self) -> RootDescription:
        return self.inner.describe()

    async def wrap(self, plain: bytes, *, context: Mapping[str, str]) -> bytes:
        self.calls += 1
        return await self.inner.wrap(plain, context=context)

    async def unwrap(self, blob: bytes, *, context: Mapping[str, str]) -> bytes:
        self.calls += 1
        return await self.inner.unwrap(blob, context=context)


@dataclass
class _CountingEpochs:
    """Epoch keys that count what they are asked; an epoch's key is a call like the root's."""

    inner: EpochKeys
    calls: int = 0

    async def create(self, epoch: int) -> None:
        await self.inner.create(epoch)

    async def wrap(self, plain: bytes, *, epoch: int, context: Mapping[str, str]) -> bytes:
        self.calls += 1
        return await self.inner.wrap(plain, epoch=epoch, context=context)

    async def unwrap(self, blob: bytes, *, epoch: int, context: Mapping[str, str]) -> bytes:
        self.calls += 1
        return await self.inner.unwrap(blob, epoch=epoch, context=context)

    async def destroy(self, epoch: int) -> datetime:
        return await self.inner.destroy(epoch)

    async def state(self, epoch: int) -> object:
        return await self.inner.state(epoch)


@dataclass
class _SetClock:
    """A clock that stands until it is moved."""

    passed: float = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.passed)

    def seconds(self) -> float:
        return self.now().timestamp()

    def monotonic(self) -> float:
        return self.passed


async def calls_ratio(stack: Stack) -> float:
    """Return calls of one process in an hour of constant use, of tenants x purposes x 12."""
    clock = _SetClock()
    root, epochs = _Counting(stack.keyring._roots.deployment), _CountingEpochs(stack.keyring._epochs)
    ring = KeyRing(stack.pool, OneRoot(root), epochs, stack.findings, clock=clock)  # type: ignore[arg-type]
    tenants = (stack.tenant, stack.other)
    try:
        for _ in range(_HOUR // _STEP):
            for tenant in tenants:
                await ring.load(tenant)
            ring.tend()
            await asyncio.sleep(0.002)
            clock.passed += _STEP
    finally:
        await ring.stop()
    return (root.calls + epochs.calls) / (len(tenants) * len(TENANT_PURPOSES) * _PER_HOUR)


async def revoked_read_seconds(stack: Stack, database: Database) -> float:
    """Return how long after one worker learns of a revocation the last of four refuses the tenant."""
    clock = SystemClock()
    async with AsyncExitStack() as opened:
        rings = []
        for _ in range(_WORKERS):
            pool = await opened.enter_async_context(database.pool("wk_app"))
            ring = KeyRing(pool, stack.keyring._roots, stack.keyring._epochs, stack.findings, clock=clock)
            opened.push_async_callback(ring.stop)
            signals = Signals(pool, ring, clock=clock)
            await signals.start()
            opened.push_async_callback(signals.stop)
            await ring.load(stack.tenant)
            rings.append(ring)
        await asyncio.sleep(1.0)
        begun = time.monotonic()
        async with stack.pool.tenant_transaction(tenant=stack.tenant) as connection:
            await connection.execute("SELECT keys.signal_revoked(true)")
        await asyncio.gather(*(_refused(ring, stack) for ring in rings))
        return time.monotonic() - begun


async def _refused(ring: KeyRing, stack: Stack) -> None:
    end = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < end:
        try:
            await ring.load(stack.tenant)
        except KeysRevoked:
            return
        await asyncio.sleep(0.005)
