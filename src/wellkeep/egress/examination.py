"""Looking at one port of a place as a connection would go there, for the operator: nothing is sent.

Unlike errors, what is seen here names addresses: it is shown to whoever runs the machine and kept nowhere.
"""

from __future__ import annotations

from typing import Any

import msgspec

from wellkeep.base.errors import WellkeepError
from wellkeep.egress.dialling import Dialler, Line
from wellkeep.egress.errors import EgressUnreachable, Trouble
from wellkeep.egress.networks import Judged
from wellkeep.egress.places import Destination


class Resolved(msgspec.Struct, frozen=True):
    """An address of the place, its kind of network, and whether it lies in the place's own list."""

    address: str
    kind: str
    listed: bool


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of one port. `said` tells why it was not reached, and is empty where it was."""

    port: int
    reached: bool
    said: str = ""
    addresses: tuple[Resolved, ...] = ()
    dialled: str | None = None
    tls: str | None = None
    names: tuple[str, ...] = ()
    until: str | None = None


async def examine(dialler: Dialler, place: Destination, port: int) -> Examined:
    """Resolve, judge, dial, and shake hands; where the place says `clear` and speaks no TLS, without it."""
    addresses: tuple[Resolved, ...] = ()
    try:
        found = await dialler.resolved(place, port)
        addresses = tuple(_resolved(place, judged) for judged in found)
        line = await _connected(dialler, place, port, found)
    except WellkeepError as error:
        return Examined(port=port, reached=False, said=error.message, addresses=addresses)
    try:
        return _seen(line, port, addresses)
    finally:
        await line.close()


async def _connected(dialler: Dialler, place: Destination, port: int, found: list[Judged]) -> Line:
    try:
        return await dialler.connect(place, port, found, tls=True)
    except EgressUnreachable as error:
        if not (place.clear and error.trouble is Trouble.NO_TLS):
            raise
    return await dialler.connect(place, port, found, tls=False)


def _resolved(place: Destination, judged: Judged) -> Resolved:
    return Resolved(str(judged.address), judged.kind.value, judged.listable and place.lists(judged.address))


def _seen(line: Line, port: int, addresses: tuple[Resolved, ...]) -> Examined:
    session = line.writer.get_extra_info("ssl_object")
    certificate: dict[str, Any] = line.writer.get_extra_info("peercert") or {}
    return Examined(
        port=port,
        reached=True,
        addresses=addresses,
        dialled=str(line.address),
        tls=None if session is None else session.version(),
        names=tuple(name for _, name in certificate.get("subjectAltName", ())),
        until=certificate.get("notAfter"),
    )
