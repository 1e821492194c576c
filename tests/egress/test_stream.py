"""A stream goes to an address that was judged, over TLS; one forbidden address refuses them all."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egress.outside import HOST, PATIENT, QUICK, Certificates, Names, Noted, place, serving, silent, way_out
from egress.test_networks import KNOWN
from wellkeep.base.settings import Place
from wellkeep.egress.dialling import Limits
from wellkeep.egress.egress import Egress
from wellkeep.egress.errors import EgressRefused, EgressUnreachable, Reason, Trouble
from wellkeep.egress.networks import Kind, judge
from wellkeep.egress.resolving import NotResolved, SystemResolver

FORBIDDEN = {text: kind for text, kind in KNOWN.items() if kind is not Kind.PUBLIC}


def place_of(port: int) -> Place:
    return Place(name="siem", host=HOST, ports=(port,))


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1024):
        writer.write(data)
        await writer.drain()


async def test_a_stream_over_tls_is_the_place_s(certificates: Certificates, noted: Noted) -> None:
    async with serving(echo, certificates.context()) as server:
        reader, writer = await way_out(noted, place(server, certificates)).stream("siem")
        writer.write(b"<14>1 hello")
        await writer.drain()
        assert await reader.read(64) == b"<14>1 hello"
        session = writer.get_extra_info("ssl_object")
        assert session.version() == "TLSv1.3"
        writer.close()
        await writer.wait_closed()
    assert not noted.told


@pytest.mark.parametrize("text", FORBIDDEN)
async def test_each_kind_of_forbidden_address_is_refused(text: str, certificates: Certificates, noted: Noted) -> None:
    """Alone, and as one among many allowed ones, wherever it stands; nothing is dialled."""
    reason = Reason.of(FORBIDDEN[text])
    for found in ([text], ["8.8.8.8", text], [text, "8.8.8.8"], ["8.8.8.8", "1.1.1.1", text, "9.9.9.9"]):
        async with serving(silent, certificates.context()) as server:
            egress = way_out(noted, place(server, certificates, networks=()), names=Names([found]))
            with pytest.raises(EgressRefused) as refused:
                await egress.stream("siem")
            assert not server.connections
        assert refused.value.reason is reason
        assert text not in refused.value.message.replace("siem", "")
    assert noted.reasons == [reason] * 4


@given(st.lists(st.ip_addresses().map(str), min_size=1, max_size=6), st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
async def test_a_forbidden_address_among_any_others_refuses_them_all(found: list[str], data: st.DataObject) -> None:
    bad = data.draw(st.sampled_from(sorted(FORBIDDEN)))
    found.insert(data.draw(st.integers(0, len(found))), bad)
    noted = Noted()
    egress = way_out(
        noted,
        place_of(6514),
        names=Names([found]),
        limits=Limits(connect=0.01),
    )
    with pytest.raises(EgressRefused):
        await egress.stream("siem")
    first = next(judge(text).kind for text in found if judge(text).kind is not Kind.PUBLIC)
    assert noted.reasons == [Reason.of(first)]


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        *((host, Reason.LOOPBACK) for host in ("127.0.0.1", "127.1", "0x7f.1", "0x7f000001", "0x7f.0x0.0x0.0x1")),
        *((host, Reason.LOOPBACK) for host in ("2130706433", "017700000001", "0177.0.0.1", "127.000.000.001")),
        *((host, Reason.LOOPBACK) for host in ("localhost", "LOCALHOST", "::1", "0:0:0:0:0:0:0:1")),
        *((host, Reason.LOOPBACK) for host in ("::ffff:127.0.0.1", "::ffff:7f00:1", "64:ff9b::127.0.0.1")),
        *((host, Reason.UNSPECIFIED) for host in ("0", "0x0", "::", "::ffff:0.0.0.0")),
        *((host, Reason.RESERVED) for host in ("::127.0.0.1", "4294967295")),
    ],
)
async def test_no_spelling_of_the_machine_itself_gets_through(
    host: str, reason: Reason, certificates: Certificates, noted: Noted
) -> None:
    """With the system's own resolver, which takes them all."""
    async with serving(silent, certificates.context()) as server:
        egress = Egress(places=[place(server, certificates, host=host, networks=())], denials=noted, limits=PATIENT)
        with pytest.raises(EgressRefused):
            await egress.stream("siem")
        assert not server.connections
    assert noted.reasons == [reason]


