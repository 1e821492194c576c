"""Witnesses as their operators run them: `wellkeep witness` in a process of its own, killed at will."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from anchors.world import ORIGIN
from deployments import STOP_SECONDS, WELLKEEP, command, environment
from ledger.signing import SIGNER


@dataclass
class Running:
    """A witness that serves."""

    folder: Path
    vkey: str
    port: int
    process: subprocess.Popen[str]

    def kill(self) -> None:
        """Kill it as a power cut would."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)


def made(folder: Path, name: str = "witness.example.org/1") -> str:
    """Make a witness's key in `folder`, as its operator does; return its verifier key."""
    said = command("witness", "keygen", name, "--key", folder / "key", "--json")
    assert said.code == 0, said.err
    return str(said.json()["vkey"])


@contextmanager
def running(folder: Path, vkey: str, *logs: str) -> Iterator[Running]:
    """Serve the witness of `folder` until the end of the block."""
    asked = [part for log in logs or (SIGNER.vkey(ORIGIN),) for part in ("--log", log)]
    with subprocess.Popen(  # noqa: S603 -- our own program
        [
            *(*WELLKEEP, "witness", "--listen", "127.0.0.1:0"),
            *("--state", str(folder / "state"), "--key", str(folder / "key"), *asked),
        ],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:([0-9]+)", said)
        assert found, said + process.stderr.read()
        try:
            yield Running(folder, vkey, int(found[1]), process)
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)
