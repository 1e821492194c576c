"""What must outlive a crash: lines in a file that only grows, and which files a directory holds.

Rules: a line ends in a line feed, and what stands behind the last one is no line: a crash or a full disk tore it, and
whoever writes next cuts it off. What does not fit as a whole is taken back as a whole. Whoever appends holds the file's
lock. The threats are a torn line that the next one is glued to, so that neither can be read, and a power failure after
which a file is not where it was put.
"""

from __future__ import annotations

import os
from pathlib import Path

_PIECE = 65_536


def cut_torn_line(file: int) -> int:
    """Cut off what stands behind the last line feed of an open file; return how long the file is then."""
    size = os.fstat(file).st_size
    whole = _whole_lines(file, size)
    if whole < size:
        os.ftruncate(file, whole)
    return whole


def append_lines(file: int, size: int, lines: bytes) -> None:
    """Append whole `lines` to an open file of `size` bytes and sync them; raises OSError, and then none of them stays.

    The file is open for appending (O_APPEND).
    """
    left = memoryview(lines)
    try:
        while left:
            left = left[os.write(file, left) :]
        os.fsync(file)
    except OSError:
        os.ftruncate(file, size)
        raise


def sync_directory(directory: Path) -> None:
    """Make durable which files a directory holds; raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _whole_lines(file: int, size: int) -> int:
    """Return where the last whole line ends."""
    end = size
    while end:
        begin = max(end - _PIECE, 0)
        found = os.pread(file, end - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0
