"""The world that anchors stand in, on loopback: a server that does what a test says, and a root log with an end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from database import Database
from egress.outside import LOOPBACK, Noted, serving, silent
from ledger.making import HOST, Reports, SetClock, prepared
from ledger.signing import SIGNER, Signing, signing
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.settings import Place
from wellkeep.crypto import merkle
from wellkeep.egress.dialling import Limits
from wellkeep.egress.egress import Egress
from wellkeep.ledger.anchors.anchor import Anchor, AnchorFailed, Trouble
from wellkeep.ledger.anchors.outside import Outside
from wellkeep.ledger.checkpoint import Checkpoint, note
from wellkeep.ledger.seal import origin

PATIENT = Limits(resolve=20.0, connect=20.0, read=20.0, total=40.0, answer=256 * 1024)
QUICK = Limits(resolve=1.0, connect=1.0, read=1.0, total=1.5, answer=256 * 1024)
"""For whoever never answers."""
ORIGIN = origin(HOST, PLATFORM_TENANT, 1)
_SIGNED = """
SELECT EXISTS (SELECT FROM ledger.log JOIN ledger.checkpoint USING (tenant_id, epoch, size) WHERE tenant_id = $1)
"""
ENDED = """
INSERT INTO ledger.checkpoint (tenant_id, epoch, size, root, "time", signature) VALUES ($1, $2, $3, $4, now(), $5)
"""
LEAVES = [bytes([number]) * 32 for number in range(40)]


@dataclass
class Asked:
    """A request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    """What a test answers; `raw` goes out as it is."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None

    def encoded(self) -> bytes:
        if self.raw is not None:
            return self.raw
        lines = [f"HTTP/1.1 {self.status} -", f"Content-Length: {len(self.body)}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + self.body


Handler = Callable[[Asked], Awaitable[Reply]]
REDIRECT = Reply(302, headers={"Location": "https://elsewhere.example.org/"})


@dataclass
class Server:
    """Where a test's server listens, and what it was asked."""

    port: int = 0
    asked: list[Asked] = field(default_factory=list)


@asynccontextmanager
async def answering(handler: Handler) -> AsyncIterator[Server]:
    """Answer each request by `handler`, one a connection, until the end of the block."""
    asked: list[Asked] = []

    async def manner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await _request(reader))
        writer.write((await handler(asked[-1])).encoded())
        writer.write_eof()
        await silent(reader, writer)  # until the other side hangs up: it has read it all then

    async with serving(manner, None) as server:
        yield Server(server.port, asked)


async def _request(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}
    return Asked(method, target, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


def always(reply: Reply) -> Handler:
    """Answer everything with `reply`."""

    async def handler(_asked: Asked) -> Reply:
        return reply

    return handler


async def never(_asked: Asked) -> Reply:
    """Take the request and say nothing."""
    await asyncio.sleep(60)
    raise AssertionError


def place(name: str, port: int, **changes: object) -> Place:
    """Return the place of a test's server, which speaks plain HTTP on loopback."""
    told: dict[str, object] = {"name": name, "host": "127.0.0.1", "ports": (port,), "networks": LOOPBACK, "clear": True}
    return Place(**(told | changes))  # type: ignore[arg-type]


def outside(port: int, *, handler: Handler | None = None) -> Outside:
    """Return the way to a test's server; who `never` answers is given up soon."""
    return Outside(way_out(place("anchor", port)), "anchor", limits=QUICK if handler is never else PATIENT)


def way_out(*places: Place) -> Egress:
    """Return a way out to `places`, through the machine's own resolver (they are addresses)."""
    return Egress(places=places, denials=Noted())


def end(size: int = 7, *, root: bytes | None = None, name: str = ORIGIN) -> tuple[bytes, Checkpoint]:
    """Return a signed note and its checkpoint, over the first leaves of a made-up log."""
    found = Checkpoint(name, size, root or merkle.root(LEAVES[:size]))
    return note(found, SIGNER.signature(found)), found


def proving(size: int) -> Callable[[int], Awaitable[list[bytes]]]:
    """Return what proves that older trees of the made-up log are prefixes of that of `size`."""

    async def prove(old: int) -> list[bytes]:
        return merkle.consistency_proof(LEAVES[:size], old_size=old)

    return prove


async def published(anchor: Anchor, size: int = 7) -> tuple[bytes, bytes]:
    """Publish the made-up log's end; return the note and its receipt, which holds."""
    signed, checkpoint = end(size)
    receipt = await anchor.publish(signed, checkpoint, proving(size))
    anchor.check(receipt, signed)
    return signed, receipt


async def trouble(anchor: Anchor, size: int = 7) -> Trouble:
    """Return what publishing the made-up log's end fails with."""
    signed, checkpoint = end(size)
    try:
        await anchor.publish(signed, checkpoint, proving(size))
    except AnchorFailed as failed:
        return failed.trouble
    raise AssertionError("it was published")


@dataclass
class Root:
    """A deployment's root log, with a writer and a checkpointer that run."""

    database: Database
    parts: Signing
    clock: SetClock
    reports: Reports

    async def grow(self, count: int = 1) -> None:
        """Append to the root log, and wait until its end is signed."""
        await self.parts.writer.append(PLATFORM_TENANT, prepared(count))
        async with asyncio.timeout(60), self.database.connect() as connection:
            while not await connection.fetchval(_SIGNED, PLATFORM_TENANT):  # noqa: ASYNC110  # another one's work
                await asyncio.sleep(0.02)


@asynccontextmanager
async def root_log(database: Database, path: Path) -> AsyncIterator[Root]:
    """Run a root log on `database`."""
    async with signing(database, path) as parts:
        yield Root(database, parts, SetClock(), Reports())
