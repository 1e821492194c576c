"""The world outside, on loopback: TLS servers with manners and without, a resolver that says what it is told to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wellkeep.assembly.tls import make_development_certificate
from wellkeep.base.clock import SystemClock
from wellkeep.base.settings import Place
from wellkeep.egress.dialling import Limits
from wellkeep.egress.egress import Egress
from wellkeep.egress.errors import Reason
from wellkeep.egress.resolving import NotResolved

HOST = "siem.example.org"
LOOPBACK = ("127.0.0.0/8", "::1/128")
PATIENT = Limits(resolve=20.0, connect=20.0, read=20.0, total=40.0, answer=64 * 1024)
"""For whoever answers at all, however slow the machine that both run on."""
QUICK = Limits(resolve=0.4, connect=1.0, read=0.5, total=1.0, answer=64 * 1024)
"""For whoever never answers, and is to be given up."""

Manner = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Noted:
    """Who is told of refusals, in a test."""

    told: list[tuple[str | None, Reason, bytes]] = field(default_factory=list)

    async def denied(self, place: str | None, reason: Reason, destination: bytes) -> None:
        self.told.append((place, reason, destination))

    @property
    def reasons(self) -> list[Reason]:
        return [reason for _, reason, _ in self.told]


@dataclass
class Names:
    """A resolver that gives its answers in turn, the last one again and again."""

    answers: Sequence[Sequence[str]]
    asked: list[str] = field(default_factory=list)

    async def addresses(self, host: str, port: int) -> Sequence[str]:  # noqa: ARG002 -- one for all ports
        self.asked.append(host)
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if not answer:
            raise NotResolved
        return answer


@dataclass
class Certificates:
    """Where a server's chain and key, and its authority, lie."""

    chain: Path
    key: Path
    authority: Path

    @classmethod
    def make(cls, folder: Path, host: str = HOST) -> Certificates:
        made = make_development_certificate(
            certificate=folder / f"{host}.crt", key=folder / f"{host}.key", host=host, clock=SystemClock()
        )
        return cls(made.certificate, made.key, made.authority)

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain, self.key)
        return context


@dataclass
class Server:
    """One server of a test: where it listens, what connected, and what arrived."""

    port: int
    connections: int = 0
    heads: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def serving(
    manner: Manner, trust: ssl.SSLContext | None, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Server]:
    """Serve on a loopback address until the end of the block, then end what still runs."""
    server = Server(0)
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        server.connections += 1
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await manner(_Recording(reader, server), writer)
        finally:
            running.discard(task)
            writer.transport.abort()

    listening = await asyncio.start_server(serve, host, port, ssl=trust)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await asyncio.sleep(0)


class _Recording(asyncio.StreamReader):
    """Reads a request's head and keeps it."""

    def __init__(self, reader: asyncio.StreamReader, server: Server) -> None:
        super().__init__()
        self._of = reader
        self._server = server

    async def readuntil(self, separator: Any = b"\n") -> bytes:
        head = await self._of.readuntil(separator)
        self._server.heads.append(head)
        return head

    async def read(self, n: int = -1) -> bytes:
        return await self._of.read(n)

    async def readexactly(self, n: int) -> bytes:
        return await self._of.readexactly(n)


def answers(raw: bytes) -> Manner:
    """Answer each request with `raw`."""

    async def manner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(raw)
            await writer.drain()

    return manner


POLITE = answers(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take everything, answer nothing."""
    while await reader.read(65536):
        pass


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with a body that has no end."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1000\r\n" + bytes(4096) + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0)  # a drain that need not wait does not let others run, who would tell of the hanging up


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with a byte now and then, each in time by itself."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.1)


async def dripping_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Do the same before the answer has begun."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: .\r\n")
        await writer.drain()
        await asyncio.sleep(0.1)


async def midway(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Promise more than is sent, and hang up."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
    await writer.drain()


async def rubbish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with what is no HTTP."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"\x00\x01 220 welcome\r\n\r\n")
    await writer.drain()


def place(server: Server, certificates: Certificates | None, **changes: object) -> Place:
    """Return the place of a server of a test, let into loopback unless `changes` says otherwise."""
    told: dict[str, object] = {
        "name": "siem",
        "host": HOST,
        "ports": (server.port,),
        "networks": LOOPBACK,
        "ca": None if certificates is None else str(certificates.authority),
    }
    return Place(**(told | changes))  # type: ignore[arg-type]


def way_out(noted: Noted, *places: Place, names: Names | None = None, limits: Limits = PATIENT) -> Egress:
    """Return a way out to `places`; every name resolves to 127.0.0.1 unless `names` says otherwise."""
    return Egress(places=places, denials=noted, resolver=names or Names([["127.0.0.1"]]), limits=limits)
