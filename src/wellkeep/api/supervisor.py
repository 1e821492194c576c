"""The supervisor of several workers: starts them, replaces the dead, stops them all.

Rules: workers are spawned, not forked (a fork would copy key material and random state); they inherit the listening
sockets, so a replacement serves the same addresses; a deployment whose workers keep dying stops and says so.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import socket
from collections import deque
from collections.abc import Callable, Mapping, MutableSequence
from dataclasses import dataclass
from multiprocessing import connection
from types import FrameType
from typing import Any

from wellkeep.api import catalogue, logs
from wellkeep.api.listeners import GRACE_SECONDS
from wellkeep.api.metrics import Metrics, shared_slots
from wellkeep.api.routes import Listener
from wellkeep.base.clock import SystemClock

RESTARTS = 5
"""So many workers may die within the window; with one more the deployment stops."""
RESTART_WINDOW_SECONDS = 60.0
_STOP_SECONDS = GRACE_SECONDS + 10.0
_READY = b"ready"


@dataclass(slots=True)
class WorkerLink:
    """A worker's line to its supervisor, and its slot in the shared counters."""

    worker: int
    workers: int
    slots: MutableSequence[int]
    pipe: connection.Connection[bytes, bytes]

    def ready(self) -> None:
        """Say that this worker answers."""
        self.pipe.send_bytes(_READY)

    def stop_with_supervisor(self, loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
        """Call `stop` when the supervisor is gone: its end of the pipe closes with it."""

        def closed() -> None:
            loop.remove_reader(self.pipe.fileno())
            stop()

        loop.add_reader(self.pipe.fileno(), closed)


@dataclass(slots=True)
class _Worker:
    process: Any
    pipe: connection.Connection[bytes, bytes]
    ready: bool = False


class Supervisor:
    """Runs `work` in `workers` processes until told to stop."""

    def __init__(
        self,
        work: Callable[..., None],
        plan: object,
        sockets: Mapping[Listener, socket.socket],
        *,
        workers: int,
        on_ready: Callable[[], None],
    ) -> None:
        """`work(plan, sockets, link)` is a module's function; `on_ready` is called once all workers answer."""
        self._context = multiprocessing.get_context("spawn")
        self._work = work
        self._plan = plan
        self._sockets = dict(sockets)
        self._count = workers
        self._on_ready = on_ready
        self._slots = shared_slots(workers, Metrics.rows(catalogue.names()))
        self._workers: dict[int, _Worker] = {}
        self._deaths: deque[float] = deque()
        self._clock = SystemClock()
        self._stopping = False
        self._told = False

    def run(self) -> int:
        """Return 0 after a stop that was asked for, 1 where the workers kept dying."""
        before = {name: signal.signal(name, self._stop) for name in (signal.SIGTERM, signal.SIGINT)}
        try:
            for worker in range(self._count):
                self._start(worker)
            while not self._stopping:
                self._watch()
                if len(self._deaths) > RESTARTS:
                    logs.log.error("workers.keep_dying", restarts=RESTARTS)
                    return 1
            return 0
        finally:
            self._stop_all()
            for name, handler in before.items():
                signal.signal(name, handler)

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _start(self, worker: int) -> None:
        mine, theirs = self._context.Pipe()
        link = WorkerLink(worker, self._count, self._slots, theirs)
        process = self._context.Process(
            target=self._work, args=(self._plan, self._sockets, link), name=f"wellkeep-{worker}"
        )
        process.start()
        theirs.close()
        self._workers[worker] = _Worker(process, mine)

    def _watch(self) -> None:
        """Wait for a word or a death, at most a quarter of a second, so that a signal is never missed for long."""
        awaited = [worker.process.sentinel for worker in self._workers.values()]
        awaited += [worker.pipe for worker in self._workers.values() if not worker.ready]
        happened = connection.wait(awaited, timeout=0.25)
        for number, worker in list(self._workers.items()):
            if not worker.ready and worker.pipe in happened:
                self._listen(worker)
            if worker.process.sentinel in happened and not self._stopping:
                self._replace(number, worker)
        if not self._told and all(worker.ready for worker in self._workers.values()):
            self._told = True
            self._on_ready()

    def _listen(self, worker: _Worker) -> None:
        try:
            worker.ready = worker.pipe.recv_bytes() == _READY
        except (EOFError, OSError):
            worker.ready = False

    def _replace(self, number: int, worker: _Worker) -> None:
        now = self._clock.monotonic()
        self._deaths.append(now)
        while self._deaths and self._deaths[0] < now - RESTART_WINDOW_SECONDS:
            self._deaths.popleft()
        worker.process.join()
        worker.pipe.close()
        logs.log.error("worker.died", worker=number, exit=worker.process.exitcode)
        if len(self._deaths) <= RESTARTS:
            self._start(number)

    def _stop_all(self) -> None:
        for worker in self._workers.values():
            worker.process.terminate()
        end = self._clock.monotonic() + _STOP_SECONDS
        for worker in self._workers.values():
            worker.process.join(max(0.0, end - self._clock.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()
