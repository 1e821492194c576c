"""Administration exists on its own listener and nowhere else, and plain HTTP carries no data at all."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest

from api.requests import ADMIN, PUBLIC, path, send
from api.stack import Stack
from transport.authority import Authority, authority
from wellkeep.api import listeners
from wellkeep.api.listeners import Door, bind_one
from wellkeep.api.redirector import Redirector
from wellkeep.assembly.tls import server_context

_ELSEWHERE = {(route.method, route.path) for route in PUBLIC}
_RESET = r"reset|Connect|EOF"
ALONE = [route for route in ADMIN if (route.method, route.path) not in _ELSEWHERE]


async def test_the_public_listener_has_none_of_it_for_anybody(opened: Stack) -> None:
    """The platform's own key, which administration obeys, is told that there is nothing: 404, with any method."""
    assert {"tenant_create", "apikey_create", "keys_rotate", "egress_propose", "metrics"} <= {one.name for one in ALONE}
    platform = await opened.platform_key()
    shown = {route.path for route in PUBLIC}
    async with opened.client(platform) as public, opened.client(platform, listener="admin") as admin:
        for route in ALONE:
            answer = await send(public, route)
            there = route.path in shown  # the address is there, with other methods
            assert answer.status_code == (405 if there else 404), (route.name, answer.text)
            assert answer.json()["type"] in {"/problems/not-found", "/problems/method-not-allowed"}
            if there:
                continue
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
                assert (await public.request(method, path(route))).status_code == 404, (method, route.path)
            for spelling in (path(route) + "/", path(route).replace("/v1/", "//v1/"), path(route).upper()):
                assert (await public.get(spelling)).status_code == 404, spelling
        assert (await admin.get("/v1/tenants")).status_code == 200


async def test_no_header_opens_administration_on_the_public_listener(opened: Stack) -> None:
    platform = await opened.platform_key()
    forged = {
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Host": "127.0.0.1:8444",
        "X-Forwarded-Port": "8444",
        "X-Original-URL": "/v1/tenants",
        "X-Rewrite-URL": "/v1/tenants",
        "Forwarded": "for=127.0.0.1;host=localhost:8444",
        "Host": "127.0.0.1:8444",
    }
    async with opened.client(platform) as public:
        assert (await public.get("/v1/tenants", headers=forged)).status_code == 404
        assert (await public.get("/healthz", headers=forged)).json() == {"status": "alive"}


async def test_the_ledger_names_the_peer_and_no_header_of_its(opened: Stack) -> None:
    """Whoever writes where they come from into a header is not believed."""
    platform = await opened.platform_key()
    async with opened.client(platform, listener="admin") as admin:
        assert (await admin.get("/v1/tenants", headers={"X-Forwarded-For": "203.0.113.9"})).status_code == 200
    async with opened.database.connect() as connection:
        rows = await connection.fetch("SELECT convert_from(entry, 'UTF8') AS text FROM ledger.entry")
    assert rows
    assert not [row for row in rows if "203.0.113.9" in row["text"]]


async def test_plain_http_redirects_pages_and_answers_nothing_with_data(opened: Stack) -> None:
    redirector = Redirector(opened, authority="vault.example.org")
    transport = httpx.ASGITransport(redirector)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://vault.example.org") as plain:
        for route in (*PUBLIC, *ADMIN):
            answer = await send(plain, route)
            assert answer.status_code in {308, 403, 404}, route.path
            if answer.status_code == 308:
                assert answer.content == b""
                assert answer.headers["location"].startswith("https://vault.example.org/")
            else:
                assert answer.json()["type"] in {"/problems/https-required", "/problems/not-found"}
            if route.path.startswith("/v1/"):
                assert answer.status_code == 403


async def test_every_answer_over_tls_tells_browsers_to_stay_there(opened: Stack) -> None:
    async with opened.client() as public, opened.client(listener="admin") as admin:
        for client in (public, admin):
            for where in ("/healthz", "/docs", "/v1/collections", "/nowhere"):
                answer = await client.get(where)
                assert answer.headers["strict-transport-security"] == "max-age=63072000; includeSubDomains", where


