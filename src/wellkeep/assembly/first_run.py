"""How far a first run is: which steps are done, kept beside the settings so that an interrupted one goes on.

Rules: the file holds which step is next and ids, never a secret; it is there while the first run is under way and gone
with its end; a folder with anything in it but that file is none to begin in. Each step is idempotent and is written
down once it is done, so a crash between the two leads to the step once more. The threat is a second "first" run, that
makes an administrator in a deployment which has its own.
"""

from __future__ import annotations

import os
from enum import IntEnum
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from wellkeep.assembly.home import Home
from wellkeep.base.errors import Misconfigured

FILE_NAME: Final = "setup.json"


class Stage(IntEnum):
    """The steps, in their order; the value says what is to be done next."""

    BEGIN = 0
    SHARES = 1
    ADMINISTRATOR = 2
    FACTOR = 3
    PROVIDER = 4
    PROOF = 5
    PROVEN = 6
    OVER = 7


class Noted(msgspec.Struct, forbid_unknown_fields=True):
    """What is kept: the step that is next, how the root key is split, and whom the steps before have made."""

    stage: Stage = Stage.BEGIN
    split: str = "2/3"
    tenant: UUID | None = None
    tenant_name: str = ""
    person: UUID | None = None
    sample: bool = False


class FirstRun:
    """The first run of the deployment in a home."""

    def __init__(self, home: Home) -> None:
        """Go on with the run that was begun there, or begin one.

        Raises Misconfigured where the folder holds something else.
        """
        self.home = home
        self._file = home.path / FILE_NAME
        self.noted = self._read()

    @property
    def stage(self) -> Stage:
        """Which step is next."""
        return self.noted.stage

    def note(self, stage: Stage | None = None, **found: object) -> None:
        """Keep that `stage` is next, and what was found; a crash leaves the old file or the new one."""
        changed = msgspec.structs.replace(self.noted, **found)
        if stage is not None:
            changed.stage = stage
        self.home.path.mkdir(mode=0o711, parents=True, exist_ok=True)
        staging = self._file.with_name(f".{FILE_NAME}.new")
        descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(msgspec.json.encode(changed))
            stream.flush()
            os.fsync(stream.fileno())
        staging.replace(self._file)
        self.noted = changed

    def end(self) -> None:
        """Keep that it is over: from here on the folder is a deployment like any other."""
        self._file.unlink(missing_ok=True)
        self.noted = msgspec.structs.replace(self.noted, stage=Stage.OVER)

    def _read(self) -> Noted:
        if self._file.exists():
            try:
                return msgspec.json.decode(self._file.read_bytes(), type=Noted)
            except (msgspec.DecodeError, OSError):
                raise Misconfigured(f"{self._file} can't be read. Finish by: wellkeep init {self.home.path}") from None
        if self.home.settings_file.exists():
            raise Misconfigured(f"{self.home.path} is set up already. Serve it with: wellkeep serve {self.home.path}")
        if not _empty(self.home.path):
            raise Misconfigured(f"{self.home.path} is not empty. Name a folder that is, or one that is not there yet.")
        return Noted()


def _empty(folder: Path) -> bool:
    """Say whether nothing is in `folder`; what a crash left of our own file does not count."""
    if not folder.exists():
        return True
    return folder.is_dir() and {one.name for one in folder.iterdir()} <= {f".{FILE_NAME}.new"}
