"""What a witness remembers: of each log the end that it cosigned last, and notes that would have been another history.

Rules: one row a log, moved on by one transaction that compares the old size first, on the disk (`synchronous=FULL`,
write-ahead log) before it returns: whoever signs afterwards signs nothing that a power cut takes back. Any number of
processes may share the file. The threat is a witness that signs two histories of one log, made to by two requests at
once, or by a crash between them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

FILE_NAME = "witness.sqlite3"
_BUSY_SECONDS = 5.0
_EVIDENCE_KEPT = 1_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
    origin TEXT PRIMARY KEY,
    size INTEGER NOT NULL CHECK (size >= 0),
    root BLOB NOT NULL CHECK (length(root) = 32),
    note BLOB NOT NULL,
    at INTEGER NOT NULL
) STRICT
"""
_EVIDENCE = """
CREATE TABLE IF NOT EXISTS evidence (note BLOB PRIMARY KEY, origin TEXT NOT NULL, at INTEGER NOT NULL) STRICT
"""
_READ = "SELECT size, root FROM log WHERE origin = ?"
_WRITE = "INSERT OR REPLACE INTO log (origin, size, root, note, at) VALUES (?, ?, ?, ?, ?)"
_ALL = """
SELECT origin, size, root, at, (SELECT count(*) FROM evidence AS e WHERE e.origin = log.origin) FROM log ORDER BY origin
"""
_KEEP = "INSERT OR IGNORE INTO evidence (note, origin, at) SELECT ?, ?, ? WHERE (SELECT count(*) FROM evidence) < ?"


class End(NamedTuple):
    """How far a witness has gone with a log."""

    size: int
    root: bytes


class Witnessed(NamedTuple):
    """A log that a witness knows: its end, when it signed that, and how many notes it kept as evidence."""

    origin: str
    size: int
    root: bytes
    at: int
    evidence: int


class WitnessStore:
    """The file, opened for each use; safe to share by threads and processes."""

    def __init__(self, directory: Path) -> None:
        """Keep the file in `directory`, which is made, 0700, where there is none."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = directory / FILE_NAME
        with self._transaction() as database:
            database.execute(_SCHEMA)
            database.execute(_EVIDENCE)

    def end(self, origin: str) -> End | None:
        """Return how far it has gone with a log, None where it never signed it."""
        with self._transaction() as database:
            return _end(database, origin)

    def move(self, origin: str, *, old: End | None, new: End, note: bytes, at: int) -> End | None:
        """Move a log's end on if it is still `old`, durably; return the end that stands instead where it is not."""
        with self._transaction() as database:
            stands = _end(database, origin)
            if stands != old:
                return stands or End(0, b"")
            database.execute(_WRITE, (origin, new.size, new.root, note, at))
        return None

    def keep(self, origin: str, note: bytes, *, at: int) -> None:
        """Keep a note that the log signed and that fits no history of it; a thousand at most."""
        with self._transaction() as database:
            database.execute(_KEEP, (note, origin, at, _EVIDENCE_KEPT))

    def all(self) -> list[Witnessed]:
        """Return every log that was signed."""
        with self._transaction() as database:
            return [Witnessed(*row) for row in database.execute(_ALL)]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")
        finally:
            database.close()  # what was not committed is gone with it


def _end(database: sqlite3.Connection, origin: str) -> End | None:
    row = database.execute(_READ, (origin,)).fetchone()
    return None if row is None else End(*row)
