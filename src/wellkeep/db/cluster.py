"""The embedded server's data directory: made whole or not at all, and marked with whose it is.

Rules: `initdb` works in a staging directory and one rename makes the cluster, so an interrupted one is never taken for
it. The marker names format, major version, environment and deployment; a directory of another is refused with the way
to go on, because the wrong data under the right program is how production gets into a test, or a test into production.
All of the server's configuration lies outside the data directory, in files that its own account can't write.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

from wellkeep.base.durable import sync_directory
from wellkeep.base.errors import Misconfigured
from wellkeep.base.secrets import Secret
from wellkeep.db.account import Account
from wellkeep.db.binaries import Binaries

MARKER = "wellkeep.json"
SUPERUSER = "wk_admin"
_FORMAT = 1
_BUILTIN_LOCALE_SINCE = 17
_INITDB_SECONDS = 120

DURABLE_SETTINGS: Mapping[str, str] = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
}
"""What an acknowledged entry stands on; `guard` asserts it on every server."""

QUIET_SETTINGS: Mapping[str, str] = {
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_min_error_statement": "panic",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_transaction_sample_rate": "0",
}
"""What keeps rows, parameters and statements out of the server's log; `guard` asserts it on every server."""

WATCHED_SETTINGS: Mapping[str, str] = {
    "logging_collector": "on",
    # JSON beside the lines for people: a role's or program's name can't break out of its field.
    "log_destination": "stderr,jsonlog",
    "log_connections": "on",
    "log_disconnections": "on",
}
"""What shows every session of the embedded server, however short; see `connection_log`."""

_OTHER_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "password_encryption": "scram-sha-256",
    "default_transaction_isolation": "read committed",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Above ERROR: a failed statement's message may quote a value; what failed is in our own log, without values.
    "log_min_messages": "log",
    "log_directory": "log",
    "log_filename": "postgresql-%a.log",
    "log_truncate_on_rotation": "on",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_line_prefix": "%m [%p] %u@%d ",
    "jit": "off",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    # Used segments of the log are kept: while a new one is filled with zeros all commits wait, for 60 ms.
    "min_wal_size": "512MB",
    # Tags are spread over all of their index: after each checkpoint nearly every new one logs a whole page.
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
}

