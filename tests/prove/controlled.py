"""Running the command line on a copy of the package with one defence taken out.

Everything runs as processes, as it would for an attacker who shipped that copy: nothing is patched in memory.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

import wellkeep
from database import scratch_home
from wellkeep.assembly.home import Home
from wellkeep.base.listen_settings import ListenSettings
from wellkeep.db.postmaster import running
from wellkeep.prove.evidence import Where
from wellkeep.prove.registry import PROBES
from wellkeep.prove.server import free_addresses

SOURCE = Path(wellkeep.__file__).parent
VERIFIER = Path(__file__).parents[2] / "verifiers/python/wellkeep_verify.py"
"""Stands beside the package where it is installed, and so in a copy."""
_SECONDS, _EVERY_SECONDS = 400, 1200
"""How long one command takes at most, and one that runs every probe there is."""


@dataclass(frozen=True)
class Control:
    """One defence and how it is taken out."""

    claim: str
    guards: str
    file: str
    old: str
    new: str
    soak: bool = False

    @property
    def id(self) -> str:
        return f"{self.claim}: {self.guards}"

    @property
    def source(self) -> Path:
        """The file that it patches, where it stands before it is copied."""
        return VERIFIER if self.file == f"../{VERIFIER.name}" else SOURCE / self.file

    def apply(self, package: Path) -> None:
        """Patch the copy in `package`; a text that is not there exactly once means that the control is out of date."""
        path = package / self.file
        text = path.read_text("utf-8")
        assert text.count(self.old) == 1, f"{self.id}: `old` stands {text.count(self.old)} times in {self.file}"
        path.write_text(text.replace(self.old, self.new), "utf-8")


def controls() -> list[Control]:
    """Return every control of the file."""
    text = Path(__file__).with_name("controls.toml").read_text("utf-8")
    return [Control(**entry) for entry in tomllib.loads(text)["control"]]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    def evidence(self) -> dict[str, dict[str, Any]]:
        """Return the evidence that it printed, by claim."""
        return {one["claim"]: one for one in json.loads(self.out)}


class Copy:
    """A package, original or patched, and a directory to run it in."""

    def __init__(self, folder: Path, package: Path) -> None:
        self.folder = folder
        self.package = package
        (folder / "tmp").mkdir(mode=0o711)

    def run(self, *arguments: str, seconds: int = _SECONDS) -> Ended:
        """Run `python ARGUMENTS` where this copy, and no installed one, is imported."""
        environment = os.environ | {"PYTHONPATH": str(self.package.parent), "TMPDIR": str(self.folder / "tmp")}
        process = subprocess.Popen(  # noqa: S603 -- our own program
            [sys.executable, *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        return Ended(process.returncode, out, err)

    def init(self, name: str = "home") -> Path:
        """Make a deployment that listens on addresses of its own, and return its home."""
        home = self.folder / name
        ended = self.run("-m", "wellkeep", "init", str(home), "--json")
        assert ended.code == 0, ended.err
        public, admin, plain = free_addresses(3)
        listen = ListenSettings(public=public, admin=admin, plain=plain)
        Home(home).write_settings(msgspec.structs.replace(Home(home).settings(), listen=listen))
        return home

    def prove(self, home: Path, *claims: str) -> Ended:
        seconds = _SECONDS if claims else _EVERY_SECONDS
        return self.run("-m", "wellkeep", "prove", *claims, "--home", str(home), "--json", seconds=seconds)


@contextmanager
def copied(control: Control | None = None) -> Iterator[Copy]:
    """Lend the package as it is, or a copy of it with `control` applied; what it left running is stopped."""
    folder = scratch_home()
    try:
        package = SOURCE
        if control is not None:
            package = folder / "patched" / "wellkeep"
            shutil.copytree(SOURCE, package)
            shutil.copy(VERIFIER, package.parent)
            control.apply(package)
        copy = Copy(folder, package)
        imported = copy.run("-c", "import wellkeep; print(wellkeep.__file__)")
        assert Path(imported.out.strip()).parent == package, "another package than the copy is imported"
        yield copy
    finally:
        for data in folder.glob("**/postgres/data"):
            left = running(data)
            if left is not None:
                os.kill(left.pid, signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)


def assert_noticed(control: Control, unpatched_home: Path) -> None:
    """Run the probe of the control's claim on the patched copy: it must fail, and say which claim."""
    with copied(control) as copy:
        # A probe that makes its own deployment has the patched copy make it; the home only says which one is meant.
        makes_its_own = PROBES[control.claim].where is Where.SCRATCH
        home = unpatched_home if makes_its_own else copy.init()
        ended = copy.prove(home, control.claim)
    assert ended.code == 1, f"{control.id}: the probe noticed nothing\n{ended.out}\n{ended.err}"
    assert ended.evidence()[control.claim]["state"] == "failed", ended.out
