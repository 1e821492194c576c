"""What one server process runs: the services for requests, and a worker for jobs beside them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import asyncpg
import structlog

from wellkeep.assembly.announcing import announcing, server_itself
from wellkeep.assembly.core import Core
from wellkeep.assembly.database import Database
from wellkeep.assembly.definitions import announce
from wellkeep.assembly.home import Home
from wellkeep.assembly.key_rotations import JOB as ROTATE
from wellkeep.assembly.limiting import counting_together
from wellkeep.assembly.runtime import Runtime, open_runtime
from wellkeep.base.settings import Settings
from wellkeep.db.connection import Connection
from wellkeep.db.pool import Limits, Pool
from wellkeep.db.queue import QueueBook
from wellkeep.jobs import anchoring, index_leaks, proving, reviews, rotation, verification
from wellkeep.jobs import erasure as erasure_jobs
from wellkeep.jobs import ledger as ledger_jobs
from wellkeep.jobs.anchoring import AnchoringJob
from wellkeep.jobs.erasure import ErasureJobs
from wellkeep.jobs.handlers import GiveUp, Handler
from wellkeep.jobs.housekeeping import PERIODIC, Housekeeping
from wellkeep.jobs.index_leaks import IndexLeaks
from wellkeep.jobs.ledger import LedgerJobs
from wellkeep.jobs.mail import MailJobs
from wellkeep.jobs.proving import Proving
from wellkeep.jobs.resealing import ResealingJob
from wellkeep.jobs.reviews import ReviewJobs
from wellkeep.jobs.rotation import RotationJobs
from wellkeep.jobs.streaming import streaming
from wellkeep.jobs.verification import Verification
from wellkeep.jobs.watching import watching
from wellkeep.jobs.worker import Worker
from wellkeep.prove.claims import load_claims
from wellkeep.prove.standing import published
from wellkeep.vault import exports_table, imports_table
from wellkeep.vault.exports_run import ExportRunner
from wellkeep.vault.imports_run import ImportRunner
from wellkeep.vault.resealing import JOB as RESEAL

_PERIODIC = (
    *PERIODIC,
    *ledger_jobs.PERIODIC,
    *anchoring.PERIODIC,
    *verification.PERIODIC,
    *index_leaks.PERIODIC,
    *erasure_jobs.PERIODIC,
    *rotation.PERIODIC,
    *reviews.PERIODIC,
    *proving.PERIODIC,
)
_JOB_CONNECTIONS = 3
_CONNECT_SECONDS = 5.0

_log = structlog.get_logger("wellkeep.jobs")


def check_published(settings: Settings) -> None:
    """Raise Misconfigured where the trust page is to publish what is no claim, or family of claims."""
    published(load_claims(), settings.trust.claims)


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
            _counting(runtime.core, where, settings),
            _working(runtime, database, where),
        ):
            yield runtime


def _counting(core: Core, home: Home, settings: Settings) -> AbstractAsyncContextManager[None]:
    return counting_together(
        core.limiting, home, settings, egress=core.egress, findings=core.findings, clock=core.clock
    )


@asynccontextmanager
async def _working(runtime: Runtime, database: Database, home: Home) -> AsyncIterator[None]:
    core = runtime.core
    endpoint = database.endpoint("wk_jobs")

    async def connect() -> Connection:
        made: Connection = await asyncpg.connect(**endpoint.arguments(), timeout=_CONNECT_SECONDS)
        return made

    limits = Limits(min_size=1, max_size=_JOB_CONNECTIONS)
    async with Pool(endpoint, context_key=None, clock=core.clock, limits=limits) as jobs:
        book = QueueBook(jobs)
        handlers, give_up = _handlers(runtime, database, jobs=jobs, book=book)
        mails = MailJobs(core, home)
        handlers |= Proving(core, runtime.publishing, home.path).handlers()
        worker = Worker(
            connect=connect,
            book=book,
            handlers=handlers | mails.handlers(),
            give_up=give_up | mails.give_up(),
            periodic=_PERIODIC,
            report=_report,
        )
        await worker.start()
        try:
            yield
        finally:
            await worker.stop()


def _handlers(
    runtime: Runtime, database: Database, *, jobs: Pool, book: QueueBook
) -> tuple[dict[str, Handler], dict[str, GiveUp]]:
    """Return what works each kind of job off, and whom to tell of one that is held."""
    core, context = runtime.core, runtime.vault_context
    house = Housekeeping(
        app=core.app, jobs=jobs, book=book, drain_outbox=core.writer.drain_outbox, replay=runtime.replay
    )
    imports, exports = ImportRunner(context=context, pool=core.app), ExportRunner(context=context, pool=core.app)
    resealing = ResealingJob(runtime.key_rotations.resealing)
    rotations = RotationJobs(core, runtime.key_rotations)
    handlers: dict[str, Handler] = {
        **house.handlers(),
        **LedgerJobs(core).handlers(),
        **AnchoringJob(core.anchoring).handlers(),
        **Verification(core, database).handlers(),
        **IndexLeaks(core).handlers(),
        **ErasureJobs(core, runtime.erasing).handlers(),
        **rotations.handlers(),
        **ReviewJobs(
            app=core.app, reviews=runtime.reviewing.reviews, findings=core.findings, clock=core.clock
        ).handlers(),
        imports_table.JOB_KIND: imports,
        exports_table.JOB_KIND: exports,
        RESEAL: resealing,
    }
    return handlers, {
        imports_table.JOB_KIND: imports.give_up,
        exports_table.JOB_KIND: exports.give_up,
        RESEAL: resealing.give_up,
        ROTATE: rotations.give_up,
    }


def _report(what: str, error: str) -> None:
    """Say in the log that a job failed: its kind and a code, never a text."""
    _log.warning("job_failed", kind=what, error=error)
