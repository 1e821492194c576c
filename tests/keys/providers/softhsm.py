"""Tokens of SoftHSM2 (Debian: softhsm2), in a directory of the tests' own."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
TOOL = "softhsm2-util"
PIN = "248163"


@dataclass
class SoftHsm:
    """One token."""

    directory: Path
    label: str
    pin: Path

    @property
    def tokens(self) -> Path:
        """Where the library keeps them."""
        return self.directory / "tokens"


def soft_hsm(directory: Path, label: str) -> SoftHsm:
    """Make a token; the library reads where they lie from SOFTHSM2_CONF, once a process. Skips where it is missing."""
    if not MODULE.exists() or shutil.which(TOOL) is None:
        pytest.skip("SoftHSM2 is not installed (scripts/system-packages)")
    made = SoftHsm(directory, label, directory / f"{label}.pin")
    made.tokens.mkdir(exist_ok=True)
    configuration = directory / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {made.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    made.pin.write_text(PIN)
    made.pin.chmod(0o600)
    subprocess.run(  # noqa: S603 -- Debian's tool, our own arguments
        [TOOL, "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "90817263"],
        check=True,
        capture_output=True,
    )
    return made
