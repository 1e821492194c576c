"""The home of a deployment: its directories and who may enter them.

Rule: `secrets/` is 0700 and its files 0600, whoever runs us; the home itself can be passed through, because the
embedded PostgreSQL runs under an account of its own, but nobody else writes there: who could, would put a directory of
their own in the place of `secrets/`.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from wellkeep.base.errors import Misconfigured
from wellkeep.base.settings import FILE_NAME, Settings, dump, load


@dataclass(frozen=True, slots=True)
class Home:
    """Where the parts of one deployment lie.

    `takes_root_key`: whether a root key in this process's environment is this deployment's. It is not a scratch one's,
    made beside the deployment that the process was started for.
    """

    path: Path
    takes_root_key: bool = True

    @property
    def settings_file(self) -> Path:
        """The settings, without secrets."""
        return self.path / FILE_NAME

    @property
    def secrets(self) -> Path:
        """Root key, epoch keys, passwords, TLS key."""
        return self.path / "secrets"

    @property
    def log(self) -> Path:
        """JSON lines of the server."""
        return self.path / "log"

    def resolve(self, relative: str) -> Path:
        """Return the path that a setting names, relative to the home or absolute."""
        return self.path / relative

    def settings(self) -> Settings:
        """Read and check the settings. Raises Misconfigured."""
        return load(self.path)

    def make(self) -> None:
        """Make the directories; those that exist are checked, not changed. Raises Misconfigured."""
        self.path.mkdir(mode=0o711, parents=True, exist_ok=True)
        for directory in (self.secrets, self.log):
            directory.mkdir(mode=0o700, exist_ok=True)
        self.check()

    def check(self) -> None:
        """Raise Misconfigured where others may read the secrets, or change the home, saying how to mend it."""
        self._check_own()
        try:
            status = self.secrets.lstat()
        except FileNotFoundError:
            raise Misconfigured(f"{self.secrets} is gone. Restore it from your backup of the secrets.") from None
        if not stat.S_ISDIR(status.st_mode):
            raise Misconfigured(f"{self.secrets} is not a directory. Restore it from your backup of the secrets.")
        if status.st_mode & 0o077:
            raise Misconfigured(f"Others can read {self.secrets}. Mend it with: chmod 700 {self.secrets}")
        if status.st_uid != os.geteuid():
            raise Misconfigured(f"{self.secrets} belongs to another account. Run wellkeep as the account that made it.")

    def _check_own(self) -> None:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            raise Misconfigured(f"{self.path} is gone. Restore it from your backup, or run: wellkeep init") from None
        if status.st_mode & 0o022:
            raise Misconfigured(f"Others can change what is in {self.path}. Mend it with: chmod go-w {self.path}")
        if status.st_uid != os.geteuid():
            raise Misconfigured(f"{self.path} belongs to another account. Run wellkeep as the account that made it.")

    def write_settings(self, settings: Settings) -> None:
        """Write the settings file so that a crash leaves the old one or the new one, never half of it."""
        staging = self.settings_file.with_name(f".{FILE_NAME}.new")
        with staging.open("w", encoding="utf-8") as stream:
            stream.write(dump(settings))
            stream.flush()
            os.fsync(stream.fileno())
        staging.replace(self.settings_file)
