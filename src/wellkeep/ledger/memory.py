r"""What this host remembers of the ledger, in a file outside the database's volume.

Rules: each checkpoint's log, size and root is appended here once it is in the database, so the file is never ahead of a
database that lost nothing; lines are only appended, whole and synced, under a lock, by as many processes as there are.
The threat is a database put back to an old state as a whole, or cut off where a batch ended: by itself it looks right.

    <origin> <size> <root in hex>\n
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from wellkeep.base.durable import append_lines, cut_torn_line, sync_directory
from wellkeep.base.errors import Misconfigured
from wellkeep.ledger.checkpoint import Checkpoint
from wellkeep.ledger.seal import log_of

COMPACT_BYTES: Final = 4_000_000
"""A file longer than this, and than four times what it says, is written anew."""

_LINE = re.compile(r"([a-z0-9./-]{1,400}) ([1-9][0-9]{0,15}) ([0-9a-f]{64})")
_MOST_ENTRIES = 2**53 - 1
_MODE = 0o600
_SLACK = 4


class _Stamp(NamedTuple):
    """What tells one file from another that took its place."""

    device: int
    inode: int


class Memory:
    """The file. Every method may be called by several processes at once; each call opens it anew."""

    def __init__(self, path: Path, *, compact_bytes: int = COMPACT_BYTES) -> None:
        """Remember in `path`; its directory is made where it is missing."""
        self.path = path
        self._compact_bytes = compact_bytes

    def load(self) -> dict[str, Checkpoint]:
        """Return the newest checkpoint of each log, by its origin; a torn last line is no line.

        Raises Misconfigured where the file is not one of ours, or says two roots of one size: then two ledgers were
        served under one name.
        """
        newest, odd = self.salvage()
        if odd:
            raise Misconfigured(
                f"{self.path}, which remembers how far the ledger was, holds {odd} lines that are none of ours or "
                "contradict others. Keep a copy of it, look who had access to it, and go on with: "
                "wellkeep ledger accept-restore --reason …"
            )
        return newest

    def salvage(self) -> tuple[dict[str, Checkpoint], int]:
        """Return what can be read of the file, and the number of lines that can't be, or that contradict another."""
        try:
            text = self.path.read_bytes().decode("ascii", errors="replace")
        except FileNotFoundError:
            return {}, 0
        newest: dict[str, Checkpoint] = {}
        odd = 0
        for line in text.split("\n")[:-1]:
            found = _parsed(line)
            known = newest.get(found.origin) if found is not None else None
            if found is None or (known is not None and found.size == known.size and found.root != known.root):
                odd += 1
            elif known is None or found.size > known.size:
                newest[found.origin] = found
        return newest, odd

    def note(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Append `checkpoints` and make them durable; raises OSError where that can't be done."""
        lines = _lines(checkpoints)
        with self._locked() as file:
            size = cut_torn_line(file)
            append_lines(file, size, lines)
        if size + len(lines) > self._compact_bytes:
            self._compact()

    def replace(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Forget everything and remember `checkpoints`: for a restore that was accepted. The old file is kept aside."""
        with self._locked():
            aside = self.path.with_name(f"{self.path.name}.before")
            aside.unlink(missing_ok=True)
            aside.hardlink_to(self.path)
            self._rewrite(checkpoints)

    def _compact(self) -> None:
        """Write the file anew where most of it is past; one with a line of others is evidence, and left as it is."""
        with self._locked():
            newest, odd = self.salvage()
            needed = sum(len(_line(each)) for each in newest.values())
            if not odd and self.path.stat().st_size > _SLACK * needed:
                self._rewrite(newest.values())

    def _rewrite(self, checkpoints: Iterable[Checkpoint]) -> None:
        staging = self.path.with_name(f".{self.path.name}.new")
        staging.unlink(missing_ok=True)
        file = os.open(staging, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        try:
            append_lines(file, 0, _lines(checkpoints))
        finally:
            os.close(file)
        staging.replace(self.path)
        sync_directory(self.path.parent)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Open the file under its lock; whoever waited for one that was replaced meanwhile opens the new one."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            fresh = not self.path.exists()
            file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                if _stamp(os.fstat(file)) == self._stamp():
                    if fresh:
                        sync_directory(self.path.parent)
                    yield file
                    return
            finally:
                os.close(file)

    def _stamp(self) -> _Stamp | None:
        try:
            return _stamp(self.path.stat())
        except FileNotFoundError:
            return None


def _parsed(line: str) -> Checkpoint | None:
    """Return what a line says, or None where it says nothing of a log of ours."""
    parts = _LINE.fullmatch(line)
    if parts is None or int(parts[2]) > _MOST_ENTRIES:
        return None
    try:
        log_of(parts[1])
    except Misconfigured:
        return None
    return Checkpoint(parts[1], int(parts[2]), bytes.fromhex(parts[3]))


def _line(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.origin} {checkpoint.size} {checkpoint.root.hex()}\n"


def _lines(checkpoints: Iterable[Checkpoint]) -> bytes:
    return "".join(_line(each) for each in checkpoints).encode("ascii")


def _stamp(status: os.stat_result) -> _Stamp:
    return _Stamp(status.st_dev, status.st_ino)