@pytest.mark.parametrize("host", ["localhost.", "127.0.0.1.", "127.0.0.1..", "0x7f.1."])
async def test_a_dot_behind_the_machine_itself_does_not_either(
    host: str, certificates: Certificates, noted: Noted
) -> None:
    """Some systems take it for the machine, others for a name that nobody has."""
    async with serving(silent, certificates.context()) as server:
        egress = Egress(places=[place(server, certificates, host=host, networks=())], denials=noted, limits=PATIENT)
        with pytest.raises((EgressRefused, EgressUnreachable)):
            await egress.stream("siem")
        assert not server.connections
    assert set(noted.reasons) <= {Reason.LOOPBACK}


async def test_a_port_that_is_not_the_place_s_is_refused(certificates: Certificates, noted: Noted) -> None:
    names = Names([["127.0.0.1"]])
    async with serving(silent, certificates.context()) as server:
        egress = way_out(noted, place(server, certificates), names=names)
        with pytest.raises(EgressRefused):
            await egress.stream("siem", port=server.port ^ 1)
    assert noted.reasons == [Reason.OTHER_PORT]
    assert not names.asked


async def test_clear_text_is_refused_unless_the_place_says_so(noted: Noted) -> None:
    async with serving(echo, None) as server:
        with pytest.raises(EgressRefused):
            await way_out(noted, place(server, None)).stream("siem", tls=False)
        assert not server.connections
        reader, writer = await way_out(noted, place(server, None, clear=True)).stream("siem", tls=False)
        writer.write(b"hello")
        assert await reader.read(64) == b"hello"
        writer.close()
        await writer.wait_closed()
    assert noted.reasons == [Reason.CLEAR_TEXT]


async def test_who_resolves_too_slowly_is_not_waited_for(certificates: Certificates, noted: Noted) -> None:
    class Slow:
        async def addresses(self, host: str, port: int) -> list[str]:
            await asyncio.sleep(30)
            raise AssertionError(host, port)

    async with serving(silent, certificates.context()) as server:
        egress = way_out(noted, place(server, certificates), names=Slow(), limits=QUICK)  # type: ignore[arg-type]
        with pytest.raises(EgressUnreachable) as failed:
            await egress.stream("siem")
    assert failed.value.trouble is Trouble.TIMED_OUT


@pytest.mark.parametrize("answer", [[], ["no address"]])
async def test_a_name_without_an_address(answer: list[str], noted: Noted) -> None:
    with pytest.raises(EgressUnreachable) as failed:
        await way_out(noted, place_of(6514), names=Names([answer])).stream("siem")
    assert failed.value.trouble is Trouble.NOT_RESOLVED
    assert HOST not in failed.value.message


async def test_a_resolver_that_knows_the_name_and_no_address(noted: Noted) -> None:
    class Empty:
        async def addresses(self, host: str, port: int) -> list[str]:  # noqa: ARG002 -- for none
            return []

    with pytest.raises(EgressUnreachable) as failed:
        await way_out(noted, place_of(6514), names=Empty()).stream("siem")  # type: ignore[arg-type]
    assert failed.value.trouble is Trouble.NOT_RESOLVED


async def test_the_next_address_is_tried_where_one_takes_no_connection(
    certificates: Certificates, noted: Noted
) -> None:
    async with serving(echo, certificates.context(), host="127.0.0.2") as server:
        names = Names([["127.0.0.1", "127.0.0.2"]])
        _, writer = await way_out(noted, place(server, certificates), names=names).stream("siem")
        assert writer.get_extra_info("peername")[0] == "127.0.0.2"
        writer.close()
        await writer.wait_closed()


