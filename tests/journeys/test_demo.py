"""The demo as a newcomer meets it: it comes up, proves itself, and what it says to copy and paste works."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from database import scratch_home

_SECONDS = 240


@pytest.fixture
def state() -> Iterator[Path]:
    """Make a folder for the demo that is left running; PostgreSQL, another user where we are root, must get into it."""
    folder = scratch_home()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _demo(state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "WELLKEEP_SAMPLES"}
    environment |= {"XDG_STATE_HOME": str(state), "COLUMNS": "300", "NO_COLOR": "1"}
    return subprocess.run(  # noqa: S603  # our own program
        [sys.executable, "-m", "wellkeep", "demo", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )


def _pasted(lines: list[str]) -> subprocess.CompletedProcess[str]:
    """Run what was copied, in a shell that knows `wellkeep`."""
    known = f"alias wellkeep='{sys.executable} -m wellkeep'; shopt -s expand_aliases"
    script = "\n".join([known, *lines])
    return subprocess.run(["/bin/bash", "-c", script], capture_output=True, text=True, timeout=60, check=False)  # noqa: S603  # as shown


def _processes(folder: Path) -> list[str]:
    """Return the command lines of the processes that work in `folder`."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command:
            found.append(command)
    return found


@pytest.mark.skipif(shutil.which("curl") is None, reason="what is to be pasted needs curl (Debian package: curl)")
def test_a_demo_comes_up_proves_itself_and_can_be_removed(state: Path) -> None:
    try:
        made = _demo(state, "--patients", "5")
        assert made.returncode == 0, made.stdout + made.stderr
        assert len(re.findall(r"^\s*✓|\bproven\b", made.stdout, re.MULTILINE)) >= 7, made.stdout
        lines = [line.strip() for line in made.stdout.split("Copy, paste, look:")[1].strip().splitlines()]
        pasted = _pasted(lines[:3])
        (found,) = json.loads(pasted.stdout)["records"]
        assert found["fields"]["ssn"], pasted.stderr
        verified = _pasted(lines[3:4])
        assert verified.returncode == 0, verified.stdout + verified.stderr
    finally:
        stopped = [_demo(state, "--stop").returncode, _demo(state, "--stop").returncode]
    assert stopped == [0, 0]
    assert not (state / "wellkeep" / "demo").exists()
    assert not _processes(state)
