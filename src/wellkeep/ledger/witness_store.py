"""What a witness remembers: of each log the end that it cosigned last, and notes that would have been another history.

Rules: one row a log, moved on by one transaction that compares the old size first, on the disk (`synchronous=FULL`,
write-ahead log) before it returns: whoever signs afterwards signs nothing that a power cut takes back. Any number of
processes may share the file. Evidence is kept once by size and root, and what proves two histories by itself, two
roots of one size, has a room that nothing else takes up: anybody can show a note without its proof. The threat is a
witness that signs two histories of one log, made to by two requests at once, or by a crash between them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from wellkeep.base.errors import Misconfigured

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
CREATE TABLE IF NOT EXISTS evidence (
    origin TEXT NOT NULL,
    size INTEGER NOT NULL,
    root BLOB NOT NULL,
    forked INTEGER NOT NULL CHECK (forked IN (0, 1)),
    note BLOB NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (origin, size, root)
) STRICT
"""
_READ = "SELECT size, root FROM log WHERE origin = ?"
_WRITE = "INSERT OR REPLACE INTO log (origin, size, root, note, at) VALUES (?, ?, ?, ?, ?)"
_ALL = """
SELECT origin, size, root, at, (SELECT count(*) FROM evidence AS e WHERE e.origin = log.origin) FROM log ORDER BY origin
"""
_FORKED = """
SELECT EXISTS (SELECT 1 FROM log WHERE origin = :origin AND size = :size AND root <> :root)
    OR EXISTS (SELECT 1 FROM evidence WHERE origin = :origin AND size = :size AND root <> :root)
"""
_HAS_ROOM = "SELECT count(*) < :most FROM evidence WHERE origin = :origin AND forked = :forked"
_KEEP = """
INSERT OR IGNORE INTO evidence (origin, size, root, forked, note, at)
VALUES (:origin, :size, :root, :forked, :note, :at)
"""
_KEEP_STANDING = """
INSERT OR IGNORE INTO evidence (origin, size, root, forked, note, at)
SELECT origin, size, root, 1, note, at FROM log WHERE origin = :origin AND size = :size
"""
_PAIR = "UPDATE evidence SET forked = 1 WHERE origin = :origin AND size = :size"


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
        """Keep the file in `directory`, which is made, 0700, where there is none. Raises Misconfigured."""
        self.path = directory / FILE_NAME
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._transaction() as database:
                database.execute(_SCHEMA)
                database.execute(_EVIDENCE)
        except (OSError, sqlite3.Error):
            raise Misconfigured(
                f"A witness can't keep its state in {directory}: is it this account's to write, with room, and what "
                f"lies there as {FILE_NAME} a witness's?"
            ) from None

    def end(self, origin: str) -> End | None:
        """Return how far it has gone with a log, None where it never signed it."""
        with self._transaction() as database:
            return _end(database, origin)

    def move(self, origin: str, *, old: End | None, new: End, note: bytes, at: int) -> bool:
        """Move a log's end on, durably; return False, and nothing moved, where it is no more `old`."""
        with self._transaction() as database:
            if _end(database, origin) != old:
                return False
            database.execute(_WRITE, (origin, new.size, new.root, note, at))
        return True

    def keep(self, origin: str, end: End, note: bytes, *, at: int) -> None:
        """Keep a note that the log signed and that fits no history of it, with what stood beside it of its size.

        Until there are a thousand of that log that prove two histories, or a thousand that prove nothing yet.
        """
        told = {"origin": origin, "size": end.size, "root": end.root, "note": note, "at": at, "most": _EVIDENCE_KEPT}
        with self._transaction() as database:
            (told["forked"],) = database.execute(_FORKED, told).fetchone()
            (has_room,) = database.execute(_HAS_ROOM, told).fetchone()
            if not has_room:
                return
            database.execute(_KEEP, told)
            if told["forked"]:
                database.execute(_KEEP_STANDING, told)
                database.execute(_PAIR, told)

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
