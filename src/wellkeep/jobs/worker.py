"""The worker: one a process, beside the requests; any number of processes.

Rules: it works over one connection of its own as `wk_jobs` and makes another when that breaks; a job whose worker died
is taken over when its heartbeat is old; on the way down handlers leave at their next checkpoint and the rest is
cancelled. Several workers are safe because a job is claimed by one row lock, and because a handler's own checkpoint
refuses a run that no longer holds it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from pgqueuer.core.executors import EntrypointExecutorParameters
from pgqueuer.core.qm import QueueManager
from pgqueuer.core.sm import SchedulerManager

from wellkeep.db.connection import Connection
from wellkeep.db.queue import QueueBook
from wellkeep.jobs import queuer
from wellkeep.jobs.handlers import GiveUp, Handler, Periodic

Connect = Callable[[], Awaitable[Connection]]
"""Makes a connection of `wk_jobs` that nobody else uses."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: between looks into an unnotified queue, until a silent job is taken over, to leave on the way down."""

    poll: float = 5.0
    takeover: float = 30.0
    leave: float = 20.0
    reconnect: float = 1.0
    at_once: int = 2


class Worker:
    """Takes jobs from the queue and hands them to their handlers."""

    def __init__(
        self,
        *,
        connect: Connect,
        book: QueueBook,
        handlers: Mapping[str, Handler],
        give_up: Mapping[str, GiveUp] | None = None,
        periodic: Sequence[Periodic] = (),
        pace: Pace | None = None,
        report: queuer.Report,
    ) -> None:
        """Describe a worker; `report` is told what failed, without any text of an exception.

        `give_up` is told, by the kind of job, of those that are held.
        """
        self._connect = connect
        self._book = book
        self._handlers = dict(handlers)
        self._give_up = dict(give_up or {})
        self._periodic = tuple(periodic)
        self._pace = pace or Pace()
        self._report = report
        self._task: asyncio.Task[None] | None = None
        self._going_down = asyncio.Event()
        self._manager: QueueManager | None = None
        self._scheduler: SchedulerManager | None = None

    async def start(self) -> None:
        """Begin to work in the background; a database that is away is waited for."""
        queuer.silence_log()
        self._going_down.clear()
        self._task = asyncio.create_task(self._supervise())

    async def stop(self) -> None:
        """Let handlers leave at a checkpoint, cancel what does not, and return when nothing of ours runs."""
        self._going_down.set()
        self._shut()
        task, self._task = self._task, None
        if task is None:
            return
        with contextlib.suppress(asyncio.CancelledError, TimeoutError):
            await asyncio.wait_for(task, self._pace.leave)

    @property
    def running(self) -> bool:
        """Whether it is at work."""
        return self._task is not None and not self._task.done()

    def _shut(self) -> None:
        for part in (self._manager, self._scheduler):
            if part is not None:
                part.shutdown.set()

    async def _supervise(self) -> None:
        while not self._going_down.is_set():
            try:
                await self._work()
            except Exception as lost:  # noqa: BLE001  # reported; whatever it is, a runner that ended would run nothing
                self._report("worker", type(lost).__name__)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pace.reconnect):
                    await self._going_down.wait()

    async def _work(self) -> None:
        connection = await self._connect()
        try:
            manager = queuer.queue_manager(connection)
            for kind, handler in self._handlers.items():
                queuer.register(manager, kind, self._executor(kind, handler))
            clock = queuer.scheduler(manager, self._book, self._periodic, self._report) if self._periodic else None
            self._manager, self._scheduler = manager, clock
            if self._going_down.is_set():
                return
            await self._run(manager, clock)
        finally:
            self._manager = self._scheduler = None
            connection.terminate()

    async def _run(self, manager: QueueManager, clock: SchedulerManager | None) -> None:
        pace = self._pace
        work = [
            asyncio.create_task(
                manager.run(
                    dequeue_timeout=timedelta(seconds=pace.poll),
                    batch_size=1,
                    max_concurrent_tasks=max(2, pace.at_once),
                    shutdown_on_listener_failure=True,
                    heartbeat_timeout=timedelta(seconds=pace.takeover),
                )
            )
        ]
        if clock is not None:
            work.append(asyncio.create_task(clock.run()))
        try:
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._shut()
            for task in work:
                if not self._going_down.is_set():
                    task.cancel()
            results = await asyncio.gather(*work, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    def _executor(self, kind: str, handler: Handler) -> Callable[[EntrypointExecutorParameters], queuer.Executor]:
        def make(parameters: EntrypointExecutorParameters) -> queuer.Executor:
            return queuer.Executor(
                parameters,
                handler=handler,
                give_up=self._give_up.get(kind),
                book=self._book,
                stopping=self._going_down.is_set,
                report=self._report,
            )

        return make
