"""A deployment as its operator has it: made by the product, served by a process of its own, commanded from a shell."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec

from database import ENVIRONMENT, scratch_home
from wellkeep.assembly.database import Database
from wellkeep.assembly.home import Home
from wellkeep.assembly.pinning import pinned
from wellkeep.base.listen_settings import ListenSettings
from wellkeep.prove.server import free_addresses

START_SECONDS = 180.0
STOP_SECONDS = 40.0
COMMAND_SECONDS = 300.0
WELLKEEP = (sys.executable, "-m", "wellkeep")


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def all(self) -> str:
        """Both streams, to look for what must or must not be told."""
        return self.out + self.err

    def json(self) -> Any:
        """Return the document on stdout, which must be the only thing there."""
        return json.loads(self.out)


def environment(home: Path | None = None, *, key: str | None = None) -> dict[str, str]:
    """Return the environment of a command: ours, without anybody's settings of wellkeep."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WELLKEEP_")}
    kept |= {"COLUMNS": "100", "NO_COLOR": "1"}
    if home is not None:
        kept["WELLKEEP_HOME"] = str(home)
    if key is not None:
        kept["WELLKEEP_API_KEY"] = key
    return kept


def command(
    *arguments: str | Path,
    home: Path | None = None,
    key: str | None = None,
    cwd: Path | None = None,
    more: dict[str, str] | None = None,
) -> Said:
    """Run `wellkeep` with `arguments` to its end."""
    done = subprocess.run(  # noqa: S603 -- our own program
        [*WELLKEEP, *map(str, arguments)],
        env=environment(home, key=key) | (more or {}),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return Said(done.returncode, done.stdout, done.stderr)


@dataclass
class Deployment:
    """One deployment, served or not."""

    home: Home
    administrator: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def path(self) -> Path:
        return self.home.path

    @property
    def url(self) -> str:
        return f"https://{self.home.settings().listen.public}"

    def wk(self, *arguments: str | Path, key: str | None = None, cwd: Path | None = None) -> Said:
        """Run a command on this deployment."""
        return command(*arguments, home=self.path, key=key, cwd=cwd)

    def key(self, tenant: str, *roles: str) -> str:
        """Make an API key, as the operator does."""
        chosen = [part for role in roles for part in ("--role", role)]
        made = self.wk("apikey", "create", "--tenant", tenant, *chosen, "--json")
        assert made.code == 0, made.err
        return str(made.json()["key"])

    def client(self, key: str | None = None) -> httpx.Client:
        """Return a client of the API; whoever asks closes it."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return httpx.Client(
            base_url=self.url,
            headers=headers,
            verify=pinned(self.home.resolve("secrets/tls.crt")),
            timeout=120,
            trust_env=False,
        )

    def start(self, *options: str, output: Path | None = None, program: Sequence[str | Path] = WELLKEEP) -> None:
        """Serve it by `program`, and wait until it answers."""
        with (output or self.home.log / "serve.out").open("ab") as stream:
            self.process = subprocess.Popen(  # noqa: S603 -- our own program
                [*program, "serve", str(self.path), *options],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream if output is None else subprocess.DEVNULL,
                start_new_session=True,
            )
        began = time.monotonic()
        with self.client() as client:
            while not self._ready(client):
                assert self.process.poll() is None, (self.home.log / "serve.out").read_text()
                assert time.monotonic() - began < START_SECONDS, "the server did not answer in time"
                time.sleep(0.1)

    @staticmethod
    def _ready(client: httpx.Client) -> bool:
        try:
            return client.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def stop(self) -> int | None:
        """Stop the server as its operator does; return its exit code."""
        if self.process is None:
            return None
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise
        self.process = None
        return code

    def remove(self) -> None:
        """Stop everything and remove it."""
        try:
            self.stop()
        finally:
            if self.home.settings_file.exists():
                Database(self.home, self.home.settings()).stop()


@contextmanager
def deployment(*, serve: Sequence[str] | None = None) -> Iterator[Deployment]:
    """Make a deployment on free ports below a new directory, serve it with options `serve`, and remove it."""
    folder = scratch_home()
    made = Deployment(Home(folder / "home"))
    public, admin, plain = free_addresses(3)
    listen = ListenSettings(public=public, admin=admin, plain=plain)
    try:
        said = command("init", made.path, "--environment", ENVIRONMENT, "--json")
        assert said.code == 0, said.err
        made.administrator = said.json()["administrator_key"]
        made.home.write_settings(msgspec.structs.replace(made.home.settings(), listen=listen))
        if serve is not None:
            made.start(*serve)
        yield made
    finally:
        made.remove()
        shutil.rmtree(folder, ignore_errors=True)
