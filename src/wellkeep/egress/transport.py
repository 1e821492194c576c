"""HTTP to one place: what httpx is given to send through, and what httpcore below it is given to connect with.

Rules: a request to another scheme, host or port than the place's is refused before anything is resolved; the library
can't choose what is dialled nor whose certificate is asked for; an answer has a bound in bytes and the whole exchange
one in seconds, so neither an endless body nor a slow drip holds us; a compressed answer, whose size nobody knows, is
not taken.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

import httpcore
import httpx

from wellkeep.egress.dialling import Dialler, Limits, Line
from wellkeep.egress.errors import EgressUnreachable, Reason, Trouble
from wellkeep.egress.places import Destination

_ALPN = ("http/1.1",)
_CONNECTIONS = 4
_KEPT_SECONDS = 5.0
_PORTS = {"https": 443, "http": 80}
_INFORMED = frozenset({"ssl_object", "socket"})


class _Stream(httpcore.AsyncNetworkStream):
    """A line as httpcore reads and writes it."""

    def __init__(self, line: Line, limits: Limits, *, tls: bool) -> None:
        self._line = line
        self._limits = limits
        self._tls = tls

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109, ARG002 -- httpcore's
        """Read what there is; the bound is ours, whatever `timeout` says."""
        try:
            async with asyncio.timeout(self._limits.read):
                return await self._line.reader.read(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout from error
        except OSError as error:
            raise httpcore.ReadError from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109, ARG002 -- httpcore's
        """Send `buffer`; the bound is ours, whatever `timeout` says."""
        try:
            async with asyncio.timeout(self._limits.read):
                self._line.writer.write(buffer)
                await self._line.writer.drain()
        except TimeoutError as error:
            raise httpcore.WriteTimeout from error
        except OSError as error:
            raise httpcore.WriteError from error

    async def aclose(self) -> None:
        """Close the line."""
        await self._line.close()

    async def start_tls(
        self,
        ssl_context: Any,  # noqa: ARG002 -- the place's own stands
        server_hostname: str | None = None,  # noqa: ARG002 -- the place's own stands
        timeout: float | None = None,  # noqa: ASYNC109, ARG002 -- httpcore's name
    ) -> httpcore.AsyncNetworkStream:
        """Return the line, which was dialled with TLS and checked against the place's name already."""
        if not self._tls:
            raise httpcore.ConnectError
        return self

    def get_extra_info(self, info: str) -> Any:
        """Return what httpcore asks of a line."""
        if info == "is_readable":  # of a connection that was kept: whoever hung up meanwhile
            return self._line.reader.at_eof() or self._line.writer.is_closing()
        return self._line.writer.get_extra_info(info) if info in _INFORMED else None


class Backend(httpcore.AsyncNetworkBackend):
    """Connects to one place and nowhere else."""

    def __init__(self, dialler: Dialler, place: Destination, *, tls: bool) -> None:
        """Connect to nothing yet; with `tls`, every line is dialled with it."""
        self._dialler = dialler
        self._place = place
        self._tls = tls

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109, ARG002 -- httpcore's name; the bound is the dialler's
        local_address: str | None = None,  # noqa: ARG002 -- the system chooses
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002 -- none is needed
    ) -> httpcore.AsyncNetworkStream:
        """Dial the place. Raises EgressRefused, EgressUnreachable."""
        if _bare(host) != self._place.host:
            await self._dialler.refuse(self._place, Reason.OTHER_HOST, host=host, port=port)
        line = await self._dialler.open(self._place, port, tls=self._tls, alpn=_ALPN if self._tls else ())
        return _Stream(line, self._dialler.limits, tls=self._tls)

    async def sleep(self, seconds: float) -> None:
        """Wait; httpcore does so before it tries again, which it is not asked to."""
        await asyncio.sleep(seconds)


class PlaceTransport(httpx.AsyncBaseTransport):
    """What an httpx client of one place sends through; it raises EgressRefused and EgressUnreachable."""

    def __init__(self, dialler: Dialler, place: Destination) -> None:
        """Connect to nothing yet."""
        self._dialler = dialler
        self._place = place
        self._pools = {scheme: self._pool(tls=scheme == "https") for scheme in _PORTS}

    def _pool(self, *, tls: bool) -> httpcore.AsyncConnectionPool:
        return httpcore.AsyncConnectionPool(
            ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # trusts nobody; the dialler's is the one that counts
            max_connections=_CONNECTIONS,
            keepalive_expiry=_KEPT_SECONDS,
            network_backend=Backend(self._dialler, self._place, tls=tls),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request` and return its answer, whose body is bounded."""
        url, place = request.url, self._place
        await self._dialler.must_be_listed(place)  # a connection that was kept is no way past the list
        host, port = url.raw_host.decode("ascii"), url.port or _PORTS.get(url.scheme, 0)
        if url.scheme not in self._pools:
            await self._dialler.refuse(place, Reason.OTHER_SCHEME, host=host, port=port)
        if _bare(host) != place.host:
            await self._dialler.refuse(place, Reason.OTHER_HOST, host=host, port=port)
        named = request.headers.get("host", "")
        if named.lower() != url.netloc.decode("ascii").lower():  # a server of many hosts would go by this one
            await self._dialler.refuse(place, Reason.OTHER_HOST, host=named, port=port)
        until = asyncio.get_running_loop().time() + self._dialler.limits.total
        async with _bounded(place, until):
            answer = await self._pools[url.scheme].handle_async_request(_as_httpcore(request, port))
        body = _Body(answer, place, until, self._dialler.limits.answer)
        headers = httpx.Headers(answer.headers)
        if headers.get("content-encoding", "identity").strip().lower() != "identity":
            await body.aclose()
            raise EgressUnreachable(place=place.name, trouble=Trouble.ENCODED)
        return httpx.Response(status_code=answer.status, headers=headers, stream=body)

    async def aclose(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            await pool.aclose()


class _Body(httpx.AsyncByteStream):
    """An answer's body as far as its bounds."""

    def __init__(self, answer: httpcore.Response, place: Destination, until: float, most: int) -> None:
        self._answer = answer
        self._place = place
        self._until = until
        self._left = most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async with aclosing(cast("AsyncGenerator[bytes, None]", self._answer.aiter_stream())) as pieces:
            while True:
                async with _bounded(self._place, self._until):
                    piece = await anext(pieces, None)
                if piece is None:
                    return
                self._left -= len(piece)
                if self._left < 0:
                    raise EgressUnreachable(place=self._place.name, trouble=Trouble.TOO_LARGE)
                yield piece

    async def aclose(self) -> None:
        await self._answer.aclose()


@asynccontextmanager
async def _bounded(place: Destination, until: float) -> AsyncIterator[None]:
    """Run a part of an exchange that ends at `until`; what goes wrong in it is that the place was not reached."""
    try:
        async with asyncio.timeout_at(until):
            yield
    except (TimeoutError, httpcore.TimeoutException):
        raise EgressUnreachable(place=place.name, trouble=Trouble.TIMED_OUT) from None
    except (httpcore.NetworkError, httpcore.ProtocolError):
        raise EgressUnreachable(place=place.name, trouble=Trouble.BROKEN_OFF) from None


def _as_httpcore(request: httpx.Request, port: int) -> httpcore.Request:
    """Return the request without its extensions: one of them would name another host to ask a certificate of."""
    url = httpcore.URL(scheme=request.url.raw_scheme, host=request.url.raw_host, port=port, target=request.url.raw_path)
    return httpcore.Request(method=request.method, url=url, headers=request.headers.raw, content=request.stream)


def _bare(host: str) -> str:
    return host.lower().removesuffix(".")
