"""Work that may hang for good, such as a look at a dead mount: in threads that hold up nothing, not even the end.

Rule: a thread of `concurrent.futures` is waited for when the process ends, whoever shut its pool down; these are not.
They end when there is nothing to do, so nobody has to stop them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class _Piece(Generic[T]):
    """A piece of work, and who waits for what it returns."""

    def __init__(self, work: Callable[[], T]) -> None:
        self.future: Future[T] = Future()
        self._work = work

    def run(self) -> None:
        """Do it, unless it was cancelled before."""
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            done = self._work()
        except BaseException as error:  # noqa: BLE001 -- whoever waits is told of it, whatever it is
            self.future.set_exception(error)
        else:
            self.future.set_result(done)


class Apart:
    """Does what it is given in its order, in so many threads at most; safe to share by threads."""

    def __init__(self, *, name: str, threads: int = 1) -> None:
        """Start no thread yet; `name` is theirs."""
        self._name = name
        self._most = threads
        self._running = 0
        self._waiting: deque[_Piece[Any]] = deque()
        self._lock = threading.Lock()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Have `work` done; return who tells what came of it. What did not begin can be cancelled."""
        piece = _Piece(work)
        with self._lock:
            # Behind what hangs, nobody waits any more for most of it.
            self._waiting = deque(one for one in self._waiting if not one.future.cancelled())
            self._waiting.append(piece)
            if self._running < self._most:
                self._running += 1
                threading.Thread(target=self._drain, name=self._name, daemon=True).start()
        return piece.future

    def _drain(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._running -= 1
                    return
                piece = self._waiting.popleft()
            piece.run()
