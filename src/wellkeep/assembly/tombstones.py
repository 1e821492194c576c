r"""Who was erased, in a file outside of the database: what an older database that is put back must be told.

Rules: a line is appended and synced before an erasure is answered, and what the database has and the file lacks is
added at each start; each line carries a MAC under a SEAL key, for a line obeyed erases somebody. The threats are a
backup that brings the erased back, and a line that somebody wrote to have a patient erased.

    <tenant> <subject, or zeros for the whole tenant> <event> <microseconds since 1970> <MAC in hex>\n
"""

from __future__ import annotations

import fcntl
import hmac
import os
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from wellkeep.base.durable import append_lines, cut_torn_line, sync_directory
from wellkeep.base.errors import Misconfigured
from wellkeep.ledger.seal import SealKey
from wellkeep.vault.erasure import Erased

FILE_NAME: Final = "erased"
"""Beside the ledger's memory."""

_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_LINE = re.compile(rf"({_UUID}) ({_UUID}) ({_UUID}) ([1-9][0-9]{{0,17}}) ([0-9a-f]{{64}})")
_HEADER = b"wellkeep/tombstone/v1\n"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MODE = 0o600


class Tombstones:
    """The file. Every method may be called by several processes at once; each call opens it anew."""

    def __init__(self, path: Path, *, keys: Sequence[SealKey]) -> None:
        """Remember in `path`; the first of `keys` signs, each of them is believed."""
        self.path = path
        self._keys = keys

    def load(self) -> list[Erased]:
        """Return who was erased, each once, in the order of the lines; a torn last line is no line.

        Raises Misconfigured for a line that no key of ours signed.
        """
        try:
            text = self.path.read_bytes().decode("ascii", errors="replace")
        except FileNotFoundError:
            return []
        found: dict[tuple[UUID, UUID], Erased] = {}
        for number, line in enumerate(text.split("\n")[:-1], start=1):
            one = self._parsed(line)
            if one is None:
                raise Misconfigured(
                    f"Line {number} of {self.path}, which remembers who was erased, is none of ours. Keep a copy of "
                    "it, look who had access to it, and take that line out: whoever it names is not erased by it"
                )
            found.setdefault((one.tenant, one.subject), one)
        return list(found.values())

    def note(self, erased: Iterable[Erased]) -> None:
        """Append those of `erased` that do not stand there, and make all durable; raises OSError."""
        lines = [self._line(one).encode("ascii") for one in erased]
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = not self.path.exists()
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = cut_torn_line(file)
            there = os.pread(file, size, 0)
            append_lines(file, size, b"".join(line for line in lines if line not in there))
        finally:
            os.close(file)
        if fresh:
            sync_directory(self.path.parent)

    def _line(self, one: Erased) -> str:
        body = f"{one.tenant} {one.subject} {one.event} {(one.at - _EPOCH) // timedelta(microseconds=1)}"
        return f"{body} {_mac(self._keys[0], body).hex()}\n"

    def _parsed(self, line: str) -> Erased | None:
        parts = _LINE.fullmatch(line)
        if parts is None:
            return None
        body, given = line[: parts.start(5) - 1], bytes.fromhex(parts[5])
        if not any(hmac.compare_digest(given, _mac(key, body)) for key in self._keys):
            return None
        when = _EPOCH + timedelta(microseconds=int(parts[4]))
        return Erased(UUID(parts[1]), UUID(parts[2]), UUID(parts[3]), when)


def _mac(key: SealKey, body: str) -> bytes:
    return hmac.digest(key.secret.reveal(), _HEADER + body.encode("ascii"), "sha256")
