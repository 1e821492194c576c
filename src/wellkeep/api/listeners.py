"""The three listeners of one process: public and administration over TLS, and the plain one that sends people away.

Rules: sockets are bound once, by whoever starts the workers, and handed down; one event loop serves all three; a stop
takes no new connection, lets what is under way finish within its time, and only then gives the runtime back.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

import uvicorn
from litestar.types import ASGIApp

from wellkeep.api import limits
from wellkeep.api.connection import BoundedConnection
from wellkeep.api.routes import Listener
from wellkeep.base.errors import Misconfigured
from wellkeep.base.settings import ListenSettings

GRACE_SECONDS = 20
"""What is under way at a stop has this long to finish."""
_BACKLOG = 1024

Sockets = Mapping[Listener, socket.socket]


def bind(addresses: ListenSettings) -> dict[Listener, socket.socket]:
    """Bind the three addresses; raises Misconfigured where one is taken or none of this machine's."""
    wanted: tuple[tuple[Listener, str], ...] = (
        ("public", addresses.public),
        ("admin", addresses.admin),
        ("plain", addresses.plain),
    )
    bound: dict[Listener, socket.socket] = {}
    for listener, address in wanted:
        try:
            bound[listener] = bind_one(address)
        except (OSError, OverflowError, ValueError):
            for other in bound.values():
                other.close()
            raise Misconfigured(
                f"The {listener} listener can't have {address}: is another server running there? See [listen] in the "
                "settings."
            ) from None
    return bound


def bind_one(address: str) -> socket.socket:
    """Bind `host:port`; raises OSError, OverflowError or ValueError where that is none of this machine's, or taken."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if host == "localhost":
        host = "127.0.0.1"
    family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET  # noqa: PLR2004
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # what was asked for, and no more
        bound.bind((host, int(port)))
        bound.listen(_BACKLOG)
        bound.setblocking(False)
    except (OSError, OverflowError, ValueError):
        bound.close()
        raise
    return bound


class ListenerServer(uvicorn.Server):
    """One listener: uvicorn without its signals, its lifespan, its log and its unbounded handshake."""

    def __init__(self, application: ASGIApp, *, tls: ssl.SSLContext | None) -> None:
        """Serve `application`, over TLS unless `tls` is None."""
        config = uvicorn.Config(
            application,
            http=BoundedConnection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=limits.IDLE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        super().__init__(config)
        self.listening = asyncio.Event()
        self._tls = tls

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone: the process has three listeners and one way to stop."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on the sockets handed down, with a bound on the TLS handshake."""
        await self.lifespan.startup()
        loop = asyncio.get_running_loop()

        def connection() -> asyncio.Protocol:
            return BoundedConnection(config=self.config, server_state=self.server_state, app_state={}, _loop=loop)

        bounds: dict[str, Any] = {}
        if self._tls is not None:
            bounds = {"ssl": self._tls, "ssl_handshake_timeout": limits.HANDSHAKE_SECONDS, "ssl_shutdown_timeout": 5.0}
        self.servers = [
            await loop.create_server(connection, sock=bound, backlog=_BACKLOG, **bounds) for bound in sockets or []
        ]
        self.started = True
        self.listening.set()


async def serve_until(stop: asyncio.Event, servers: Mapping[Listener, ListenerServer], sockets: Sockets) -> None:
    """Serve until `stop` is set or a listener ends by itself; then stop all of them gracefully."""
    tasks = [asyncio.create_task(server.serve([sockets[name]])) for name, server in servers.items()]
    waiting = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([*tasks, waiting], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        for server in servers.values():
            server.should_exit = True
        await asyncio.gather(*tasks)
