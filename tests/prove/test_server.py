"""Which server is ours is told by its certificate, not by its address."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from wellkeep.assembly.certificate import ensure_certificate
from wellkeep.assembly.home import Home
from wellkeep.base.ids import uuid7
from wellkeep.base.settings import Settings
from wellkeep.prove.server import ServerProcess, free_addresses


def home_with_certificate(path: Path, host: str) -> Home:
    home = Home(path)
    home.make()
    settings = Settings(version=1, deployment=uuid7(), environment="test", host=host)
    home.write_settings(settings)
    ensure_certificate(home, settings)
    return home


async def healthy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    await writer.drain()
    writer.close()


async def test_a_server_of_another_home_is_not_taken_for_ours(tmp_path: Path) -> None:
    """A name in the certificate that is not the address's is no matter; another certificate is."""
    ours = home_with_certificate(tmp_path / "ours", "vault.example.org")
    other = home_with_certificate(tmp_path / "other", "vault.example.org")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ours.secrets / "tls.crt", ours.secrets / "tls.key")
    served = await asyncio.start_server(healthy, "127.0.0.1", 0, ssl=context)
    async with served:
        port = served.sockets[0].getsockname()[1]
        url = f"https://127.0.0.1:{port}/healthz"
        assert await ServerProcess(ours.path, url).answers()
        assert not await ServerProcess(other.path, url).answers()


def test_free_addresses_are_different() -> None:
    assert len(set(free_addresses(5))) == 5