@pytest.fixture
def signer(tmp_path: Path) -> Authority:
    made = authority(tmp_path)
    made.issue(tmp_path / "tls.crt", tmp_path / "tls.key", "localhost")
    return made


class Greeting(asyncio.Protocol):
    """Says a word to whoever is let in."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"in")
        transport.close()


@asynccontextmanager
async def door(signer: Authority, *networks: str) -> AsyncIterator[tuple[Door, int]]:
    """Open a door to `networks` on every loopback address."""
    context = server_context(certificate=signer.file.with_name("tls.crt"), key=signer.file.with_name("tls.key"))
    bound = bind_one("0.0.0.0:0")
    made = Door(bound, Greeting, networks=[ip_network(one) for one in networks], tls=context)
    try:
        yield made, bound.getsockname()[1]
    finally:
        made.close()
        await made.wait_closed()
        bound.close()


async def greeted(signer: Authority, port: int, source: str) -> bytes:
    client = ssl.create_default_context(cafile=str(signer.file))
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client, server_hostname="localhost", local_addr=(source, 0)
        )
        word = await reader.read()
        writer.transport.abort()
    return word


async def test_only_its_networks_come_through_the_door_and_the_rest_are_reset_unheard(signer: Authority) -> None:
    async with door(signer, "127.0.1.0/24", "127.0.3.7/32") as (_, port):
        for source in ("127.0.1.1", "127.0.1.254", "127.0.3.7"):
            assert await greeted(signer, port, source) == b"in"
        for source in ("127.0.0.1", "127.0.2.0", "127.0.3.8"):
            with pytest.raises(OSError, match=_RESET):
                await greeted(signer, port, source)
        plain = socket.create_connection(("127.0.0.1", port), timeout=5)
        with plain, pytest.raises(ConnectionResetError):
            assert await asyncio.to_thread(plain.recv, 1) == b"reset"


@pytest.mark.parametrize(
    ("address", "let_in"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("fd00::5%eth0", True),
        ("10.2.0.0", False),
        ("::ffff:10.2.0.0", False),
        ("fd01::5", False),
        ("", False),
        ("nowhere", False),
    ],
)
async def test_an_address_is_judged_by_what_it_is(signer: Authority, address: str, *, let_in: bool) -> None:
    async with door(signer, "10.1.0.0/16", "fd00::/64") as (made, _):
        assert made.lets_in(address) is let_in


async def test_who_breaks_the_handshake_off_or_never_begins_it_keeps_nobody_out(
    signer: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with door(signer, "127.0.0.0/8") as (made, port):
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
        for rude in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x40\x00" + b"\xff" * 200):
            plain = socket.create_connection(("127.0.0.1", port))
            plain.sendall(rude)
            plain.close()
        assert await greeted(signer, port, "127.0.0.1") == b"in"
        monkeypatch.setattr("wellkeep.api.limits.CONNECTIONS", 5)
        with pytest.raises(OSError, match=_RESET):  # as many as that shake hands already
            await greeted(signer, port, "127.0.0.1")
        for one in silent:
            one.close()
        async with asyncio.timeout(10):
            await made.wait_closed()
        assert await greeted(signer, port, "127.0.0.1") == b"in"


async def test_a_machine_out_of_descriptors_is_waited_for(signer: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepting fails for a while: the door looks again, and whoever waits is let in then."""
    monkeypatch.setattr(listeners, "_BREATH_SECONDS", 0.01)
    async with door(signer, "127.0.0.0/8") as (made, port):
        exhausted = Exhausted(made._bound)
        made._bound = exhausted  # type: ignore[assignment]  # what the door asks of a socket
        assert await greeted(signer, port, "127.0.0.1") == b"in"
        assert exhausted.asked >= 4


class Exhausted:
    """A listening socket of a process that has no descriptor left the first three times."""

    def __init__(self, bound: socket.socket) -> None:
        self._bound = bound
        self.asked = 0

    def fileno(self) -> int:
        return self._bound.fileno()

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        self.asked += 1
        if self.asked <= 3:
            raise OSError(24, "Too many open files")
        taken, address = self._bound.accept()
        return taken, address