_HBA = f"""local all all scram-sha-256
local replication {SUPERUSER} scram-sha-256
"""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose cluster a data directory is."""

    environment: str
    deployment: str
    major: int
    format: int = _FORMAT


def identity(environment: str, deployment: UUID, binaries: Binaries) -> Identity:
    """Return the identity that a cluster of this deployment has."""
    return Identity(environment=environment, deployment=str(deployment), major=binaries.major)


def require_identity(data: Path, expected: Identity) -> None:
    """Raise Misconfigured unless the cluster in `data` is the `expected` one; the message says how to go on."""
    found = _read_marker(data)
    version = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    if version != str(expected.major) or found.major != expected.major:
        raise Misconfigured(
            f"{data} was made by PostgreSQL {version}, and this wellkeep brings {expected.major}. Start it with the "
            "wellkeep that made it and write a backup (`wellkeep backup create`), then restore that into a new "
            "directory (`wellkeep backup restore`); or run pg_upgrade on a copy. Nothing was changed."
        )
    if found.environment != expected.environment:
        raise Misconfigured(
            f"{data} belongs to the environment {found.environment!r}, not {expected.environment!r}. Start the "
            "deployment whose data it is, or choose another directory. Nothing was changed."
        )
    if found.deployment != expected.deployment:
        raise Misconfigured(
            f"{data} belongs to another deployment of the environment {found.environment!r}. Put the settings file of "
            "that deployment back, or choose another directory. Nothing was changed."
        )


def create(data: Path, expected: Identity, binaries: Binaries, account: Account, password: Secret[str]) -> None:
    """Make the cluster `data` with checksums and SCRAM, as `account`, the superuser being `wk_admin`.

    Raises Misconfigured where `initdb` fails.
    """
    for leftover in data.parent.glob(f".{data.name}-*"):
        shutil.rmtree(leftover)
    staging = data.with_name(f".{data.name}-{secrets.token_hex(8)}")
    staging.mkdir(mode=0o700)
    account.own(staging)
    try:
        _initdb(staging, binaries, account, password)
        _write_marker(staging, expected)
        staging.rename(data)
        sync_directory(data.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_configuration(directory: Path, data: Path, sockets: Path, extra: Mapping[str, str]) -> Path:
    """Write postgresql.conf and pg_hba.conf into `directory` and return the former's path.

    `extra` may set what is not about durability or logging. Raises Misconfigured where it tries to.
    """
    forbidden = (DURABLE_SETTINGS.keys() | QUIET_SETTINGS.keys() | WATCHED_SETTINGS.keys()) & extra.keys()
    if forbidden:
        raise Misconfigured(f"These settings of PostgreSQL are not open to change: {', '.join(sorted(forbidden))}")
    hba = directory / "pg_hba.conf"
    hba.write_text(_HBA, encoding="ascii")
    hba.chmod(0o644)
    settings = {
        **_OTHER_SETTINGS,
        **extra,
        **DURABLE_SETTINGS,
        **QUIET_SETTINGS,
        **WATCHED_SETTINGS,
        "data_directory": str(data),
        "hba_file": str(hba),
        "unix_socket_directories": str(sockets),
    }
    path = directory / "postgresql.conf"
    lines = [f"{name} = '{_escape(value)}'\n" for name, value in settings.items()]
    path.write_text("".join(lines), encoding="utf-8")
    path.chmod(0o644)
    return path


def _escape(value: str) -> str:
    if "\n" in value:
        raise Misconfigured("A setting of PostgreSQL holds a line break.")
    return value.replace("\\", "\\\\").replace("'", "''")


def _initdb(staging: Path, binaries: Binaries, account: Account, password: Secret[str]) -> None:
    reading, writing = os.pipe()
    try:
        account.own(reading)  # initdb opens the pipe by name, as its own account
        os.write(writing, password.reveal().encode() + b"\n")
        os.close(writing)
        answer = subprocess.run(  # noqa: S603 -- our own program and arguments, no shell
            [
                binaries.program("initdb"),
                f"--pgdata={staging}",
                f"--username={SUPERUSER}",
                f"--pwfile=/dev/fd/{reading}",
                "--auth=scram-sha-256",
                "--data-checksums",
                "--encoding=UTF8",
                "--no-instructions",
                *_locale(binaries),
            ],
            pass_fds=(reading,),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_INITDB_SECONDS,
            cwd="/",
            env={"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"},
            **account.credentials(),
        )
    finally:
        os.close(reading)
    if answer.returncode != 0:
        reason = answer.stderr.decode(errors="replace").strip().splitlines()
        raise Misconfigured(f"initdb failed in {staging.parent}: {reason[-1] if reason else 'no reason given'}")


def _locale(binaries: Binaries) -> list[str]:
    if binaries.major >= _BUILTIN_LOCALE_SINCE:
        return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return ["--locale=C.UTF-8"]


def _write_marker(data: Path, expected: Identity) -> None:
    descriptor = os.open(data / MARKER, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(asdict(expected), stream)
        stream.flush()
        os.fsync(stream.fileno())
    sync_directory(data)


def _read_marker(data: Path) -> Identity:
    try:
        content = json.loads((data / MARKER).read_text(encoding="utf-8"))
        found = Identity(**content)
    except (OSError, ValueError, TypeError):
        raise Misconfigured(
            f"{data} holds no cluster that wellkeep made. Choose an empty directory, or reach that server by a DSN."
        ) from None
    if found.format != _FORMAT:
        raise Misconfigured(f"{data} was made by a newer wellkeep. Use that one.")
    return found
