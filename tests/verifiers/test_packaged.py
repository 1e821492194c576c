"""The one-file verifier comes with the package too, byte for byte, and runs from there with nothing of wellkeep's."""

from __future__ import annotations

import subprocess
import sys
from importlib import resources
from pathlib import Path

from wellkeep.prove.outside_view import VERIFIER, Outsider

ROOT = Path(__file__).parents[2]


def test_both_are_one() -> None:
    """Edit verifiers/wellkeep_verify.py, then copy it over the one in the package."""
    packaged = resources.files("wellkeep.definitions").joinpath(VERIFIER).read_bytes()
    assert packaged == (ROOT / "verifiers" / VERIFIER).read_bytes()


def test_it_runs_alone(tmp_path: Path) -> None:
    outsider = Outsider.settled(tmp_path / "outside", "nobody")
    assert outsider.alone()
    missing = outsider.verify("export", tmp_path / "none")
    assert missing.code == 2
    assert "wellkeep" not in missing.err


def test_it_is_found_by_its_name_in_the_package() -> None:
    command = [sys.executable, "-m", "wellkeep.definitions.wellkeep_verify", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)  # noqa: S603 -- our own
    assert "export" in told.stdout
