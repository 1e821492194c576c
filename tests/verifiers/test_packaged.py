"""The one-file verifier is installed beside the package, and runs from there with nothing of wellkeep's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from verifiers.running import PROGRAM
from wellkeep.prove.outside_view import VERIFIER, Outsider


def test_what_is_installed_is_the_file_that_auditors_read(tmp_path: Path) -> None:
    outsider = Outsider.settled(tmp_path / "outside", "nobody")
    assert outsider.program.read_bytes() == PROGRAM.read_bytes(), "`make .venv/test.stamp` installs it again"


def test_it_runs_alone(tmp_path: Path) -> None:
    outsider = Outsider.settled(tmp_path / "outside", "nobody")
    assert outsider.alone()
    missing = outsider.verify("export", tmp_path / "none")
    assert missing.code == 2
    assert "wellkeep" not in missing.err


def test_it_is_found_by_its_name_where_wellkeep_is_installed() -> None:
    command = [sys.executable, "-m", VERIFIER, "--help"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)  # noqa: S603 -- our own
    assert "export" in told.stdout
