"""rest.places (the half of it that goes out): nothing is connected to but what is listed, where it was judged to be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import msgspec

from wellkeep.assembly.egress_denials import EgressDenials
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.settings import EgressSettings, Place
from wellkeep.db.connection import Connection
from wellkeep.egress.dialling import Limits
from wellkeep.egress.egress import Egress
from wellkeep.egress.errors import EgressRefused, EgressUnreachable, Reason
from wellkeep.egress.resolving import Resolver
from wellkeep.findings.grammar import Kind, finding_key
from wellkeep.prove.deployment import Unseen
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.probe import Probe
from wellkeep.prove.scratch import Scratch
from wellkeep.prove.server import commanded
from wellkeep.prove.world import World

_ENTERED = """
SELECT coalesce(sum((convert_from(entry, 'UTF8')::jsonb #>> '{event,count}')::int), 0)
FROM ledger.entry WHERE action = 'egress.denied'
"""
_LIMITS = Limits(resolve=5.0, connect=3.0, read=5.0, total=10.0)
_REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: http://other.example.org/\r\nContent-Length: 0\r\n\r\n"
_HERE = "127.0.0.1"
_BESIDE = "127.0.0.2"
_SPELLINGS = ("0x7f.1", "2130706433", "127.1", "localhost", _HERE)
"""Of this machine, as resolvers take them."""
_FORBIDDEN = (
    *("0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "127.0.0.3", "169.254.169.254"),  # noqa: S104
    *("168.63.129.16", "192.0.2.1", "198.18.0.1", "192.88.99.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::ffff:127.0.0.3", "::ffff:169.254.169.254", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "2001::1"),
    *("2001:db8::1", "2002:7f00:1::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1"),
)
"""Of each kind one that no place may resolve to, unless it lists the network: they list the first address alone."""


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(slots=True)
class _Listener:
    """A port of ours that counts who comes."""

    port: int = 0
    came: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Count, and send whoever asks elsewhere."""
        self.came += 1
        if await reader.read(4096):
            writer.write(_REDIRECT)
        writer.close()


@dataclass(slots=True)
class _Names:
    """A resolver that gives its answers in turn, as one does that is in an attacker's hands."""

    answers: Sequence[Sequence[str]]
    asked: int = 0

    async def addresses(self, _host: str, _port: int) -> Sequence[str]:
        """Return the next answer."""
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


@dataclass(slots=True)
class _Tried:
    """What came of attempts: how many were refused, and how the others ended."""

    refused: int = 0
    others: list[str] = field(default_factory=list)


async def run(world: World, notes: Notes) -> None:
    """Try to get out to what is not listed, in every way a name, an address or an answer can lead there."""
    scratch = await world.scratch()
    core = scratch.operator.core
    denials = EgressDenials(gate=core.gate, findings=core.findings, clock=core.clock)
    async with scratch.as_superuser() as connection, _listening(_HERE) as here:
        before = await _entered(connection)
        tried = [
            await _spellings(denials, here, notes),
            await _among_others(denials, here, notes),
            await _elsewhere(denials, here, notes),
            await _rebinding(denials, here, notes),
            await _impostor(scratch, denials, notes),
        ]
        await denials.stop()
        refused = sum(one.refused for one in tried)
        entered = await _entered(connection) - before
        notes.check(
            f"counted the refusals that the root log holds after {refused} of them",
            held=entered == refused > 0,
            seen=f"{entered} are on record",
        )
        await _as_settings(scratch, connection, here, notes)


async def _spellings(denials: EgressDenials, here: _Listener, notes: Notes) -> _Tried:
    """List each spelling of this machine's own address as if it were a place outside, and connect."""
    tried = _Tried()
    for host in _SPELLINGS:
        await _attempt(denials, Place(name="probe_spelling", host=host, ports=(here.port,)), tried)
    notes.check(
        f"connected to this machine itself by {len(_SPELLINGS)} spellings, over HTTP and by stream",
        held=not tried.others and here.came == 0,
        seen=_words(tried, here.came),
    )
    return tried


async def _among_others(denials: EgressDenials, here: _Listener, notes: Notes) -> _Tried:
    """Let an allowed address come back together with a forbidden one of each kind, in either order."""
    tried, before = _Tried(), here.came
    place = _place("probe_among", here, clear=False)
    for bad in _FORBIDDEN:
        for answer in ([_HERE, bad], [bad, _HERE]):
            await _attempt(denials, place, tried, _Names([answer]))
    notes.check(
        f"resolved a place to its own address and one of {len(_FORBIDDEN)} forbidden ones beside it",
        held=not tried.others and here.came == before,
        seen=_words(tried, here.came - before),
    )
    return tried


async def _elsewhere(denials: EgressDenials, here: _Listener, notes: Notes) -> _Tried:
    """Ask the client of a listed place for another host, port and scheme, follow its redirect, name no place at all."""
    tried, before, names = _Tried(), here.came, _Names([[_HERE]])
    egress = _egress(denials, _place("probe_elsewhere", here), names)
    own = f"http://elsewhere.example.org:{here.port}/"
    async with egress.http("probe_elsewhere") as client:
        addresses = ("https://other.example.org/", own.replace(str(here.port), "1"), own.replace("http", "ftp"))
        for address in addresses:
            await _outcome(client.get(address), tried)
        await _outcome(client.get(own, follow_redirects=True), tried)
    await _outcome(egress.stream("probe_unlisted"), tried)
    notes.check(
        "asked a place's client for other hosts, ports and schemes, followed its redirect, named a place not listed",
        held=not tried.others and here.came == before + 1,
        seen=f"{_words(tried, here.came - before)} (the redirect itself was to be fetched)",
    )
    return tried


async def _rebinding(denials: EgressDenials, here: _Listener, notes: Notes) -> _Tried:
    """Let a name lead to its own address when it is judged, and beside it whenever it is asked again."""
    tried, before = _Tried(), here.came
    names = _Names([[_HERE], [_BESIDE]])
    egress = _egress(denials, _place("probe_rebound", here), names)
    async with _listening(_BESIDE, here.port) as beside:
        _, writer = await egress.stream("probe_rebound", tls=False)
        writer.close()
        asked = names.asked
        await _outcome(egress.stream("probe_rebound", tls=False), tried)
        held = asked == 1 and here.came == before + 1 and beside.came == 0 and not tried.others
    notes.check(
        "let a name change its address between two questions (DNS rebinding)",
        held=held,
        seen=f"asked {asked} times for the first connection; of the next, {_words(tried, beside.came)}",
    )
    return tried


async def _impostor(scratch: Scratch, denials: EgressDenials, notes: Notes) -> _Tried:
    """Meet a real server with a real certificate, under its own name and under another."""
    tried = _Tried()
    await _outcome(_health(scratch, denials, "vault.example.org"), tried)
    honest = await _health(scratch, denials, "localhost")
    notes.check(
        "sent a request to a server whose certificate is of another name",
        held=tried.refused == 1,
        seen=_words(tried, 0),
    )
    notes.check(
        "positive control: sent one to the same server under its own name, which is listed",
        held=honest.status_code == httpx.codes.OK,
        seen=f"answered {honest.status_code}",
    )
    return tried


async def _as_settings(scratch: Scratch, connection: Connection, here: _Listener, notes: Notes) -> None:
    """List places in the settings of the deployment, and let its own program connect to them."""
    server = _server(scratch, "localhost")
    outside = Place(name="probe_outside", host=_HERE, ports=(here.port,))
    kept, before, came = scratch.home.settings(), await _entered(connection), here.came
    listed = msgspec.structs.replace(kept, egress=EgressSettings(places=(server, outside)))
    scratch.home.write_settings(listed)
    try:
        allowed, refused = await _tested(scratch, server.name), await _tested(scratch, outside.name)
    finally:
        scratch.home.write_settings(kept)
    entered = await _entered(connection) - before
    keys = {one.key for one in await scratch.operator.core.findings.list(PLATFORM_TENANT)}
    found = finding_key(Kind.EGRESS_DENIED, outside.name, Reason.LOOPBACK.value) in keys
    notes.check(
        "listed a place in the settings and had the program connect to it, then to one that resolves to this machine",
        held=allowed == 0 and refused == 1 and entered == 1 and here.came == came and found,
        seen=f"exit {allowed} and exit {refused}; {entered} refusal on record, "
        f"{'a finding' if found else 'no finding'}, {here.came - came} connections",
    )


async def _tested(scratch: Scratch, place: str) -> int:
    return (await asyncio.to_thread(commanded, scratch.home.path, "egress", "test", place)).code


async def _attempt(denials: EgressDenials, place: Place, tried: _Tried, names: Resolver | None = None) -> None:
    """Connect to `place` over HTTP and by stream."""
    egress = _egress(denials, place, names)
    scheme = "http" if place.clear else "https"
    async with egress.http(place.name) as client:
        await _outcome(client.get(f"{scheme}://{place.host}:{place.ports[0]}/"), tried)
    await _outcome(egress.stream(place.name, tls=not place.clear), tried)


async def _outcome(attempt: Awaitable[httpx.Response | Stream], tried: _Tried) -> None:
    try:
        got = await attempt
    except EgressRefused:
        tried.refused += 1
    except EgressUnreachable as error:
        tried.others.append(error.trouble.value)
    else:
        tried.others.append("connected")
        if isinstance(got, tuple):
            got[1].close()


async def _health(scratch: Scratch, denials: EgressDenials, host: str) -> httpx.Response:
    egress = _egress(denials, _server(scratch, host), _Names([[_HERE]]))
    async with egress.http("probe_server") as client:
        return await client.get("/healthz")


def _server(scratch: Scratch, host: str) -> Place:
    """Return the deployment's own server as a place."""
    tls, port = scratch.settings.tls, int(scratch.settings.listen.public.rpartition(":")[2])
    authority = str(scratch.home.resolve(tls.certificate).with_suffix(".ca.crt"))
    return Place(name="probe_server", host=host, ports=(port,), networks=("127.0.0.0/8", "::1/128"), ca=authority)


def _place(name: str, here: _Listener, *, clear: bool = True) -> Place:
    """Return a place of the listener's, let into that one address and no other."""
    return Place(name=name, host="elsewhere.example.org", ports=(here.port,), networks=(f"{_HERE}/32",), clear=clear)


def _egress(denials: EgressDenials, place: Place, names: Resolver | None) -> Egress:
    return Egress(places=[place], denials=denials, resolver=names, limits=_LIMITS)


@asynccontextmanager
async def _listening(host: str, port: int = 0) -> AsyncIterator[_Listener]:
    listener = _Listener()
    try:
        server = await asyncio.start_server(listener.serve, host, port)
    except OSError:
        raise Unseen("no port could be opened for connections to come to") from None
    listener.port = server.sockets[0].getsockname()[1]
    async with server:
        yield listener


async def _entered(connection: Connection) -> int:
    counted: int = await connection.fetchval(_ENTERED)
    return counted


def _words(tried: _Tried, came: int) -> str:
    others = f", otherwise: {', '.join(sorted(set(tried.others)))}" if tried.others else ""
    return f"{tried.refused} refused{others}; {came} connections came"


PROBE = Probe(
    claim="rest.places",
    where=Where.SCRATCH,
    run=run,
    missing="agreements with partners and vendors, which are not kept yet; connections out are covered",
)
