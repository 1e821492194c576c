"""Bounds on what a client may cost, over real TLS on loopback: whatever it announces, however slowly it sends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from api.stack import NOTES, Stack
from wellkeep.api import limits
from wellkeep.api.listeners import ListenerServer, bind, serve_until
from wellkeep.assembly.tls import make_development_certificate, server_context
from wellkeep.base.clock import SystemClock
from wellkeep.base.listen_settings import ListenSettings

RECORDS = "/v1/collections/notes/records"
ANYWHERE = ListenSettings(public="127.0.0.1:0", admin="127.0.0.1:0", plain="127.0.0.1:0")


class Wire:
    """A raw TLS connection to the public listener."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def status(self) -> int:
        """Return the status of the next answer, 0 where the connection was closed instead."""
        try:
            line = await asyncio.wait_for(self.reader.readline(), 15)
        except (ConnectionError, ssl.SSLError):
            return 0
        return int(line.split()[1]) if line else 0

    async def rest(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), 15)


class Public:
    """The public listener over a real process, and a key for it."""

    def __init__(self, port: int, trust: ssl.SSLContext, key: str) -> None:
        self.port = port
        self.trust = trust
        self.key = key

    @asynccontextmanager
    async def wire(self) -> AsyncIterator[Wire]:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self.trust, server_hostname="localhost"
        )
        try:
            yield Wire(reader, writer)
        finally:
            writer.transport.abort()

    def head(self, *lines: str, path: str = RECORDS) -> bytes:
        """Return the head of a POST by a known caller."""
        known = (f"POST {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {self.key}")
        return "\r\n".join((*known, "Content-Type: application/json", *lines, "", "")).encode()


@pytest.fixture
async def public(opened: Stack, tmp_path: Path) -> AsyncIterator[Public]:
    """Serve the public listener over TLS."""
    tenant = await opened.tenant("northside")
    async with opened.client(await opened.key(tenant, "administrator")) as administrator:
        assert (await administrator.post("/v1/collections", json=NOTES)).status_code == 201
    made = make_development_certificate(
        certificate=tmp_path / "tls.crt", key=tmp_path / "tls.key", host="localhost", clock=SystemClock()
    )
    sockets = bind(ANYWHERE)
    for name in ("admin", "plain"):
        sockets.pop(name).close()
    server = ListenerServer(opened.application().asgi, tls=server_context(certificate=made.certificate, key=made.key))
    stop = asyncio.Event()
    serving = asyncio.create_task(serve_until(stop, {"public": server}, sockets))
    await server.listening.wait()
    trust = ssl.create_default_context(cafile=str(made.authority))
    yield Public(sockets["public"].getsockname()[1], trust, await opened.key(tenant, "integration"))
    stop.set()
    await serving


async def test_a_body_is_counted_while_it_arrives(public: Public) -> None:
    """A Content-Length past the limit, and a chunked body that never said how long it would be."""
    async with public.wire() as wire:
        await wire.send(public.head("Content-Length: 10485760"), b"x" * 10_485_760)
        assert await wire.status() == 413
    async with public.wire() as wire:
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        await wire.send(public.head("Transfer-Encoding: chunked"), *([chunk] * 40), b"0\r\n\r\n")
        assert await wire.status() == 413
        assert b"connection: close" in (await wire.rest()).lower()
    async with public.wire() as wire:
        await wire.send(public.head("Content-Length: 10485760", "Expect: 100-continue"))
        assert await wire.status() == 413


