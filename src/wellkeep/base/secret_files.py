"""Secrets in files of their own, under `secrets/`: read only where nobody else could have read or put them.

Rule: a plain file, no link, of this account, closed to others; the open descriptor is judged, not the name. What is
wrong is told with what to do, without a byte of what the file holds.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from wellkeep.base.errors import Misconfigured
from wellkeep.base.secrets import Secret, wiped

_MOST_BYTES = 16_384
_HELD = re.compile(rb"\s*(\S(?:.*\S)?)\s*", flags=re.DOTALL)
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read_secret(path: Path) -> Secret[bytes]:
    """Return what the file at `path` holds, at most 16 KiB, without white space around it. Raises Misconfigured."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        raise Misconfigured(f"The secret at {path} can't be opened: it must be a plain file of this account") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise Misconfigured(f"The secret at {path} must be a plain file of this account")
        if status.st_mode & _OTHERS:
            raise Misconfigured(f"{path} can be reached by other accounts. Run: chmod 600 {path}")
        with wiped(_MOST_BYTES + 1) as buffer:
            size = os.readv(descriptor, [buffer])
            held = _HELD.fullmatch(buffer, 0, size)
            if held is None or size > _MOST_BYTES:
                raise Misconfigured(f"The secret at {path} is empty or too long. Put it there again.")
            return Secret(bytes(memoryview(buffer)[slice(*held.span(1))]))
    finally:
        os.close(descriptor)
