"""transport.admin_plane: administration has a socket of its own, exists nowhere else, and hears nobody from outside.

What the administration listener documents is asked of the public one, with keys that administration would obey. From
outside is tried on a scratch deployment, which lets one loopback address in and no other.
"""

from __future__ import annotations

import asyncio
from typing import Final

from wellkeep.prove.deployment import Deployment, Unseen
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.hello import Version, offer
from wellkeep.prove.probe import Probe
from wellkeep.prove.requests import Place, requests
from wellkeep.prove.scratch import INSIDE
from wellkeep.prove.stage import Stage
from wellkeep.prove.world import World

_OUTSIDE: Final = "127.0.0.9"
_NOT_FOUND: Final = 404
_NO_METHOD: Final = 405
_SUITES: Final = (0x1301, 0x1302, 0x1303)
_GROUPS: Final = (0x001D, 0x0017, 0x0018)
_GARBAGE: Final = b"\x16\x03\x01\x40\x00" + b"\xff" * 200
_WAITING_SECONDS: Final = 3.0


async def run(world: World, notes: Notes) -> None:
    """Ask the public listener for administration, then knock at administration's own door from outside."""
    live = await world.live()
    await _absent(live, notes)
    await _outside(await world.scratch(), notes)


async def _absent(live: Stage, notes: Notes) -> None:
    listen = live.settings.listen
    public = await _paths(live, admin=False)
    only = (await _paths(live, admin=True)).keys() - public.keys()
    place = Place.nowhere(record=str(live.a.id), subject=str(live.a.id), tenant=live.a.id)
    there, tried = [], 0
    for request in requests(place):
        if request.admin and request.operation in only:
            answer = await request.send(await live.client(live.a.keys["administrator"]))
            tried += 1
            # An address of another operation that is public says that it knows no such method.
            shared = answer.status_code == _NO_METHOD and request.arguments["url"] in public.values()
            there += [request.operation] if answer.status_code != _NOT_FOUND and not shared else []
    metrics = await (await live.client(live.a.keys["administrator"])).get("/metrics")
    there += ["metrics"] if metrics.status_code != _NOT_FOUND else []
    notes.check(
        f"asked the public listener, as an administrator, for {tried + 1} addresses of administration",
        held=tried > 0 and not there and listen.public != listen.admin,
        seen="each: there is nothing at this address (404); the sockets are two"
        if not there
        else f"answered: {', '.join(there[:5])}",
    )


async def _paths(deployment: Deployment, *, admin: bool) -> dict[str, str]:
    """Return the address of each operation of a listener."""
    document = (await (await deployment.client(admin=admin)).get("/v1/openapi.json")).json()
    return {
        operation["operationId"]: path for path, methods in document["paths"].items() for operation in methods.values()
    }


async def _outside(scratch: Stage, notes: Notes) -> None:
    """Connect from an address that may administer and from one that may not, with TLS and with garbage."""
    address = scratch.settings.listen.admin
    inside = INSIDE.partition("/")[0]
    try:
        taken = await _hello(address, inside)
        refused = await _hello(address, _OUTSIDE)
        told, closed = await _said(address, _OUTSIDE, _GARBAGE)
        public = await _hello(scratch.settings.listen.public, _OUTSIDE)
    except (OSError, TimeoutError) as error:
        raise Unseen("the listeners of the scratch deployment do not answer") from error
    notes.check(
        f"connected to administration of a scratch deployment from {inside}, which it lets in, and said hello",
        held=taken,
        seen="answered" if taken else "refused: nobody can administer it",
    )
    notes.check(
        "connected to it from another address, and said hello, then sent what is no TLS at all",
        held=not refused and not told and closed and public,
        seen="closed without a byte, whatever was sent; the public listener answers the same address"
        if not refused and not told and closed
        else "it was heard",
    )


async def _hello(address: str, source: str) -> bool:
    chosen = await offer(address, version=Version.TLS_1_3, suites=_SUITES, groups=_GROUPS, source=source)
    return chosen is not None


async def _said(address: str, source: str, what: bytes) -> tuple[bytes, bool]:
    """Return what the server said to `what`, and whether it closed; one that waits for more has heard it."""
    host, _, port = address.rpartition(":")
    try:
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), local_addr=(source, 0))
    except ConnectionResetError:
        return b"", True
    try:
        async with asyncio.timeout(_WAITING_SECONDS):
            writer.write(what)
            return await reader.read(1024), True
    except ConnectionError:
        return b"", True
    except TimeoutError:
        return b"", False
    finally:
        writer.close()


PROBE = Probe(claim="transport.admin_plane", where=Where.LIVE, run=run)
