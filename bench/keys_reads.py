"""A load of reads beside which keys rotate: how long each took, and how many failed."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from vault.stack import Stack
from wellkeep.base.errors import WellkeepError

_CALLERS = 8
_THINKING_SECONDS = 0.02


@dataclass
class Reads:
    """What became of the reads so far."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0

    @property
    def p99(self) -> float:
        """Return the 99th percentile in seconds."""
        taken = sorted(self.seconds)
        return taken[int(len(taken) * 0.99)] if taken else 0.0


@asynccontextmanager
async def reading(stack: Stack, collection: str, records: Sequence[UUID]) -> AsyncIterator[Reads]:
    """Read records at random, eight at a time, each caller with a pause of 20 ms, for the length of the block."""
    reads, done = Reads(), asyncio.Event()

    async def one(seed: int) -> None:
        chance, caller = random.Random(seed), stack.integration  # noqa: S311 - which record is read is no secret
        while not done.is_set():
            begun = time.perf_counter()
            try:
                await stack.vault.records.read(caller, collection, chance.choice(records))
            except WellkeepError:
                reads.failed += 1
            reads.seconds.append(time.perf_counter() - begun)
            await asyncio.sleep(_THINKING_SECONDS)

    callers = [asyncio.create_task(one(seed)) for seed in range(_CALLERS)]
    try:
        yield reads
    finally:
        done.set()
        await asyncio.gather(*callers)
