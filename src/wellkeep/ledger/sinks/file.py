"""JSON lines in a file of ours, for an agent that carries them on.

Rules: lines are appended and synced before the cursor moves; the file is opened anew for each batch, so that one that
was moved away is left alone and a new one begun; mode 0600, a plain file of this account, never through a link; one
writer at a time, under a lock that dies with its process. A line is whole or not there: what a full disk or a crash
tore is cut off, up to the end of the last whole line, which is as far as any reader of lines has come.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from wellkeep.base.apart import Apart
from wellkeep.base.clock import Clock
from wellkeep.base.durable import append_lines, cut_torn_line, sync_directory
from wellkeep.base.sink_settings import FileSink
from wellkeep.ledger.sinks.receiver import FORMATS, written
from wellkeep.ledger.sinks.records import Record
from wellkeep.ledger.sinks.trouble import SinkTrouble, Trouble

_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_MODE: Final = 0o600
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class FileReceiver:
    """Appends to one file, in a thread of its own: a file system that hangs holds up nothing else."""

    def __init__(self, sink: FileSink, *, path: Path, clock: Clock) -> None:
        """Append to `path`, which is the sink's as seen from the home."""
        self._sink = sink
        self._path = path
        self._clock = clock
        self._write = FORMATS[sink.format]
        self._thread = Apart(name="ledger-sink")
        self._last: Future[None] | None = None

    async def send(self, batch: Sequence[Record]) -> None:
        """Append `batch` and sync it. Raises SinkTrouble."""
        if self._last is not None and not self._last.done():
            raise SinkTrouble(Trouble.TIMED_OUT)
        lines = b"".join(line + b"\n" for line in await written(batch, self._write))
        self._last = self._thread.submit(lambda: self._append(lines))
        await asyncio.wrap_future(self._last)

    def _append(self, lines: bytes) -> None:
        try:
            with self._opened() as (descriptor, size):
                if not size or not self._is_due(descriptor, size + len(lines)):
                    append_lines(descriptor, size, lines)
                    return
                self._rotate(descriptor)
            with self._opened() as (descriptor, size):
                append_lines(descriptor, size, lines)
        except OSError as error:
            full = error.errno in _NO_SPACE
            raise SinkTrouble(Trouble.NO_SPACE if full else Trouble.NOT_WRITABLE) from None

    @contextmanager
    def _opened(self) -> Iterator[tuple[int, int]]:
        """Lend the file's descriptor, locked, and its size up to the end of the last whole line."""
        descriptor = os.open(self._path, _FLAGS, _MODE)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink > 1:
                raise SinkTrouble(Trouble.NOT_OURS)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SinkTrouble(Trouble.IN_USE) from None
            os.fchmod(descriptor, _MODE)
            size = cut_torn_line(descriptor)
            if not size:
                sync_directory(self._path.parent)
            yield descriptor, size
        finally:
            os.close(descriptor)

    def _is_due(self, descriptor: int, size: int) -> bool:
        """Say whether the file is to be moved aside: too long with what comes, or last written on an earlier day."""
        if size > self._sink.rotate_bytes:
            return True
        written = datetime.fromtimestamp(os.fstat(descriptor).st_mtime, UTC)
        return self._sink.daily and written.date() < self._clock.now().date()

    def _rotate(self, descriptor: int) -> None:
        """Move the file aside under the time, unless somebody moved it already."""
        try:
            there = self._path.stat(follow_symlinks=False)
        except FileNotFoundError:
            return
        if os.path.samestat(there, os.fstat(descriptor)):
            moved = self._path.with_name(f"{self._path.name}.{self._clock.now():%Y%m%dT%H%M%S.%fZ}")
            self._path.rename(moved)
            sync_directory(self._path.parent)
