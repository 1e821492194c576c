"""Each second: who is logged in to the database past the application, and what commands could not enter themselves.

Rule: nothing ends the watch but the process; what goes wrong is in the log once, by its kind, and it goes on. That
nobody can look is a finding, unless the database or the ledger is away: whoever needs them tells of that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog

from wellkeep.assembly.core import Core
from wellkeep.assembly.database import Database
from wellkeep.assembly.home import Home
from wellkeep.assembly.journal import Journal
from wellkeep.assembly.session_watch import SessionWatch
from wellkeep.base.errors import Unavailable
from wellkeep.db.connection_log import ConnectionLog
from wellkeep.db.pool import Limits, Pool

LOOK_SECONDS: Final = 1.0
JOURNAL_SECONDS: Final = 5.0
"""What is younger is being entered by the command that wrote it."""

_log = structlog.get_logger("wellkeep.watch")


@asynccontextmanager
async def watching(core: Core, database: Database, home: Home) -> AsyncIterator[None]:
    """Watch beside the block, over a connection of its own."""
    limits = Limits(min_size=1, max_size=1)
    log = None if database.embedded is None else ConnectionLog(database.embedded.data)
    async with Pool(database.endpoint("wk_jobs"), context_key=None, clock=core.clock, limits=limits) as jobs:
        watch = SessionWatch(core=core, jobs=jobs, log=log)
        task = asyncio.create_task(_watch(watch, Journal(home.path), core), name="session-watch")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _watch(watch: SessionWatch, journal: Journal, core: Core) -> None:
    wrong = ""
    while True:
        try:
            if await watch.look():
                await journal.enter(core, older_than=JOURNAL_SECONDS)
            wrong = ""
        except Exception as error:  # noqa: BLE001 -- logged by its kind; a watch that ended would see nothing any more
            if not isinstance(error, Unavailable):
                watch.blind()
            if wrong != (wrong := type(error).__name__):
                _log.warning("watch.failed", kind=wrong)
        await asyncio.sleep(LOOK_SECONDS)
