"""PgQueuer, held to the house's rules.

It is told every name, so that no environment variable moves it to other tables; its log, which prints exceptions and
notifications, is silenced; an executor of ours stands between it and the handlers, so that what it writes into its
tables is a class name and a code of ours. Traps that this file answers (tried with 1.6.0):

- the text and trace of an exception land in `pgqueuer_log`: only `JobFailed(code)` and `RetryRequested`, raised with no
  context, ever reach it;
- a failed job is deleted by default: every entrypoint is registered with `on_failure="hold"`;
- a crash does not raise `attempts`: `queue.job.starts` is counted before a handler runs;
- a schedule's handler has no retry: it only enqueues, under a key that lets one wait at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment, QueryQueueBuilder, QuerySchedulerBuilder
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.executors import AbstractEntrypointExecutor, EntrypointExecutorParameters
from pgqueuer.core.qm import QueueManager
from pgqueuer.core.sm import SchedulerManager
from pgqueuer.domain.errors import RetryRequested
from pgqueuer.domain.models import Context, Job, Schedule
from pgqueuer.domain.settings import DBSettings, Durability
from pgqueuer.domain.types import Channel

from wellkeep.base.errors import Unavailable, WellkeepError
from wellkeep.db.connection import Connection
from wellkeep.db.queue import Interrupted, QueueBook, Stopping
from wellkeep.jobs.handlers import GiveUp, Handler, Periodic

MAX_STARTS = 8
"""How often a job is begun before it is held: kills, restarts and outages of minutes are survived, a loop is not."""

_FIRST_PAUSE = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(minutes=5)


Report = Callable[[str, str], None]
"""Told what failed (a job's kind, or the worker) and the name of an exception's class or a code: never its text."""


class JobFailed(Exception):
    """A job is held: `code` is all that is said of it."""

    def __init__(self, code: str) -> None:
        """Hold a code of `base.errors`."""
        super().__init__(code)


def settings() -> DBSettings:
    """Return the names of PgQueuer's objects, each given, so that no environment variable changes one."""
    return DBSettings(
        prefix="",
        db_schema="queue",
        channel=Channel("ch_pgqueuer"),
        function="fn_pgqueuer_changed",
        statistics_table="pgqueuer_statistics",
        queue_status_type="pgqueuer_status",
        queue_table="pgqueuer",
        queue_table_log="pgqueuer_log",
        trigger="tg_pgqueuer_changed",
        schedules_table="pgqueuer_schedules",
        durability=Durability.durable,
        widen_id=False,
    )


def silence_log() -> None:
    """Keep PgQueuer's logger quiet: it prints exceptions and whatever was notified."""
    logger = logging.getLogger("pgqueuer")
    logger.propagate = False
    logger.setLevel(logging.CRITICAL + 1)


class Executor(AbstractEntrypointExecutor):
    """Runs one handler for one kind of job, and says how it ended in the house's words."""

    def __init__(
        self,
        parameters: EntrypointExecutorParameters,
        *,
        handler: Handler,
        give_up: GiveUp | None,
        book: QueueBook,
        stopping: Stopping,
        report: Report,
    ) -> None:
        """Run `handler`; `give_up` is told of a job that is held, `report` of faults that are no error of ours."""
        super().__init__(parameters)
        self._handler = handler
        self._give_up = give_up
        self._book = book
        self._stopping = stopping
        self._report = report

    async def execute(self, job: Job, context: Context) -> None:  # noqa: ARG002 - PgQueuer's signature
        """Begin, run and end the job that `job` carries the id of."""
        verdict: Exception | None = None
        try:
            verdict = await self._run(job.payload)
        except WellkeepError as refused:
            # The bookkeeping itself failed: nothing is known to have been done.
            self._report("bookkeeping", refused.code)
            verdict = RetryRequested(_FIRST_PAUSE)
        if verdict is not None:
            # Outside the handler, so nothing hangs on it as a context.
            raise verdict

    async def _run(self, payload: bytes | None) -> Exception | None:
        begun = await self._book.begin(payload)
        if begun is None:
            return None
        error = "too-many-starts" if begun.starts > MAX_STARTS else None
        if error is None:
            try:
                await self._handler(begun, self._stopping)
            except Interrupted:
                return RetryRequested(timedelta(0))
            except Unavailable:
                return RetryRequested(min(_FIRST_PAUSE * 2**begun.starts, _LONGEST_PAUSE))
            except WellkeepError as refused:
                error = refused.code
            except Exception as fault:  # noqa: BLE001 - its text may hold values: only the name of its class goes on
                self._report(begun.kind, type(fault).__name__)
                error = "internal"
        if error is not None and self._give_up is not None:
            await self._give_up(begun, error)
        await self._book.end(begun, error=error)
        return None if error is None else JobFailed(error)


def queue_manager(connection: Connection) -> QueueManager:
    """Return a queue manager over `connection`, a connection of its own of `wk_jobs`."""
    names = settings()
    return QueueManager(_queries(connection, names), channel=names.channel)


def _queries(connection: Connection, names: DBSettings) -> Queries:
    own: Any = connection  # the driver wants an unpooled connection, which `Connect` promises
    return Queries(
        AsyncpgDriver(own),
        qbe=QueryBuilderEnvironment(names),
        qbq=QueryQueueBuilder(names),
        qbs=QuerySchedulerBuilder(names),
    )


def register(manager: QueueManager, kind: str, executor: Callable[[EntrypointExecutorParameters], Executor]) -> None:
    """Give `manager` a kind of job; a job that fails is held."""

    async def never(_job: Job) -> None:
        raise JobFailed("internal")

    manager.entrypoint(kind, on_failure="hold", accepts_context=False, executor_factory=executor)(never)


def scheduler(manager: QueueManager, book: QueueBook, periodic: Sequence[Periodic], report: Report) -> SchedulerManager:
    """Return a scheduler over the manager's connection, whose handlers only enqueue."""
    clock = SchedulerManager(manager.queries)
    for entry in periodic:
        clock.schedule(entry.kind, entry.expression, accepts_context=False)(_enqueuer(book, entry.kind, report))
    return clock


def _enqueuer(book: QueueBook, kind: str, report: Report) -> Any:
    async def enqueue(_schedule: Schedule) -> None:
        try:
            await book.enqueue_periodic(kind)
        except WellkeepError as refused:
            # The next turn of the clock tries again.
            report(kind, refused.code)

    return enqueue
