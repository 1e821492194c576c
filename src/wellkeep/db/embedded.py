"""The embedded PostgreSQL: started, adopted and stopped by us, reached by a Unix socket alone.

Rules: no TCP; SCRAM for everybody; an unprivileged account; one launcher at a time (a lock file); a server that
outlived our own kill -9 is taken over instead of started twice; a data directory of another version, environment or
deployment is refused before anything is touched. The threats are a database that others on the machine can enter, and
one that loses what it acknowledged.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID

from wellkeep.base.errors import Misconfigured
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.process import leave_no_core
from wellkeep.base.secrets import Secret
from wellkeep.db import binaries as programs
from wellkeep.db import cluster, passwords, postmaster
from wellkeep.db.account import DEFAULT_ACCOUNT, Account, require_traversable, server_account
from wellkeep.db.dsn import Endpoint
from wellkeep.db.roles import LOGIN_ROLES

DEFAULT_DATABASE = "wellkeep"
_PORT = 5432
_SOCKET_NAME = f".s.PGSQL.{_PORT}"
_SOCKET_BYTES = 107
_PAUSE_SECONDS = 0.005

_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "67108864", "MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TOP_PAD_": "4194304"}
"""For glibc (mallopt(3)): a backend keeps what it has freed. Given back after each batch, it faults in page by page."""


class EmbeddedServer:
    """One PostgreSQL cluster below `home`/postgres, and how to reach it."""

    def __init__(
        self,
        home: Path,
        environment: str,
        *,
        deployment: UUID = PLATFORM_TENANT,
        bin_dir: Path | None = None,
        prefixes: Path | None = None,
        account: str = DEFAULT_ACCOUNT,
        settings: Mapping[str, str] | None = None,
        start_seconds: float = 120.0,
        stop_seconds: float = 60.0,
    ) -> None:
        """Describe the server; nothing happens before `start`.

        `bin_dir` names the machine's own programs instead of the wheel's; `prefixes` is where the wheel's are copied
        to (default: beside the cluster); `settings` are PostgreSQL's, except those of durability and logging.
        """
        self.home = Path(home).absolute()
        self.root = self.home / "postgres"
        self.data = self.root / "data"
        self.environment = environment
        self.deployment = deployment
        self._bin_dir = bin_dir
        self._prefixes = prefixes or self.root / "software"
        self._account_name = account
        self._settings = dict(settings or {})
        self._start_seconds = start_seconds
        self._stop_seconds = stop_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._passwords: Mapping[str, Secret[str]] = {}
        self._sockets: Path | None = None

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    @property
    def pid(self) -> int | None:
        """The postmaster's pid while it runs."""
        found = postmaster.running(self.data)
        return None if found is None else found.pid

    @property
    def passwords(self) -> Mapping[str, Secret[str]]:
        """The password of each login role, for `roles.ensure_roles`; without the superuser's."""
        return {role: self._password(role) for role in LOGIN_ROLES}

    def endpoint(self, role: str = cluster.SUPERUSER, database: str = DEFAULT_DATABASE) -> Endpoint:
        """Return how `role` reaches `database`. Raises Misconfigured before the first start or for an unknown role."""
        if self._sockets is None:
            raise Misconfigured("The embedded PostgreSQL has not been started.")
        return Endpoint(
            host=str(self._sockets), port=_PORT, database=database, user=role, password=self._password(role)
        )

    def program(self, name: str) -> str:
        """Return the path of a program of this PostgreSQL, such as `psql`. Raises Misconfigured where there is none."""
        return self._binaries().program(name)

    def dsn(self, role: str = cluster.SUPERUSER, database: str = DEFAULT_DATABASE) -> Secret[str]:
        """Return `endpoint` as a DSN; it holds the password."""
        return self.endpoint(role, database).url()

    def start(self) -> None:
        """Start the server, or take over the one that runs already; return when it accepts connections.

        Raises Misconfigured where it can't be started, saying what to change.
        """
        account = server_account(self._account_name)
        self.root.mkdir(mode=0o711, parents=True, exist_ok=True)
        require_traversable(self.root, account)
        with self._launcher_lock():
            binaries = self._binaries()
            sockets = self._sockets = self._socket_directory(account)
            self._passwords = passwords.load_or_create(self.root / "passwords.json", (cluster.SUPERUSER, *LOGIN_ROLES))
            expected = cluster.identity(self.environment, self.deployment, binaries)
            if self.data.exists():
                cluster.require_identity(self.data, expected)
            else:
                cluster.create(self.data, expected, binaries, account, self._password(cluster.SUPERUSER))
            configuration = cluster.write_configuration(self.root, self.data, sockets, self._settings)
            self._start_or_adopt(binaries, account, configuration, sockets)

    def stop(self) -> None:
        """Stop the server fast: open transactions are rolled back, what was committed is flushed.

        Raises Misconfigured where it does not leave in time.
        """
        if not self.root.exists():
            return
        with self._launcher_lock():
            found = postmaster.running(self.data)
            if found is None:
                self._reap()
                return
            os.kill(found.pid, signal.SIGINT)
            gone = postmaster.wait_until_gone(found.pid, self.data, self._stop_seconds)
            self._reap()
            if not gone:
                raise Misconfigured(f"PostgreSQL (pid {found.pid}) did not stop. Look into {self.data / 'log'}.")

    def _password(self, role: str) -> Secret[str]:
        found = self._passwords.get(role)
        if found is None:
            raise Misconfigured("There is no such role in the embedded PostgreSQL, or it has not been started.")
        return found

    def _binaries(self) -> programs.Binaries:
        if self._bin_dir is not None:
            return programs.installed(self._bin_dir)
        return programs.packaged(self._prefixes)

    def _start_or_adopt(
        self, binaries: programs.Binaries, account: Account, configuration: Path, sockets: Path
    ) -> None:
        found = postmaster.running(self.data)
        if found is not None and found.stopping:
            postmaster.wait_until_gone(found.pid, self.data, self._stop_seconds)
            found = postmaster.running(self.data)
        if found is not None:
            if found.sockets and Path(found.sockets) != sockets:
                raise Misconfigured(
                    f"A server runs in {self.data} with its socket in {found.sockets}. Stop it (`pg_ctl stop`) first."
                )
            os.kill(found.pid, signal.SIGHUP)
            self._wait_until_ready(found.pid)
            return
        self._reap()
        postmaster.clear_leftovers(self.data, socket=sockets / _SOCKET_NAME)
        self._process = self._launch(binaries, account, configuration)
        self._wait_until_ready(self._process.pid)

    def _launch(self, binaries: programs.Binaries, account: Account, configuration: Path) -> subprocess.Popen[bytes]:
        leave_no_core()  # a backend's core holds wrapped keys, tokens and whatever its queries held
        log = os.open(self._startup_log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            return subprocess.Popen(  # noqa: S603 -- our own program and arguments, no shell
                [binaries.program("postgres"), "-D", str(self.data), "-c", f"config_file={configuration}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"} | _MEMORY,
                start_new_session=True,  # a Ctrl-C at our terminal is not the server's
                umask=0o077,
                **account.credentials(),
            )
        finally:
            os.close(log)

    def _wait_until_ready(self, pid: int) -> None:
        deadline = time.monotonic() + self._start_seconds
        while time.monotonic() < deadline:
            recorded = postmaster.read_pid_file(self.data)
            if recorded is not None and recorded.pid == pid and recorded.ready:
                return
            exited = self._process is not None and self._process.poll() is not None
            if exited or (self._process is None and postmaster.running(self.data) is None):
                self._reap()
                raise Misconfigured(f"PostgreSQL did not start. It says why in {self._startup_log}.")
            time.sleep(_PAUSE_SECONDS)
        raise Misconfigured(
            f"PostgreSQL is not ready after {self._start_seconds:.0f} s. Look into {self.data / 'log'}."
        )

    @property
    def _startup_log(self) -> Path:
        return self.root / "startup.log"

    def _reap(self) -> None:
        """Collect our child, if it ended, so that no zombie keeps its pid."""
        if self._process is not None and self._process.poll() is None:
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                return
        self._process = None

    def _socket_directory(self, account: Account) -> Path:
        """Return a 0711 directory of `account`'s whose socket path fits into the kernel's 107 bytes."""
        preferred = self.root / "run"
        if _fits(preferred):
            return _own_directory(preferred, account)
        name = f"wellkeep-{hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]}"
        for base in (os.environ.get("XDG_RUNTIME_DIR"), "/run", "/tmp"):  # noqa: S108 -- its owner is checked below
            if base and os.access(base, os.W_OK) and _fits(Path(base, name)):
                require_traversable(Path(base), account)
                return _own_directory(Path(base, name), account)
        raise Misconfigured(
            f"The path of PostgreSQL's socket would be longer than {_SOCKET_BYTES} bytes, and no short directory is "
            "writable. Choose a shorter data directory."
        )

    @contextmanager
    def _launcher_lock(self) -> Iterator[None]:
        descriptor = os.open(self.root / "launcher.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _fits(directory: Path) -> bool:
    return len(os.fsencode(directory / _SOCKET_NAME)) <= _SOCKET_BYTES


def _own_directory(directory: Path, account: Account) -> Path:
    """Make `directory`, or check that nobody else made it first."""
    try:
        directory.mkdir(mode=0o711)
        directory.chmod(0o711)
        account.own(directory)
    except FileExistsError:
        status = directory.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != account.uid or status.st_mode & 0o022:
            raise Misconfigured(f"{directory} exists and is not ours. Remove it.") from None
    return directory
