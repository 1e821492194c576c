"""A process that holds keys leaves no core, and no other process of its account reads it: tried on real processes.

What needs an account that is not root (root reads everything) runs as `nobody` where the tests run as root.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what Linux promises is tried on Linux")

_ATTACK = """
import ctypes, os, resource, signal, sys
from wellkeep.base.process import close_to_others
closed = sys.argv[1] == "closed"
if os.geteuid() == 0:
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as of a process that this account started
ready, tell = os.pipe()
victim = os.fork()
if victim == 0:
    if closed:
        close_to_others()
    os.write(tell, b"x")
    signal.pause()
os.read(ready, 1)
said = []
libc = ctypes.CDLL(None, use_errno=True)
for name in ("mem", "environ", "maps"):
    try:
        open(f"/proc/{victim}/{name}", "rb").close()
        said.append(f"{name} opened")
    except PermissionError:
        said.append(f"{name} refused")
attached = libc.ptrace(16, victim, 0, 0)
said.append("attached" if attached == 0 else "not attached")
if attached == 0:
    os.waitpid(victim, 0)
os.kill(victim, signal.SIGKILL)
print(", ".join(said))
"""
_STATE = """
import os, resource
from pathlib import Path
from wellkeep.base.process import close_to_others, is_readable_by_others, leave_no_core
before = is_readable_by_others()
close_to_others()
close_to_others()
leave_no_core()
print(before, is_readable_by_others(), resource.getrlimit(resource.RLIMIT_CORE))
print(Path("/proc/self/coredump_filter").read_text().strip(), len(os.listdir("/proc/self/fd")) > 2)
"""
_CRASH = """
import os, resource, signal, sys
try:
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
except ValueError:
    if sys.argv[1] == "open":
        sys.exit(77)
open("/proc/self/coredump_filter", "w").write("0x33")
if sys.argv[1] == "closed":
    from wellkeep.base.process import close_to_others
    close_to_others()
elif sys.argv[1] == "limited":
    from wellkeep.base.process import leave_no_core
    leave_no_core()
os.kill(os.getpid(), signal.SIGSEGV)
"""


def python(program: str, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 -- our own program
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout.strip()


def test_limit_filter_and_dumpable_are_set_and_may_be_set_again() -> None:
    first, second = python(_STATE).splitlines()
    assert first in {"True False (1, 1)", "True False (0, 0)"}
    assert second == "00000000 True"


def test_another_process_of_the_same_account_neither_reads_nor_traces_it() -> None:
    assert python(_ATTACK, "closed") == "mem refused, environ refused, maps refused, not attached"


def test_without_it_the_same_process_reads_and_traces() -> None:
    """The control: else the refusals above would say nothing."""
    said = python(_ATTACK, "open")
    if "not attached" in said:
        pytest.skip("this machine lets nobody trace")
    assert said == "mem opened, environ opened, maps opened, attached"


@pytest.mark.parametrize("manner", ["closed", "limited"])
def test_a_crash_leaves_no_core(manner: str, tmp_path: Path) -> None:
    assert not dumped(manner, tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_it_a_crash_leaves_one(tmp_path: Path) -> None:
    """The control, where the machine makes cores at all."""
    if Path("/proc/sys/kernel/core_pattern").read_text().strip() not in {"core", "core.%p"}:
        pytest.skip("this machine's cores go elsewhere")
    assert dumped("open", tmp_path)
    assert list(tmp_path.iterdir())


def dumped(manner: str, folder: Path) -> bool:
    """Crash a process that was free to dump, and return whether the kernel says that it dumped a core."""
    process = subprocess.Popen([sys.executable, "-c", _CRASH, manner], cwd=folder)  # noqa: S603 -- our own program
    _, status = os.waitpid(process.pid, 0)
    process.returncode = 0
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 77:
        pytest.skip("this session may make no cores")
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGSEGV
    return os.WCOREDUMP(status)
