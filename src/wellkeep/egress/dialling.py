"""From a place to a connection: resolve once, judge every address, dial a judged one, check the certificate's name.

Rules: one forbidden address among those that came back refuses them all, since who can add one to an answer can choose
which is used; what is dialled is an address that was judged, never the name again (DNS rebinding); TLS 1.2 at least,
with forward-secret AEAD suites, against the place's own name and its own authorities, whatever a library above asks
for; resolving, connecting and saying goodbye each have their bound. Where a protocol begins in clear and turns to TLS
(STARTTLS), nothing but the asking for it is said in clear, there is no going on without it, and what was heard in clear
after that is no part of the talk: bytes that somebody put there would be read as the server's (CVE-2011-0411).
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from wellkeep.egress.errors import Denials, EgressRefused, EgressUnreachable, Reason, Trouble
from wellkeep.egress.networks import Address, Judged, judge
from wellkeep.egress.places import Destination
from wellkeep.egress.resolving import NotResolved, Resolver

_SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20"
_MOST_ADDRESSES = 8
_BUFFER_BYTES = 64 * 1024
_GOODBYE_SECONDS = 2.0

Before = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""What is said in clear to have the other side turn to TLS; it raises where that does not agree."""

Trust = dict[tuple[Destination, tuple[str, ...]], ssl.SSLContext]
"""By a place as it is listed and the protocols that are offered to it (ALPN): what its certificate is checked with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long things may take, in seconds, and how much may come back over HTTP, in bytes."""

    resolve: float = 5.0
    connect: float = 10.0
    read: float = 30.0
    total: float = 60.0
    answer: int = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """A connection to a place, and the address that it goes to."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    address: Address

    async def close(self) -> None:
        """Say goodbye, within two seconds."""
        self.writer.close()
        try:
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await self.writer.wait_closed()
        except (OSError, TimeoutError):  # ssl.SSLError is an OSError; who does not answer is left without one
            self.writer.transport.abort()


class Dialler:
    """Makes every connection out."""

    def __init__(
        self,
        *,
        resolver: Resolver,
        denials: Denials,
        limits: Limits,
        trust: Trust | None = None,
        listed: Callable[[Destination], bool] = lambda _: True,
    ) -> None:
        """`denials` is told of every refusal before it is raised; `trust` is what another dialler has made already.

        `listed` says whether a place is still on the list, which may change while somebody holds a client of it.
        """
        self.limits = limits
        self._resolver = resolver
        self._denials = denials
        self._trust: Trust = {} if trust is None else trust
        self._listed = listed

    def within(self, limits: Limits) -> Dialler:
        """Return a dialler of other limits, which shares all else: authorities are read once, and not for each use."""
        return Dialler(
            resolver=self._resolver, denials=self._denials, limits=limits, trust=self._trust, listed=self._listed
        )

    async def must_be_listed(self, place: Destination) -> None:
        """Raise EgressRefused where `place` was taken off the list, or changed, since it was looked up."""
        if not self._listed(place):
            await self.refuse(place, Reason.UNKNOWN_PLACE)

    async def open(
        self, place: Destination, port: int, *, tls: bool, alpn: tuple[str, ...] = (), before: Before | None = None
    ) -> Line:
        """Return a connection to `place`; with `before` it turns to TLS once that was said.

        Raises EgressRefused, EgressUnreachable, and what `before` does.
        """
        await self.must_be_listed(place)
        if port not in place.ports:
            await self.refuse(place, Reason.OTHER_PORT, port=port)
        if not tls and not place.clear:
            await self.refuse(place, Reason.CLEAR_TEXT, port=port)
        found = await self.resolved(place, port)
        return await self.connect(place, port, found, tls=tls, alpn=alpn, before=before)

    async def resolved(self, place: Destination, port: int) -> list[Judged]:
        """Resolve the place's name once and judge every address. Raises EgressUnreachable."""
        try:
            async with asyncio.timeout(self.limits.resolve):
                found = [judge(text) for text in await self._resolver.addresses(place.asked, port)]
        except TimeoutError:
            raise EgressUnreachable(place=place.name, trouble=Trouble.TIMED_OUT) from None
        except (NotResolved, ValueError):
            raise EgressUnreachable(place=place.name, trouble=Trouble.NOT_RESOLVED) from None
        if not found:
            raise EgressUnreachable(place=place.name, trouble=Trouble.NOT_RESOLVED)
        return found

    async def connect(
        self,
        place: Destination,
        port: int,
        found: Sequence[Judged],
        *,
        tls: bool,
        alpn: tuple[str, ...] = (),
        before: Before | None = None,
    ) -> Line:
        """Connect to one of the addresses that `resolved` found, where none of them is forbidden; raises as `open`."""
        for judged in found:
            reason = place.objection(judged, tls=tls)
            if reason is not None:
                await self.refuse(place, reason, port=port)
        trust = self._context(place, alpn) if tls else None
        return await self._dial(place, port, [judged.address for judged in found], trust, before)

    async def refuse(
        self, place: Destination, reason: Reason, *, host: str | None = None, port: int | None = None
    ) -> NoReturn:
        """Tell of a refusal, then raise it; `host` and `port` are what was asked for."""
        asked = f"{place.host if host is None else host}:{place.ports[0] if port is None else port}"
        await self._denials.denied(place.name, reason, hashlib.sha256(asked.encode("utf-8", "replace")).digest())
        raise EgressRefused(place=place.name, reason=reason)

    async def _dial(
        self,
        place: Destination,
        port: int,
        addresses: Sequence[Address],
        trust: ssl.SSLContext | None,
        before: Before | None,
    ) -> Line:
        """Try the addresses in their order until one takes the connection; each has its share of the one bound."""
        trouble, tried = Trouble.NOT_CONNECTED, addresses[:_MOST_ADDRESSES]
        for address in tried:
            try:
                async with asyncio.timeout(self.limits.connect / len(tried)):
                    if trust is not None and before is not None:
                        line = await self._connect(place, port, address, None)
                        return await self._upgrade(place, line, trust, before)
                    return await self._connect(place, port, address, trust)
            except ssl.SSLCertVerificationError:
                await self.refuse(place, Reason.CERTIFICATE, port=port)
            except ssl.SSLError:
                trouble = Trouble.NO_TLS
            except TimeoutError:
                trouble = Trouble.TIMED_OUT
            except OSError:
                continue
        raise EgressUnreachable(place=place.name, trouble=trouble)

    async def _connect(self, place: Destination, port: int, address: Address, trust: ssl.SSLContext | None) -> Line:
        seconds = self.limits.connect
        tls = {"ssl_handshake_timeout": seconds, "ssl_shutdown_timeout": _GOODBYE_SECONDS} if trust else {}
        reader, writer = await asyncio.open_connection(
            str(address),
            port,
            limit=_BUFFER_BYTES,
            ssl=trust,
            server_hostname=place.host if trust else None,
            **tls,
        )
        return Line(reader, writer, address)

    async def _upgrade(self, place: Destination, line: Line, trust: ssl.SSLContext, before: Before) -> Line:
        """Have a connection in clear turn to TLS, and be silent then until it is spoken to."""
        try:
            await before(line.reader, line.writer)
            seconds = self.limits.connect
            await line.writer.start_tls(trust, server_hostname=place.host, ssl_handshake_timeout=seconds)
            await _must_be_silent(place, line.reader)
        except BaseException:
            line.writer.transport.abort()
            raise
        return line

    def _context(self, place: Destination, alpn: tuple[str, ...]) -> ssl.SSLContext:
        """Return what the place's certificate is checked with; made once for each use."""
        found = self._trust.get((place, alpn))
        if found is None:
            found = self._trust[place, alpn] = _trusting(place)
            if alpn:
                found.set_alpn_protocols(list(alpn))
        return found


