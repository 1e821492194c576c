"""A directory on another volume or mount that checkpoints are dropped into, one file a size, never written again.

    <path>/<origin, / as _>/<size, 16 digits>.note

Rules: the directory must be there, or nothing is written (a mount that is missing would else become a directory beside
the database); a file appears whole or not at all, and is on the disk before it counts; one that is there is compared,
never replaced. Whoever owns this machine can still delete what lies on it: put it where they can't.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import TypeVar

import msgspec

from wellkeep.base.clock import Clock
from wellkeep.crypto.notes import MAX_NOTE_BYTES
from wellkeep.ledger.anchors.anchor import NEWEST, AnchorFailed, Consistency, Evidence, Seen, Trouble
from wellkeep.ledger.checkpoint import Checkpoint

T = TypeVar("T")

_NAME = re.compile(r"[0-9]{16}\.note")
_MODE = 0o444


class _Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    file: str
    sha256: str
    at: datetime


class FileDrop:
    """An anchor of kind `file`."""

    kind = "file"

    def __init__(self, *, name: str, path: Path, clock: Clock) -> None:
        """Drop into the directory at `path`; looks at nothing yet."""
        self.name = name
        self.path = path
        self._clock = clock
        # A mount that hangs holds this one thread, and nobody else's.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="anchor-file")

    async def publish(self, note: bytes, checkpoint: Checkpoint, consistency: Consistency) -> bytes:  # noqa: ARG002
        """Drop `note`; a file that holds it already is as good."""
        directory = self._directory(checkpoint.origin)
        file = directory / f"{checkpoint.size:016d}.note"
        await self._apart(lambda: _drop(self.path, directory, file, note))
        receipt = _Receipt(f"{directory.name}/{file.name}", sha256(note).hexdigest(), self._clock.now())
        return msgspec.json.encode(receipt)

    async def seen(self, origin: str, newest: bytes | None) -> Seen:  # noqa: ARG002 -- the files say it themselves
        """Return the newest files of the log."""
        directory = self._directory(origin)
        return Seen(await self._apart(lambda: _newest(self.path, directory)))

    def check(self, receipt: bytes, note: bytes) -> Evidence:
        """Return our own word for when it was dropped."""
        try:
            told = msgspec.json.decode(receipt, type=_Receipt)
        except ValueError:
            raise AnchorFailed(Trouble.NOT_PROVEN) from None
        if told.sha256 != sha256(note).hexdigest() or told.at.tzinfo is None:
            raise AnchorFailed(Trouble.NOT_PROVEN)
        return Evidence(told.at.astimezone(UTC), independent=False)

    def _directory(self, origin: str) -> Path:
        return self.path / origin.replace("/", "_")

    async def _apart(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except OSError:
            raise AnchorFailed(Trouble.NOT_WRITTEN) from None


def _drop(mount: Path, directory: Path, file: Path, note: bytes) -> None:
    _require(mount)
    directory.mkdir(mode=0o755, exist_ok=True)
    _sync(mount)
    staging = directory / f".{file.name}.{token_hex(8)}"
    try:
        with os.fdopen(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _MODE), "wb") as stream:
            stream.write(note)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(staging, file)  # unlike a rename, it replaces nothing
        except FileExistsError:
            if _read(file) != note:
                raise AnchorFailed(Trouble.ALTERED) from None
    finally:
        with suppress(FileNotFoundError):
            staging.unlink()
    _sync(directory)


def _newest(mount: Path, directory: Path) -> tuple[bytes, ...]:
    _require(mount)
    try:
        names = sorted((found.name for found in os.scandir(directory) if _NAME.fullmatch(found.name)), reverse=True)
    except FileNotFoundError:
        return ()
    return tuple(_read(directory / name) for name in names[:NEWEST])


def _require(mount: Path) -> None:
    if not mount.is_dir():
        raise AnchorFailed(Trouble.NO_DIRECTORY)


def _read(file: Path) -> bytes:
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as stream:
        return stream.read(MAX_NOTE_BYTES + 1)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
