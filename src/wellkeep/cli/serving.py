"""What one server process runs: the services for requests, and a worker for jobs beside them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import structlog

from wellkeep.assembly.announcing import announcing, server_itself
from wellkeep.assembly.database import Database
from wellkeep.assembly.definitions import announce
from wellkeep.assembly.home import Home
from wellkeep.assembly.runtime import Runtime, open_runtime
from wellkeep.db.connection import Connection
from wellkeep.db.pool import Limits, Pool
from wellkeep.db.queue import QueueBook
from wellkeep.jobs import anchoring, verification
from wellkeep.jobs import ledger as ledger_jobs
from wellkeep.jobs.anchoring import AnchoringJob
from wellkeep.jobs.handlers import Handler
from wellkeep.jobs.housekeeping import PERIODIC, Housekeeping
from wellkeep.jobs.ledger import LedgerJobs
from wellkeep.jobs.streaming import streaming
from wellkeep.jobs.verification import Verification
from wellkeep.jobs.watching import watching
from wellkeep.jobs.worker import Worker
from wellkeep.vault import exports_table, imports_table
from wellkeep.vault.exports_run import ExportRunner
from wellkeep.vault.imports_run import ImportRunner

_JOB_CONNECTIONS = 3
_CONNECT_SECONDS = 5.0

_log = structlog.get_logger("wellkeep.jobs")


@asynccontextmanager
async def worker_runtime(home: Path) -> AsyncIterator[Runtime]:
    """Lend the runtime of one server process, with its worker; the database runs already."""
    where = Home(home)
    settings = where.settings()
    database = Database(where, settings)
    database.start()
    async with open_runtime(where, settings, database) as runtime:
        await announce(runtime.core)
        database.announce = announcing(runtime.core, server_itself)
        async with (
            streaming(runtime.core, database, where),
            watching(runtime.core, database, where),
            _working(runtime, database),
        ):
            yield runtime


@asynccontextmanager
async def _working(runtime: Runtime, database: Database) -> AsyncIterator[None]:
    core, context = runtime.core, runtime.vault_context
    endpoint = database.endpoint("wk_jobs")

    async def connect() -> Connection:
        made: Connection = await asyncpg.connect(**endpoint.arguments(), timeout=_CONNECT_SECONDS)
        return made

    limits = Limits(min_size=1, max_size=_JOB_CONNECTIONS)
    async with Pool(endpoint, context_key=None, clock=core.clock, limits=limits) as jobs:
        book = QueueBook(jobs)
        house = Housekeeping(
            app=core.app, jobs=jobs, book=book, drain_outbox=core.writer.drain_outbox, replay=runtime.replay
        )
        imports, exports = ImportRunner(context=context, pool=core.app), ExportRunner(context=context, pool=core.app)
        handlers: dict[str, Handler] = {
            **house.handlers(),
            **LedgerJobs(core).handlers(),
            **AnchoringJob(core.anchoring).handlers(),
            **Verification(core, database).handlers(),
            imports_table.JOB_KIND: imports,
            exports_table.JOB_KIND: exports,
        }
        worker = Worker(
            connect=connect,
            book=book,
            handlers=handlers,
            give_up={imports_table.JOB_KIND: imports.give_up, exports_table.JOB_KIND: exports.give_up},
            periodic=(*PERIODIC, *ledger_jobs.PERIODIC, *anchoring.PERIODIC, *verification.PERIODIC),
            report=_report,
        )
        await worker.start()
        try:
            yield
        finally:
            await worker.stop()


def _report(what: str, error: str) -> None:
    """Say in the log that a job failed: its kind and a code, never a text."""
    _log.warning("job_failed", kind=what, error=error)
