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
from wellkeep.prove.registry import PROBES

_SECONDS = 1200


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


def _pasted(lines: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run what was copied, in a shell in `folder` that knows `wellkeep` and ends with the first failure."""
    known = f"alias wellkeep='{sys.executable} -m wellkeep'; shopt -s expand_aliases; set -e"
    command = ["/bin/bash", "-c", "\n".join([known, *lines])]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603  # as shown


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


@pytest.mark.timeout(1300)
@pytest.mark.skipif(shutil.which("curl") is None, reason="what is to be pasted needs curl (Debian package: curl)")
def test_a_demo_comes_up_proves_itself_and_can_be_removed(state: Path) -> None:
    try:
        made = _demo(state, "--patients", "5")
        assert made.returncode == 0, made.stdout + made.stderr
        assert len(re.findall(r"^\s*✓|\bproven\b", made.stdout, re.MULTILINE)) >= 7, made.stdout
        assert '"level"' not in made.stdout + made.stderr, "what is taken away on purpose is no news"
        lines = [line.strip() for line in made.stdout.split("Copy, paste, look:")[1].strip().splitlines()]
        pasted = _pasted(lines[:4], state)
        (found,) = json.loads(pasted.stdout)["records"]
        assert found["fields"]["ssn"], pasted.stderr
        checked = _pasted([*lines[:2], *lines[4:8], "echo verified and exported"], state)
        assert checked.stdout.rstrip().endswith("verified and exported"), checked.stdout + checked.stderr
        shown = json.loads(_pasted([*lines[:2], "curl -s --cacert $CA $WK/trust.json"], state).stdout)
        assert sum(len(one["steps"]) > 0 for one in shown["claims"]) == len(PROBES), (
            "what was tried is on the trust page"
        )
        assert shown["counts"]["failed"] == 0
        assert "She reads it back" in made.stdout
        assert "demo-clinician” (role clinician) read" in (state / "who-saw.html").read_text("utf-8")
        assert (state / "ledger-copy" / "manifest.json").is_file()
    finally:
        stopped = [_demo(state, "--stop").returncode, _demo(state, "--stop").returncode]
    assert stopped == [0, 0]
    assert not (state / "wellkeep" / "demo").exists()
    assert not _processes(state)