async def test_lengths_that_contradict_each_other_are_refused(public: Public) -> None:
    """Request smuggling: Content-Length beside Transfer-Encoding, two lengths, a length that is no number."""
    for lines in (
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: +5",),
        ("Transfer-Encoding: chunked, identity",),
    ):
        async with public.wire() as wire:
            await wire.send(public.head(*lines), b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await wire.status() == 400, lines
            rest = await wire.rest()
            assert b"/problems/malformed-request" in rest, lines
            assert b"HTTP/1.1 2" not in rest, lines


async def test_a_body_that_trickles_in_is_given_up(public: Public, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.3)
    async with public.wire() as wire:
        await wire.send(public.head("Content-Length: 100"), b"{")
        assert await wire.status() == 408


async def test_a_head_that_trickles_in_is_cut_off(public: Public, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slowloris: a head that never ends, at the start and after an answered request, and blank lines for ever."""
    monkeypatch.setattr(limits, "HEAD_SECONDS", 0.4)
    for before in (b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"):
        async with public.wire() as wire:
            if before:
                await wire.send(before)
                assert await wire.status() == 200
                await asyncio.wait_for(wire.reader.readuntil(b"}"), 5)
            assert await _lasts(wire, b"X-A: b\r\n", start=b"GET / HTTP/1.1\r\n") < 5
    async with public.wire() as wire:
        assert await _lasts(wire, b"\r\n", start=b"\r\n") < 5


async def _lasts(wire: Wire, piece: bytes, *, start: bytes) -> float:
    """Return how many seconds pass until the server closes on a client that sends a piece at a time."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    closed = asyncio.create_task(wire.reader.read())
    try:
        await wire.send(start)
        while not closed.done() and loop.time() - began < 10:
            await wire.send(piece)
            await asyncio.sleep(0.1)
    except (ConnectionError, ssl.SSLError):
        pass
    closed.cancel()
    await asyncio.gather(closed, return_exceptions=True)
    return loop.time() - began


@pytest.mark.parametrize(
    "lines", [["X-Long: " + "x" * 20_000], [f"X-{n}: x" for n in range(80)], ["X-Endless: " + "x" * 400_000]]
)
async def test_a_head_is_bounded_in_all(public: Public, lines: list[str]) -> None:
    async with public.wire() as wire:
        await wire.send(public.head(*lines, "Content-Length: 0"))
        assert await wire.status() == 431
        assert b"/problems/headers-too-large" in await wire.rest()


async def test_what_is_no_http_is_answered_in_our_words(public: Public) -> None:
    for rubbish in (b"Xk9CanaryZq\r\n\r\n", b"GET /Xk9CanaryZq\x00 HTTP/1.1\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n"):
        async with public.wire() as wire:
            await wire.send(rubbish)
            assert await wire.status() == 400
            rest = await wire.rest()
            assert b"/problems/malformed-request" in rest
            assert b"no-store" in rest
            assert b"Canary" not in rest


async def test_one_connection_too_many_is_closed(public: Public, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CONNECTIONS", 1)
    async with public.wire() as first:
        await first.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await first.status() == 200
        async with public.wire() as second:
            assert await second.status() == 0


async def test_more_requests_than_are_worked_at_are_sent_away(opened: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "IN_FLIGHT", 0)
    async with opened.client() as client:
        refused = await client.get("/healthz")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.headers["cache-control"] == "no-store"


async def test_a_request_that_takes_too_long_is_given_up(opened: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that hangs costs its caller the time limit, and nobody else anything."""

    async def hang(*_: Any) -> dict[str, bool]:
        await asyncio.sleep(60)
        return {}

    monkeypatch.setattr("wellkeep.api.health._READY_SECONDS", 0.1)
    monkeypatch.setattr(opened.readiness, "check", hang)
    async with opened.client() as client:
        refused = await client.get("/readyz")
    assert (refused.status_code, refused.json()["parts"]) == (503, {"answer_in_time": False})


async def test_readiness_counts_what_is_open_and_names_nothing(opened: Stack) -> None:
    async with opened.client() as client:
        told = (await client.get("/readyz")).json()
    assert told["findings"] == {"high": 2}
    assert told["keys"] == {"ok": 3, "stale": 1, "locked": 0, "revoked": 0}
    assert set(told) == {"ready", "parts", "findings", "keys"}
