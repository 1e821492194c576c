"""What runs in a data directory: read from the server's own pid file and from the kernel, never guessed.

Rules: a pid file alone proves nothing, since it outlives a kill -9 and its number is given to somebody else; a process
counts as this cluster's when its working directory is the data directory. A cluster is never started while a process
of its last run is left. The threat is two servers on one set of files, which destroys them.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wellkeep.base.errors import Misconfigured

_PROC = Path("/proc")
_LINES_WHEN_READY = 8
_PAUSE_SECONDS = 0.01
_ORPHANS_LEAVE_SECONDS = 5.0
_ORPHANS_DIE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class PidFile:
    """The parts of `postmaster.pid` that we need."""

    pid: int
    sockets: str
    ready: bool
    stopping: bool


def read_pid_file(data: Path) -> PidFile | None:
    """Return what `postmaster.pid` says, or None where there is none or it is not yet whole."""
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
        pid = int(lines[0])
    except (FileNotFoundError, ValueError, IndexError):
        return None
    sockets = lines[4] if len(lines) > 4 else ""  # noqa: PLR2004 -- line 5 is the socket directory
    status = lines[_LINES_WHEN_READY - 1].strip() if len(lines) >= _LINES_WHEN_READY else ""
    return PidFile(pid=pid, sockets=sockets, ready=status == "ready", stopping=status == "stopping")


def processes_of(data: Path) -> list[int]:
    """Return the pids whose working directory is `data`: the postmaster and its children.

    Where the kernel has no /proc, the pid file's number counts while such a process exists.
    """
    if not (_PROC / "self").exists():
        recorded = read_pid_file(data)
        return [recorded.pid] if recorded is not None and _exists(recorded.pid) else []
    wanted = os.path.realpath(data)
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit() and _works_in(wanted, entry.name)]


def _works_in(wanted: str, pid: str) -> bool:
    try:
        return str((_PROC / pid / "cwd").readlink()) == wanted
    except OSError:  # gone meanwhile, or another account's
        return False


def running(data: Path) -> PidFile | None:
    """Return the pid file of the postmaster that runs in `data`, or None."""
    recorded = read_pid_file(data)
    if recorded is None or not _is_of(data, recorded.pid):
        return None
    return recorded


def _is_of(data: Path, pid: int) -> bool:
    if not (_PROC / "self").exists():
        return _exists(pid)
    return _works_in(os.path.realpath(data), str(pid))


def clear_leftovers(data: Path, *, socket: Path) -> None:
    """Wait for the children of a killed postmaster to leave, then remove its stale pid file and the lock of `socket`.

    They notice by themselves; one that was stopped or hangs is killed, as PostgreSQL's manual advises, since no
    transaction of theirs can commit any more. Raises Misconfigured where one does not even die.

    Both files name a pid, and PostgreSQL takes them for a running server's while anything has that number: a stranger
    after a restart of the machine, or its own zombie where the parent collects no children (pid 1 of a container).
    """
    began = time.monotonic()
    while orphans := processes_of(data):
        waited = time.monotonic() - began
        if waited > _ORPHANS_DIE_SECONDS:
            raise Misconfigured(f"Processes of the last run hold {data} and can't be killed. Restart the machine.")
        if waited > _ORPHANS_LEAVE_SECONDS:
            for pid in orphans:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(_PAUSE_SECONDS)
    if (_PROC / "self").exists():
        for stale in (data / "postmaster.pid", socket, socket.with_name(f"{socket.name}.lock")):
            stale.unlink(missing_ok=True)


def wait_until_gone(pid: int, data: Path, seconds: float) -> bool:
    """Wait for `pid` to leave `data`; False where it is still there after `seconds`."""
    deadline = time.monotonic() + seconds
    while pid in processes_of(data):
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE_SECONDS)
    return True


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