async def _must_be_silent(place: Destination, reader: asyncio.StreamReader) -> None:
    """Raise EgressUnreachable where there is something to read before anything was said over TLS."""
    heard = asyncio.ensure_future(reader.read(1))
    await asyncio.sleep(0)  # what is there already is read in one step
    if heard.done():
        raise EgressUnreachable(place=place.name, trouble=Trouble.NO_TLS)
    heard.cancel()
    await asyncio.gather(heard, return_exceptions=True)


def _trusting(place: Destination) -> ssl.SSLContext:
    """Return a context that demands a certificate of the place's name. Raises EgressUnreachable without authorities.

    Not `ssl.create_default_context`, which writes the session's keys to a file that the environment names, nor
    `load_default_certs`, which believes the authorities that it names (SSL_CERT_FILE, SSL_CERT_DIR).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_SUITES)
    file, folder = (place.ca, None) if place.ca is not None else _of_the_system()
    try:
        context.load_verify_locations(cafile=file, capath=folder)
    except (OSError, TypeError):  # ssl.SSLError is an OSError; neither of the two is a TypeError
        raise EgressUnreachable(place=place.name, trouble=Trouble.NO_AUTHORITIES) from None
    return context


def _of_the_system() -> tuple[Path | None, Path | None]:
    """Return the file and the directory of authorities, where they are there, that OpenSSL was built to look in."""
    built = ssl.get_default_verify_paths()
    file, folder = Path(built.openssl_cafile), Path(built.openssl_capath)
    return file if file.is_file() else None, folder if folder.is_dir() else None
