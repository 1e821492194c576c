"""A Redis of a test's own on loopback, and a proxy before it that is slow, silent or talks rubbish when told to."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

PASSWORD = "a-password-of-the-test"
_SECONDS = 10.0


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


class RedisServer:
    """One server; `start` it, and stop it by its process id."""

    def __init__(self, folder: Path, *arguments: str, port: int | None = None) -> None:
        """Keep nothing: no file is written but in `folder`."""
        self.port = port or free_port()
        self._folder = folder
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it, and wait until it takes connections."""
        found = shutil.which("redis-server")
        if found is None:
            pytest.skip("redis-server is not installed: scripts/system-packages installs it")
        command = [found, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(  # noqa: ASYNC220, S603 -- the program found on the path, started in a moment
            [*command, "--dir", str(self._folder), *self._arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        async with asyncio.timeout(_SECONDS):
            while True:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    await writer.wait_closed()
                    return
                await asyncio.sleep(0.02)

    def stop(self) -> None:
        """Kill it, as a machine that goes away does."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(_SECONDS)

    async def say(self, *words: str) -> bytes:
        """Send one command and return the first line of the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        parts = b"".join(b"$%d\r\n%b\r\n" % (len(word), word.encode()) for word in words)
        writer.write(b"*%d\r\n%b" % (len(words), parts))
        line = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return line


class Proxy:
    """Passes on to a Redis, in the way it is told: `delay` in seconds, or `rubbish` in place of each answer."""

    def __init__(self, target: int) -> None:
        """Pass on to the port `target` of loopback."""
        self.target = target
        self.port = 0
        self.delay = 0.0
        self.rubbish = b""
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on."""
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        try:
            await asyncio.gather(self._forth(reader, back), self._back(there, writer))
        finally:
            writer.close()
            back.close()

    async def _forth(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                back.write(data)
        back.close()

    async def _back(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await there.read(65536):
                await asyncio.sleep(self.delay)
                writer.write(self.rubbish or data)
        writer.close()


@asynccontextmanager
async def proxied(target: int) -> AsyncIterator[Proxy]:
    """Lend a proxy before the port `target`."""
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in proxy.tasks:
            task.cancel()
        await asyncio.gather(*proxy.tasks, return_exceptions=True)
