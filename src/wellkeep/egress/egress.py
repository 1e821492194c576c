"""The room's one door: an HTTP client, or a stream, of a place on the list."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from wellkeep.base.errors import Misconfigured
from wellkeep.base.settings import Place
from wellkeep.egress.dialling import Before, Dialler, Limits
from wellkeep.egress.errors import Denials, EgressRefused, Reason
from wellkeep.egress.examination import Examined, examine
from wellkeep.egress.places import Destination, destinations
from wellkeep.egress.resolving import Resolver, SystemResolver

if TYPE_CHECKING:
    import httpx

_AGENT = "wellkeep"


class Egress:
    """One per process; safe to share by everything in it."""

    def __init__(
        self,
        *,
        places: Iterable[Place],
        denials: Denials,
        home: Path | None = None,
        resolver: Resolver | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Know `places`; a relative `ca` of theirs lies below `home`. Connects to nothing yet.

        Raises Misconfigured where the list does not hold together.
        """
        self._settled = destinations(places, home=home)
        self._places = self._settled
        self._denials = denials
        self._dialler = Dialler(
            resolver=resolver or SystemResolver(), denials=denials, limits=limits or Limits(), listed=self._lists
        )

    @property
    def places(self) -> Mapping[str, Destination]:
        """The places by name: those of the settings, and those that were approved."""
        return self._places

    @property
    def settled(self) -> Mapping[str, Destination]:
        """The places of the settings, by name."""
        return self._settled

    def approve(self, places: Iterable[Place]) -> list[str]:
        """Have `places` beside those of the settings from now on, and no others; returns the names that are not taken.

        A name of the settings stays theirs, and a place that does not hold together is left out.
        """
        found, left_out = dict(self._settled), list[str]()
        for place in places:
            try:
                made = destinations((place,))
            except Misconfigured:
                made = {}
            if not made or place.name in found:
                left_out.append(place.name)
            else:
                found |= made
        self._places = found
        return left_out

    def _lists(self, place: Destination) -> bool:
        return self._places.get(place.name) == place

    @asynccontextmanager
    async def http(
        self, place: str, *, limits: Limits | None = None, tenant: UUID | None = None
    ) -> AsyncIterator[httpx.AsyncClient]:
        """Lend an HTTP client that reaches `place` alone; addresses without a host mean its first port, over TLS.

        `tenant` is whom it is for, where it is for one: a place that serves others is refused. Raises EgressRefused
        where no such place is listed. What the client sends raises EgressRefused, where it was to
        go elsewhere or the place's name leads where it may not, and EgressUnreachable; no error of httpx. Redirects are
        answers like any other. `limits` stand in for the usual ones.
        """
        import httpx  # noqa: PLC0415 -- it takes its time, and few processes go out

        from wellkeep.egress.transport import PlaceTransport  # noqa: PLC0415 -- as above

        found = await self._place(place)
        if tenant is not None and not found.serves(tenant):
            await self._dialler.refuse(found, Reason.OTHER_TENANT)
        dialler = self._dialler if limits is None else self._dialler.within(limits)
        host = f"[{found.host}]" if ":" in found.host else found.host
        async with httpx.AsyncClient(
            transport=PlaceTransport(dialler, found),
            base_url=f"https://{host}:{found.ports[0]}",
            headers={"Accept-Encoding": "identity", "User-Agent": _AGENT},
            trust_env=False,
            follow_redirects=False,
        ) as client:
            yield client

    async def stream(
        self, place: str, *, port: int | None = None, tls: bool = True, before: Before | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a reader and a writer of a connection to `place`, at its first port unless another of its is named.

        Without TLS it is made only where the place says `clear` and lies in its own `networks`. With `before` it begins
        in clear, for that alone, and is returned over TLS. Whoever asks bounds what is read and written, and closes the
        writer. Raises EgressRefused, EgressUnreachable, and what `before` does.
        """
        found = await self._place(place)
        line = await self._dialler.open(found, found.ports[0] if port is None else port, tls=tls, before=before)
        return line.reader, line.writer

    async def examine(self, place: str) -> list[Examined]:
        """Try every port of `place` and return what was seen. Raises EgressRefused where no such place is listed."""
        found = await self._place(place)
        return [await examine(self._dialler, found, port) for port in found.ports]

    async def _place(self, name: str) -> Destination:
        found = self._places.get(name)
        if found is None:
            asked = hashlib.sha256(name.encode("utf-8", "replace")).digest()
            await self._denials.denied(None, Reason.UNKNOWN_PLACE, asked)
            raise EgressRefused(place=None, reason=Reason.UNKNOWN_PLACE)
        return found
