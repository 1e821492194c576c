"""What a process and everything it started has cost, read from the kernel's own accounts.

PostgreSQL forks a process for each connection, and its workers come and go: a child that has ended is in its parent's
account, one that lives is not. So a tree's CPU is the account of its root with what it has reaped, plus each living
descendant's. The embedded postmaster is a session of its own and is measured as a tree of its own.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
_UTIME, _STIME, _CUTIME, _CSTIME = 11, 12, 13, 14
_PARENT = 1


def _accounts() -> dict[int, list[str]]:
    """Return the fields of /proc/<pid>/stat after the name, by pid."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue
        found[int(path.parent.name)] = text.rsplit(")", 1)[1].split()
    return found


def cpu_seconds(root: int) -> float:
    """Return the CPU seconds, user and system, of `root`, of all it has reaped and of all that lives below it."""
    accounts = _accounts()
    if root not in accounts:
        raise ProcessLookupError(f"no process {root}: what was to be measured is gone")
    children: dict[int, list[int]] = {}
    for pid, fields in accounts.items():
        children.setdefault(int(fields[_PARENT]), []).append(pid)
    total = 0
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        total += sum(int(accounts[pid][place]) for place in (_UTIME, _STIME, _CUTIME, _CSTIME))
        waiting.extend(children.get(pid, ()))
    return total / TICKS


def own_cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of one living process alone; 0.0 where it has ended."""
    fields = _accounts().get(pid)
    return 0.0 if fields is None else (int(fields[_UTIME]) + int(fields[_STIME])) / TICKS


def rss_mb(pid: int) -> float:
    """Return the resident memory of one process in MB (10^6 bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ProcessLookupError(f"no process {pid}")


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of `values` lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def median(values: Sequence[float]) -> float:
    """Return the median; of ratios of one round each, so that a noisy round has one vote."""
    return statistics.median(values)
