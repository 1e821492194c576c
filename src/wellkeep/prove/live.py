"""The live deployment: served already, or served for the length of the run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from wellkeep.assembly.home import Home
from wellkeep.prove.server import ServerProcess
from wellkeep.prove.stage import Stage
from wellkeep.prove.tenants import prepared


@asynccontextmanager
async def live(home: Home) -> AsyncIterator[Stage]:
    """Lend the deployment in `home` with its two synthetic tenants; a server that we started is stopped again.

    Raises Unseen where none answers and none can be started.
    """
    stage = Stage(home)
    server = ServerProcess(home.path, f"{stage.public_url}/healthz")
    started = not await server.answers()
    if started:
        await server.start()
    try:
        async with stage, prepared(stage) as (stage.operator, stage.a, stage.b):
            yield stage
    finally:
        if started:
            await asyncio.to_thread(server.stop)