async def test_nobody_takes_the_connection(certificates: Certificates, noted: Noted) -> None:
    async with serving(silent, certificates.context()) as server:
        pass
    with pytest.raises(EgressUnreachable) as failed:
        await way_out(noted, place(server, certificates)).stream("siem")
    assert failed.value.trouble is Trouble.NOT_CONNECTED
    assert failed.value.retry_after


async def test_a_handshake_that_never_ends_is_left(noted: Noted) -> None:
    async with serving(silent, None) as server:
        began = asyncio.get_running_loop().time()
        with pytest.raises(EgressUnreachable) as failed:
            await way_out(noted, place(server, None), limits=QUICK).stream("siem")
        assert asyncio.get_running_loop().time() - began < PATIENT.connect / 2
    assert failed.value.trouble is Trouble.TIMED_OUT


async def test_old_tls_is_refused(certificates: Certificates, noted: Noted) -> None:
    context = certificates.context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA")  # no authenticated encryption
    async with serving(silent, context) as server:
        with pytest.raises(EgressUnreachable) as failed:
            await way_out(noted, place(server, certificates)).stream("siem")
    assert failed.value.trouble in {Trouble.NO_TLS, Trouble.NOT_CONNECTED}  # as it hears the alert, or the hanging up


async def test_the_system_resolver_says_what_the_system_says() -> None:
    resolver = SystemResolver()
    assert set(await resolver.addresses("localhost", 443)) <= {"127.0.0.1", "::1"}
    for nothing in ("name.invalid", "x" * 64 + ".example.org", "a..b"):
        with pytest.raises(NotResolved):
            await resolver.addresses(nothing, 443)


async def test_a_resolver_that_hangs_ends_with_its_bound(noted: Noted, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread of a lookup that hangs is one of our own: the loop's other threads go on."""
    release = threading.Event()

    def hang(*_arguments: object, **_more: object) -> list[object]:
        release.wait(timeout=10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    egress = Egress(places=[place_of(6514)], denials=noted, limits=QUICK)
    try:
        for _ in range(6):  # more than there are threads
            with pytest.raises(EgressUnreachable) as failed:
                await egress.stream("siem")
            assert failed.value.trouble is Trouble.TIMED_OUT
    finally:
        release.set()


async def test_an_examination_tells_each_port(certificates: Certificates, noted: Noted) -> None:
    async with serving(silent, certificates.context()) as server, serving(echo, None) as plain:
        names = Names([["127.0.0.1"]])
        both = place(server, certificates, ports=(server.port, plain.port), clear=True)
        over_tls, without = await way_out(noted, both, names=names).examine("siem")
        assert (over_tls.reached, over_tls.tls, over_tls.dialled) == (True, "TLSv1.3", "127.0.0.1")
        assert HOST in over_tls.names
        assert over_tls.addresses[0].listed
        assert (without.reached, without.tls) == (True, None)
        refused = await way_out(noted, place(server, certificates, networks=()), names=names).examine("siem")
        assert (refused[0].reached, refused[0].addresses[0].kind) == (False, "loopback")
    with pytest.raises(EgressRefused):
        await way_out(noted).examine("siem")
    assert noted.reasons == [Reason.LOOPBACK, Reason.UNKNOWN_PLACE]


async def test_an_examination_goes_without_tls_where_the_place_says_so(noted: Noted) -> None:
    async def greeting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 no TLS here\r\n")
        await writer.drain()
        await reader.read(1)

    async with serving(greeting, None) as server:
        (clear,) = await way_out(noted, place(server, None, clear=True)).examine("siem")
        (closed,) = await way_out(noted, place(server, None)).examine("siem")
    assert (clear.reached, clear.tls, clear.names) == (True, None, ())
    assert (closed.reached, "TLS" in closed.said) == (False, True)
