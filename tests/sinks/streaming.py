"""Streams on a test's database, quick ones; and waiting for what they do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

from database import Database
from egress.outside import Noted, way_out
from ledger.making import HOST, Reports, prepared, writing
from wellkeep.base.clock import Clock, SystemClock
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.sink_settings import SinkSettings
from wellkeep.db.pool import Limits
from wellkeep.egress.dialling import Limits as EgressLimits
from wellkeep.egress.egress import Egress
from wellkeep.ledger.seal import origin
from wellkeep.ledger.sinks.stream import Pace
from wellkeep.ledger.sinks.streams import Streams

PACE = Pace(
    look=0.05,
    wait=0.1,
    hold=1.5,
    keep=0.3,
    send=1.5,
    first_pause=0.05,
    longest_pause=0.2,
    measure=0.05,
    failing=0.4,
)
OUT = EgressLimits(resolve=0.5, connect=1.0, read=1.0, total=1.5)


def log(tenant: UUID, epoch: int = 1) -> str:
    """Return the origin of a tenant's log in these tests."""
    return origin(HOST, tenant, epoch)


ROOT = log(PLATFORM_TENANT)


@asynccontextmanager
async def streaming(
    database: Database,
    *sinks: SinkSettings,
    home: Path,
    egress: Egress | None = None,
    reports: Reports | None = None,
    clock: Clock | None = None,
    pace: Pace = PACE,
) -> AsyncIterator[Streams]:
    """Deliver to `sinks` until the end of the block."""
    async with database.pool("wk_ledger", limits=Limits(max_size=2, command_seconds=5.0)) as pool:
        streams = Streams(
            sinks,
            pool=pool,
            egress=egress or way_out(Noted()),
            home=home,
            host=HOST,
            clock=clock or SystemClock(),
            reporter=reports if reports is not None else Reports(),
            pace=pace,
        )
        await streams.start()
        try:
            yield streams
        finally:
            await streams.stop()


async def fill(database: Database, tenant: UUID, count: int) -> int:
    """Append `count` events to the log of `tenant`; return how many entries it has then."""
    async with writing(database) as writer:
        places = await writer.append(tenant, prepared(count))
    return places[-1].seq + 1


async def until(holds: Callable[[], object] | Callable[[], Awaitable[object]], *, seconds: float = 20.0) -> None:
    """Wait until `holds` is true."""
    async with asyncio.timeout(seconds):
        while True:
            found = holds()
            if isinstance(found, Awaitable):
                found = await found
            if found:
                return
            await asyncio.sleep(0.02)
