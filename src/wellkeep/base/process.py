"""This process, closed to whoever else runs programs on the machine, and what it leaves behind when it dies.

Rules: a process that is to hold a key first leaves no core dump and can't be read or traced by another process of the
same account; nothing turns that off. The threats are a crash that writes every key to a disk (or hands it to a crash
reporter), and any other program of the account that reads our memory.

What is asked of the kernel (Linux; core(5), prctl(2), ptrace(2)):

- RLIMIT_CORE is 1, hard and soft. Less than a page, so no file is written; and of all values the only one for which the
  kernel starts no program that `core_pattern` names either: it does not look at a limit of 0 there (fs/coredump.c).
- `coredump_filter` is 0: a dump that is made all the same holds no memory. Limit and filter outlive exec, so they hold
  for PostgreSQL too, when it was started from here.
- PR_SET_DUMPABLE is 0: no dump, and /proc/<pid>/mem, environ and ptrace are root's alone. It ends with exec, so each
  worker asks for it itself; a child that is another program does without.

Root, the kernel and whatever runs below it read everything all the same.
"""

from __future__ import annotations

import ctypes
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from wellkeep.base.errors import Misconfigured

_NO_CORE: Final = 1
_PR_GET_DUMPABLE: Final = 3
_PR_SET_DUMPABLE: Final = 4
_FILTER: Final = Path("/proc/self/coredump_filter")


def leave_no_core() -> None:
    """Have this process, and what it starts from now on, leave no core dump; doing it again changes nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    least = _NO_CORE if hard == resource.RLIM_INFINITY else min(_NO_CORE, hard)
    if (soft, hard) != (least, least):
        resource.setrlimit(resource.RLIMIT_CORE, (least, least))
    with suppress(OSError):  # without /proc, or closed already by an account that is not root: the limit stands
        _FILTER.write_text("0")


def close_to_others() -> None:
    """Leave no core dump, and let no other process of this account read or trace this one.

    Called before the first key is read; doing it again changes nothing. Raises Misconfigured where Linux refuses.
    Elsewhere than on Linux the limit is all there is.
    """
    leave_no_core()
    if sys.platform == "linux" and is_readable_by_others():
        _prctl(_PR_SET_DUMPABLE, 0)
        if is_readable_by_others():
            raise Misconfigured("The kernel lets other programs of this account read wellkeep's memory (prctl refused)")


def is_readable_by_others() -> bool:
    """Say whether other processes of this account may read and trace this one, as far as the kernel tells."""
    return sys.platform != "linux" or _prctl(_PR_GET_DUMPABLE, 0) != 0


def _prctl(option: int, value: int) -> int:
    """Ask the kernel; -1 where it refuses."""
    unused = ctypes.c_ulong(0)
    return int(ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), unused, unused, unused))
