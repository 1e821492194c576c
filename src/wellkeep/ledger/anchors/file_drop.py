"""A directory on another volume or mount that checkpoints are dropped into, one file a size, never written again.

    <path>/<origin, / as _>/<size, 16 digits>.note

Rules: the directory must be there, or nothing is written (a mount that is missing would else become a directory beside
the database); a file appears whole or not at all, and is on the disk before it counts; one that is there is compared,
never replaced; below the directory no link is followed. Whoever owns this machine can still delete what lies on it: put
it where they can't.
"""

from __future__ import annotations

import asyncio
import errno
import heapq
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Final, TypeVar

import msgspec

from wellkeep.base.apart import Apart
from wellkeep.base.clock import Clock
from wellkeep.crypto.notes import MAX_NOTE_BYTES
from wellkeep.ledger.anchors import own_word
from wellkeep.ledger.anchors.anchor import AnchorFailed, Consistency, Evidence, Seen, Trouble
from wellkeep.ledger.anchors.own_word import OwnWord
from wellkeep.ledger.anchors.reading_back import MOST_READ, ReadingBack
from wellkeep.ledger.checkpoint import Checkpoint, Verifies

T = TypeVar("T")

_NAME = re.compile(r"[0-9]{16}\.note")
_MODE = 0o444
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NOT_OURS: Final = frozenset({errno.ELOOP, errno.EACCES, errno.ENXIO})
"""What a link, a file that is closed to us, and a socket are refused with."""


class _Receipt(OwnWord, frozen=True, forbid_unknown_fields=True, kw_only=True):
    file: str


class FileDrop:
    """An anchor of kind `file`."""

    kind = "file"

    def __init__(self, *, name: str, path: Path, signers: Sequence[Verifies], clock: Clock) -> None:
        """Drop into the directory at `path`; `signers` are the deployment's keys. Looks at nothing yet."""
        self.name = name
        self.path = path
        self._signers = tuple(signers)
        self._clock = clock
        self._thread = Apart(name="anchor-file")  # a mount that hangs holds this one thread, and nobody else's

    async def publish(self, note: bytes, checkpoint: Checkpoint, consistency: Consistency) -> bytes:  # noqa: ARG002
        """Drop `note`; a file that holds it already is as good."""
        folder, name = _folder(checkpoint.origin), _name(checkpoint)
        await self._apart(lambda: _drop(self.path, folder, name, note))
        receipt = _Receipt(file=f"{folder}/{name}", sha256=own_word.digest(note), at=self._clock.now())
        return msgspec.json.encode(receipt)

    async def seen(self, origin: str, newest: bytes | None) -> Seen:  # noqa: ARG002 -- the files say it themselves
        """Return the newest notes of the log that lie there, and what is wrong with what lies beside them."""
        reading = ReadingBack(self._signers, origin=origin, place=_name)
        return await self._apart(lambda: _read_back(self.path, _folder(origin), reading))

    def check(self, receipt: bytes, note: bytes) -> Evidence:
        """Return our own word for when it was dropped."""
        return own_word.evidence(receipt, note, kind=_Receipt)

    async def _apart(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.wrap_future(self._thread.submit(work))
        except OSError:
            raise AnchorFailed(Trouble.NOT_WRITTEN) from None


def _folder(origin: str) -> str:
    return origin.replace("/", "_")


def _name(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.size:016d}.note"


def _drop(mount: Path, folder: str, name: str, note: bytes) -> None:
    with _mounted(mount) as top:
        with suppress(FileExistsError):
            os.mkdir(folder, 0o755, dir_fd=top)
        os.fsync(top)
        with _within(top, folder) as directory:
            _put(directory, name, note)
            os.fsync(directory)


def _put(directory: int, name: str, note: bytes) -> None:
    staging = f".{name}.{token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(staging, flags, _MODE, dir_fd=directory)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(note)
            stream.flush()
            os.fsync(descriptor)
        try:
            os.link(staging, name, src_dir_fd=directory, dst_dir_fd=directory)  # unlike a rename, it replaces nothing
        except FileExistsError:
            if _read(directory, name) != note:
                raise AnchorFailed(Trouble.ALTERED) from None
    finally:
        with suppress(FileNotFoundError):
            os.unlink(staging, dir_fd=directory)


def _read_back(mount: Path, folder: str, reading: ReadingBack) -> Seen:
    with _mounted(mount) as top:
        try:
            with _within(top, folder) as directory:
                _read_newest(directory, reading)
        except FileNotFoundError:
            return Seen()
    return reading.seen()


def _read_newest(directory: int, reading: ReadingBack) -> None:
    with os.scandir(directory) as found:
        names = heapq.nlargest(MOST_READ + 1, (one.name for one in found if _NAME.fullmatch(one.name)))
    for name in names:
        if not reading.more():
            break
        try:
            reading.take(_read(directory, name), at=name)
        except AnchorFailed as failed:
            reading.wrong(failed.trouble)


def _read(directory: int, name: str) -> bytes:
    """Return a note's bytes. Raises AnchorFailed where there is something else than a plain file, or nothing by now."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(name, flags, dir_fd=directory)
    except FileNotFoundError:
        raise AnchorFailed(Trouble.NOT_KEPT) from None
    except OSError as error:
        if error.errno in _NOT_OURS:
            raise AnchorFailed(Trouble.ALTERED) from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise AnchorFailed(Trouble.ALTERED)
        return os.read(descriptor, MAX_NOTE_BYTES + 1)
    finally:
        os.close(descriptor)


@contextmanager
def _mounted(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, _DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        raise AnchorFailed(Trouble.NO_DIRECTORY) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _within(top: int, folder: str) -> Iterator[int]:
    descriptor = os.open(folder, _DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
