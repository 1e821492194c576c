"""Processes that count together, as far as a limit sees them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID

from wellkeep.access.limits import HOUR, Counts
from wellkeep.access.redis_line import RedisLine
from wellkeep.assembly.egress_denials import HeldDenials
from wellkeep.base.clock import SystemClock
from wellkeep.base.ids import uuid7
from wellkeep.base.secrets import Secret
from wellkeep.base.settings import Place
from wellkeep.egress.egress import Egress

DEPLOYMENT = uuid7()


def way_out(port: int) -> Egress:
    place = Place(name="redis", host="127.0.0.1", ports=(port,), networks=("127.0.0.1/32",), clear=True)
    return Egress(places=[place], denials=HeldDenials())


class Worker:
    """Counts of one process over a line of its own."""

    def __init__(self, port: int, *, workers: int = 2, password: bytes | None = None) -> None:
        self.told: list[bool] = []
        secret = None if password is None else Secret(password)
        self.line = RedisLine(way_out(port), "redis", password=lambda: secret, changed=self.told.append)
        self.counts = Counts(deployment=DEPLOYMENT, clock=SystemClock(), line=self.line)
        self.counts.workers = workers

    async def through(self, who: UUID, times: int, *, limit: int) -> int:
        taken = [self.counts.take("key", who, weight=1, limit=limit, seconds=HOUR) for _ in range(times)]
        return sum([one.ok for one in await asyncio.gather(*taken)])


@asynccontextmanager
async def working(port: int, count: int = 2, *, password: bytes | None = None) -> AsyncIterator[list[Worker]]:
    async with AsyncExitStack() as stack:
        made = [Worker(port, workers=count, password=password) for _ in range(count)]
        for worker in made:
            await worker.line.start()
            stack.push_async_callback(worker.line.stop)
        yield made
