"""Promise: `wellkeep prove` that is told to end leaves nothing running."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from database import scratch_home
from deployments import WELLKEEP, Deployment, deployment, environment

_PATIENCE = 120


@pytest.fixture(scope="module")
def made() -> Iterator[Deployment]:
    with deployment() as found:
        yield found


def working_in(folder: Path) -> list[str]:
    """Return the command lines of the processes that name `folder`."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command:
            found.append(command)
    return found


def until(folder: Path, process: subprocess.Popen[bytes], *, some: bool) -> None:
    """Wait until something works in `folder`, or nothing any more."""
    began = time.monotonic()
    while bool(working_in(folder)) is not some:
        assert not some or process.poll() is None, "it ended before it was told to"
        assert time.monotonic() - began < _PATIENCE, working_in(folder)
        time.sleep(0.1)


def test_sigterm_ends_a_run_with_all_that_it_started(made: Deployment) -> None:
    folder = scratch_home()
    process = subprocess.Popen(  # noqa: S603 -- our own program
        [*WELLKEEP, "prove", "rest.rotation", "--home", str(made.path)],
        env=environment() | {"TMPDIR": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until(folder, process, some=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(_PATIENCE) == 128 + signal.SIGTERM
        until(folder, process, some=False)
    finally:
        process.kill()
        process.wait()
    assert not list(folder.glob("wellkeep-scratch-*")), "nothing of it stays"
    folder.rmdir()
