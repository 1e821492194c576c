"""The three listeners of one process: public and administration over TLS, and the plain one that sends people away.

Rules: sockets are bound once, by whoever starts the workers, and handed down; one event loop serves all three; a stop
takes no new connection, lets what is under way finish within its time, and only then gives the runtime back.
Administration has a door of its own: whoever does not come from an allowed network is reset unheard, no header is asked
where somebody comes from, handshakes are bounded in number and time, and a machine out of descriptors is waited for.
The threat is administration reached from the public internet: by a scanner, with a stolen key, or through a flaw of a
parser that comes before the key is looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

import uvicorn
from litestar.types import ASGIApp

from wellkeep.api import limits, peer
from wellkeep.api.connection import BoundedConnection
from wellkeep.api.logs import log
from wellkeep.api.routes import Listener
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import Misconfigured
from wellkeep.base.listen_settings import ListenSettings, Network

GRACE_SECONDS = 20
"""What is under way at a stop has this long to finish."""
_BACKLOG = 1024
_TLS_BOUNDS: Final = {"ssl_handshake_timeout": limits.HANDSHAKE_SECONDS, "ssl_shutdown_timeout": 5.0}
_AT_ONCE: Final = 64
"""So many connections are taken in one turn of the loop; then others have theirs."""
_BREATH_SECONDS: Final = 1.0
_TELL_SECONDS: Final = 60.0
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of no time: closing sends a reset, and nothing waits on our side."""

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


class Door:
    """Takes connections of one listening socket from `networks` alone; it is closed as an asyncio server is.

    The peer is judged by the address that the kernel accepted it from, before TLS and before one byte is read.
    """

    def __init__(
        self,
        bound: socket.socket,
        connection: Callable[[], asyncio.Protocol],
        *,
        networks: Collection[Network],
        tls: ssl.SSLContext,
    ) -> None:
        """Hand each connection that is let in to a new `connection`, over TLS."""
        self._bound = bound
        self._connection = connection
        self._networks = tuple(networks)
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._shaking: set[asyncio.Task[None]] = set()
        self._breathing: asyncio.TimerHandle | None = None
        self._refused = 0
        self._told = 0.0
        self._clock = SystemClock()
        self._closed = False
        self._listen()

    def lets_in(self, address: str) -> bool:
        """Say whether a peer of this address may connect."""
        found = peer.parsed(address)
        return found is not None and any(found in network for network in self._networks)

    def close(self) -> None:
        """Take no more connections; those that shake hands go on."""
        self._closed = True
        if self._breathing is not None:
            self._breathing.cancel()
        self._loop.remove_reader(self._bound.fileno())

    async def wait_closed(self) -> None:
        """Wait for those that shake hands."""
        await asyncio.gather(*self._shaking, return_exceptions=True)

    def _listen(self) -> None:
        self._breathing = None
        if not self._closed:
            self._loop.add_reader(self._bound.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                taken, address = self._bound.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return  # another worker took it, or it left
            except OSError:
                self._breathe()
                return
            if self.lets_in(address[0]) and len(self._shaking) < limits.CONNECTIONS:
                self._let_in(taken)
            else:
                self._refuse(taken)

    def _breathe(self) -> None:
        """Wait for descriptors to come free, and do not spin meanwhile."""
        log.error("accept.failed", listener="admin")
        self._loop.remove_reader(self._bound.fileno())
        self._breathing = self._loop.call_later(_BREATH_SECONDS, self._listen)

    def _refuse(self, taken: socket.socket) -> None:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        taken.close()
        self._refused += 1
        now = self._clock.monotonic()
        if now - self._told >= _TELL_SECONDS:
            log.warning("admin.refused", count=self._refused)
            self._refused, self._told = 0, now

    def _let_in(self, taken: socket.socket) -> None:
        taken.setblocking(False)
        task = self._loop.create_task(self._shake(taken), name="admin-handshake")
        self._shaking.add(task)
        task.add_done_callback(self._shaking.discard)

    async def _shake(self, taken: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._connection, taken, ssl=self._tls, **_TLS_BOUNDS)
        except OSError:
            return  # who breaks a handshake off is nobody's fault here, and the transport has closed what was taken


class ListenerServer(uvicorn.Server):
    """One listener: uvicorn without its signals, its lifespan, its log and its unbounded handshake."""

    def __init__(
        self, application: ASGIApp, *, tls: ssl.SSLContext | None, networks: Collection[Network] | None = None
    ) -> None:
        """Serve `application`, over TLS unless `tls` is None; with `networks`, to them alone."""
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
        self._networks = networks

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

        self.servers = [await self._listen(bound, connection) for bound in sockets or []]
        self.started = True
        self.listening.set()

    async def _listen(self, bound: socket.socket, connection: Callable[[], asyncio.Protocol]) -> Any:
        if self._networks is not None and self._tls is not None:
            return Door(bound, connection, networks=self._networks, tls=self._tls)
        bounds: dict[str, Any] = {} if self._tls is None else {"ssl": self._tls, **_TLS_BOUNDS}
        loop = asyncio.get_running_loop()
        return await loop.create_server(connection, sock=bound, backlog=_BACKLOG, **bounds)


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
