"""A server process that a probe starts, kills and stops: the same program and environment as ours, on free ports."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from wellkeep.assembly.home import Home
from wellkeep.assembly.pinning import pinned
from wellkeep.keys.keyfile import ROOT_KEY_VARIABLE
from wellkeep.prove.deployment import Unseen

PROGRAM = (sys.executable, "-m", "wellkeep")
"""What a command begins with."""
_READY_SECONDS = 60.0
_STOP_SECONDS = 30.0
_PAUSE_SECONDS = 0.05


def free_addresses(count: int) -> list[str]:
    """Return `count` free loopback addresses as `host:port`; all are held open until all are known."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in held]
        return [f"127.0.0.1:{port}" for port in ports]
    finally:
        for one in held:
            one.close()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit code, and what it said on both streams."""

    code: int
    out: str
    err: str


def ended(*command: str, environment: Mapping[str, str] | None = None) -> Ended:
    """Run a program to its end, with no standard input. Raises Unseen where it takes too long."""
    try:
        done = subprocess.run(  # noqa: S603 -- our own programs
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=_READY_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unseen("a process of ours did not end in time") from None
    return Ended(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def commanding(home: Path) -> dict[str, str]:
    """Return the environment of a command on the scratch deployment in `home`: the live one's root key is not its."""
    kept = {name: value for name, value in os.environ.items() if name != ROOT_KEY_VARIABLE}
    return kept | {"WELLKEEP_HOME": str(home)}


def commanded(home: Path, *arguments: str) -> Ended:
    """Run a command of `wellkeep` on the deployment in `home`, as its operator does. Raises Unseen."""
    return ended(*PROGRAM, *arguments, environment=commanding(home))


def opened_apart(home: Path) -> tuple[bool, str]:
    """Open the deployment in `home` in a process of its own, as a worker does; return whether it did and what it said.

    Raises Unseen where it takes too long.
    """
    done = commanded(home, "tenant", "list")
    return done.code == 0, done.out + done.err


class ServerProcess:
    """`wellkeep serve` on one home."""

    def __init__(
        self, home: Path, health_url: str, *, environment: Mapping[str, str] | None = None, workers: int = 1
    ) -> None:
        """Describe the server of `home`; `health_url` is asked until it answers; `environment` stands in for ours."""
        self._home = home
        self._health_url = health_url
        self._environment = environment
        self._workers = workers
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process's id. Raises Unseen while none runs."""
        if self._process is None:
            raise Unseen("the scratch server does not run")
        return self._process.pid

    async def answers(self) -> bool:
        """Say whether a server of this home answers already."""
        async with self._client() as client:
            try:
                return (await client.get(self._health_url)).is_success
            except httpx.TransportError:
                return False

    def _client(self) -> httpx.AsyncClient:
        """Return a client that this home's certificate alone satisfies: another server at the address is not ours."""
        home = Home(self._home)
        trust = pinned(home.resolve(home.settings().tls.certificate))
        return httpx.AsyncClient(verify=trust, trust_env=False, timeout=2.0)

    async def start(self) -> None:
        """Start the server and wait until it answers. Raises Unseen where it does not."""
        output = os.open(self._home / "log" / "serve.out", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = subprocess.Popen(  # noqa: S603, ASYNC220 -- our own program; starting it takes no time
                [sys.executable, "-m", "wellkeep", "serve", str(self._home), "--workers", str(self._workers)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        finally:
            os.close(output)
        await self._wait_until_ready(self._process)

    async def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _READY_SECONDS
        while loop.time() < deadline:
            if process.poll() is not None:
                raise Unseen("the server did not start; log/serve.out in its home says why")
            if await self.answers():
                return
            await asyncio.sleep(_PAUSE_SECONDS)
        raise Unseen(f"the server did not answer within {_READY_SECONDS:.0f} s")

    def kill(self) -> None:
        """Kill the server and its workers at once, as a crash does (SIGKILL to the whole group)."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(timeout=_STOP_SECONDS)
            self._process = None

    def stop(self) -> None:
        """Stop the server in good order; one that does not leave is killed."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None
