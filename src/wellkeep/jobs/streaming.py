"""The sinks of one server process, beside its jobs: no queue hands them out, for a stream never ends.

Rule: they have connections of their own, so that a slow look at the ledger never takes the writer's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from wellkeep.assembly.core import Core
from wellkeep.assembly.database import Database
from wellkeep.assembly.home import Home
from wellkeep.db.pool import Limits, Pool
from wellkeep.ledger.sinks.streams import Streams

_CONNECTIONS = 2


@asynccontextmanager
async def streaming(core: Core, database: Database, home: Home) -> AsyncIterator[None]:
    """Deliver the ledger to the sinks of the settings until the end of the block; without sinks nothing is opened."""
    settings = core.settings
    if not settings.ledger.sinks:
        yield
        return
    limits = Limits(min_size=1, max_size=_CONNECTIONS)
    async with Pool(database.endpoint("wk_ledger"), context_key=None, clock=core.clock, limits=limits) as pool:
        streams = Streams(
            settings.ledger.sinks,
            pool=pool,
            egress=core.egress,
            home=home.path,
            host=settings.host,
            clock=core.clock,
            reporter=core.findings,
        )
        await streams.start()
        try:
            yield
        finally:
            await streams.stop()
