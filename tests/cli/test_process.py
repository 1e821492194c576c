"""What the product runs leaves no core: the server, each of its workers, its PostgreSQL, and each command."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deployments import deployment, environment
from wellkeep.db.postmaster import processes_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what Linux promises is tried on Linux")

_COMMAND = """
import sys
from wellkeep.base.process import is_readable_by_others
from wellkeep.cli.main import main
try:
    main()
except SystemExit as ended:
    print("readable" if is_readable_by_others() else "closed", ended.code)
"""


def leaves_no_core(pid: int) -> bool:
    found = re.search(r"^Max core file size +(\S+) +(\S+)", Path(f"/proc/{pid}/limits").read_text(), re.MULTILINE)
    assert found is not None
    empty = int(Path(f"/proc/{pid}/coredump_filter").read_text(), 16) == 0
    return {found[1], found[2]} <= {"0", "1"} and empty


def test_server_workers_and_postgresql_leave_no_core() -> None:
    with deployment(serve=("--workers", "2")) as served:
        assert served.process is not None
        supervisor = served.process.pid
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
        workers = [pid for pid in map(int, children) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        postgres = postgres_of(served.path)
        assert len(workers) == 2
        assert len(postgres) > 4
        kept = {pid: leaves_no_core(pid) for pid in (supervisor, *workers, *postgres)}
        assert all(kept.values()), kept
        before = cores(served.path)
        os.kill(workers[0], signal.SIGSEGV)
        os.kill(supervisor, signal.SIGSEGV)
        status = served.process.wait(timeout=120)
        assert status == -signal.SIGSEGV
        assert cores(served.path) == before


def postgres_of(home: Path) -> list[int]:
    return list(processes_of(home / "postgres" / "data"))


def cores(home: Path) -> list[Path]:
    """Return what looks like a core where our processes work: the home, PostgreSQL's data, and where we stand."""
    return sorted([*home.rglob("core*"), *Path.cwd().glob("core*")])


@pytest.mark.parametrize("arguments", [("--version",), ("tenant", "list"), ("no-such-command",)])
def test_a_command_is_closed_before_it_does_anything(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = subprocess.run(  # noqa: S603 -- our own program
        [sys.executable, "-c", _COMMAND, *arguments],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines()[-1].startswith("closed ")
