"""Bytes of an upload into numbered lines, gzip or not, within bounds.

Rules: memory is bounded by the longest line allowed, whatever the upload claims; a line that is too long is an error of
that line, and reading goes on behind it; each line tells the offset at which the next begins, so a job that was killed
goes on there; a gzip that expands beyond all measure, or ends early, stops the job. The threat is the decompression
bomb, and the upload with one line of ten gigabytes.

Pure: bytes in, lines out; the offsets are those of the decompressed bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

from wellkeep.base.errors import FieldProblem, Validation

MAX_LINE = 1 << 20
"""Bytes of one line, its newline not counted: the body limit of one record."""

MAX_EXPANSION = 200
"""Times that a gzip may grow; FHIR NDJSON grows 12 to 25 times, a bomb a thousand times."""

_FREE_EXPANSION = 64 << 20
_INFLATED_AT_ONCE = 1 << 20
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_GZIP_MAGIC = b"\x1f\x8b"


class Line(NamedTuple):
    """One line of a source: its number from 1, the offset behind it, and its bytes (None: longer than the bound)."""

    number: int
    end: int
    data: bytes | None


class LineSplitter:
    """Splits a stream of chunks at newlines; a carriage return before one, and empty lines, are dropped unless `whole`.

    CSV wants its lines whole: a quoted field may hold empty ones.
    """

    def __init__(self, *, whole: bool = False) -> None:
        """Begin before line 1."""
        self._whole = whole
        self._number = 0
        self._end = 0
        self._rest = b""
        self._skipping = False

    def feed(self, chunk: bytes) -> list[Line]:
        """Take `chunk` and return the lines that it completes."""
        pieces = chunk.split(b"\n")
        if len(pieces) == 1:
            self._hold(chunk)
            return []
        lines: list[Line] = []
        self._hold(pieces[0])
        self._close(lines, self._rest, newline=True)
        self._rest = b""
        for piece in pieces[1:-1]:
            self._close(lines, piece, newline=True)
        self._hold(pieces[-1])
        return lines

    def finish(self) -> list[Line]:
        """Return the last line, where it has no newline."""
        lines: list[Line] = []
        if self._rest or self._skipping:
            self._close(lines, self._rest, newline=False)
            self._rest = b""
        return lines

    def _hold(self, piece: bytes) -> None:
        if self._skipping:
            self._end += len(piece)
            return
        self._rest += piece
        if len(self._rest) > MAX_LINE:
            self._skipping = True
            self._end += len(self._rest)
            self._rest = b""

    def _close(self, lines: list[Line], data: bytes, *, newline: bool) -> None:
        self._number += 1
        self._end += len(data) + newline
        if self._skipping or len(data) > MAX_LINE:
            self._skipping = False
            lines.append(Line(self._number, self._end, None))
            return
        if self._whole:
            lines.append(Line(self._number, self._end, data))
            return
        if data.endswith(b"\r"):
            data = data[:-1]
        if data and not data.isspace():
            lines.append(Line(self._number, self._end, data))


class Inflater:
    """Passes bytes through, or inflates them where they begin as gzip does (RFC 1952), members in a row included."""

    def __init__(self) -> None:
        """Wait for the first bytes to tell what they are."""
        self._first = b""
        self._plain: bool | None = None
        self._member = zlib.decompressobj(_GZIP_WINDOW)
        self._taken = 0
        self._given = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what `chunk` holds, at most 1 MiB at a time; raises `Validation` for a bomb or a broken gzip."""
        if self._plain is None:
            self._first += chunk
            if len(self._first) < len(_GZIP_MAGIC):
                return
            self._plain = not self._first.startswith(_GZIP_MAGIC)
            chunk, self._first = self._first, b""
        if self._plain:
            yield chunk
            return
        self._taken += len(chunk)
        yield from self._inflate(chunk)

    def finish(self) -> Iterator[bytes]:
        """Yield what was held back; raises `Validation` where a gzip ends before its trailer."""
        if self._plain is None:
            if self._first:
                yield self._first
        elif not self._plain and not self._member.eof:
            raise refused("truncated-gzip")

    def _inflate(self, chunk: bytes) -> Iterator[bytes]:
        full = False
        while chunk or full:
            if self._member.eof:
                chunk = chunk.lstrip(b"\0")
                if not chunk:
                    return
                self._member = zlib.decompressobj(_GZIP_WINDOW)
            try:
                piece = self._member.decompress(chunk, _INFLATED_AT_ONCE)
            except zlib.error:
                raise refused("broken-gzip") from None
            full = len(piece) == _INFLATED_AT_ONCE
            self._given += len(piece)
            if self._given > _FREE_EXPANSION + self._taken * MAX_EXPANSION:
                raise refused("expands-too-far")
            if piece:
                yield piece
            chunk = self._member.unused_data if self._member.eof else self._member.unconsumed_tail


def refused(code: str) -> Validation:
    """Return the error that stops a whole import: its upload can't be read."""
    return Validation("The upload can't be read to its end", fields=(FieldProblem("/", code),))
