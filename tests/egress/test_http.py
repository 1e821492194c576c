"""HTTP goes to its place and nowhere else, and no answer holds us."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpcore
import httpx
import pytest

from egress.outside import (
    HOST,
    LOOPBACK,
    PATIENT,
    POLITE,
    QUICK,
    Certificates,
    Manner,
    Names,
    Noted,
    answers,
    drip,
    dripping_head,
    endless,
    midway,
    place,
    rubbish,
    serving,
    silent,
    way_out,
)
from wellkeep.egress.dialling import Dialler, Limits
from wellkeep.egress.errors import EgressRefused, EgressUnreachable, Reason, Trouble
from wellkeep.egress.places import destinations
from wellkeep.egress.transport import Backend

SECRET = "okafor"


async def test_a_place_is_reached_by_its_name_over_tls(certificates: Certificates, noted: Noted) -> None:
    names = Names([["127.0.0.1"]])
    async with (
        serving(POLITE, certificates.context()) as server,
        way_out(noted, place(server, certificates), names=names).http("siem") as client,
    ):
        for _ in range(3):
            answer = await client.post("/services/collector?x=1", content=b"body")
            assert (answer.status_code, answer.text) == (200, "ok")
        assert (await client.get(f"https://{HOST.upper()}.:{server.port}/")).text == "ok"
    assert f"Host: {HOST}:{server.port}".encode() in server.heads[0]
    assert b"Accept-Encoding: identity" in server.heads[0]
    assert names.asked == [HOST] * server.connections, "one resolution a connection"
    assert server.connections == 2
    assert not noted.told


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (f"https://evil.example.org/{SECRET}", Reason.OTHER_HOST),
        (f"https://{HOST}.evil.example.org/{SECRET}", Reason.OTHER_HOST),
        (f"https://{HOST}@evil.example.org/{SECRET}", Reason.OTHER_HOST),
        (f"https://127.0.0.1/{SECRET}", Reason.OTHER_HOST),
        (f"https://{HOST}:1/{SECRET}", Reason.OTHER_PORT),
        (f"https://{HOST}/{SECRET}", Reason.OTHER_PORT),
        (f"ftp://{HOST}/{SECRET}", Reason.OTHER_SCHEME),
        ("http://{place}/{SECRET}", Reason.CLEAR_TEXT),
    ],
)
async def test_an_address_that_is_not_the_place_s_is_refused_and_told(
    address: str, reason: Reason, certificates: Certificates, noted: Noted
) -> None:
    names = Names([["127.0.0.1"]])
    async with serving(POLITE, certificates.context()) as server:
        asked = address.replace("{place}", f"{HOST}:{server.port}")
        async with way_out(noted, place(server, certificates), names=names).http("siem") as client:
            with pytest.raises(EgressRefused) as refused:
                await client.post(asked, content=SECRET.encode())
    assert (refused.value.reason, refused.value.place) == (reason, "siem")
    assert SECRET not in refused.value.message
    assert HOST not in refused.value.message
    url = httpx.URL(asked)
    port = url.port or {"https": 443, "ftp": 0}[url.scheme]
    assert noted.told == [("siem", reason, hashlib.sha256(f"{url.host}:{port}".encode()).digest())]
    assert not server.connections
    assert not names.asked


@pytest.mark.parametrize(
    "named", ["evil.example.org", "evil.example.org:443", "", "siem.example.org.evil", "a b", "[::"]
)
async def test_a_request_names_no_other_host_to_a_server_of_many(
    named: str, certificates: Certificates, noted: Noted
) -> None:
    async with serving(POLITE, certificates.context()) as server:
        async with way_out(noted, place(server, certificates)).http("siem") as client:
            with pytest.raises(EgressRefused):
                await client.get("/", headers={"Host": named})
        assert not server.connections
    assert noted.reasons == [Reason.OTHER_HOST]


async def test_a_name_of_letters_beyond_ascii_is_listed_as_dns_has_it(
    noted: Noted, tmp_path_factory: pytest.TempPathFactory
) -> None:
    host = "xn--bcher-kva.example.org"
    own = Certificates.make(tmp_path_factory.mktemp("idna"), host)
    async with (
        serving(POLITE, own.context()) as server,
        way_out(noted, place(server, own, host=host)).http("siem") as client,
    ):
        assert (await client.get("/")).text == "ok"
        assert (await client.get(f"https://b\u00fccher.example.org:{server.port}/")).text == "ok"


async def test_a_redirect_is_an_answer_and_leads_nowhere(certificates: Certificates, noted: Noted) -> None:
    to = b"HTTP/1.1 302 Found\r\nLocation: https://evil.example.org/\r\nContent-Length: 0\r\n\r\n"
    async with (
        serving(answers(to), certificates.context()) as server,
        way_out(noted, place(server, certificates)).http("siem") as client,
    ):
        assert (await client.get("/")).status_code == 302
        assert not noted.told
        with pytest.raises(EgressRefused):
            await client.get("/", follow_redirects=True)
    assert noted.reasons == [Reason.OTHER_HOST]


async def test_no_proxy_and_no_key_log_is_taken_from_the_environment(
    certificates: Certificates, noted: Noted, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = tmp_path_factory.mktemp("keys") / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    async with serving(POLITE, None) as proxy, serving(POLITE, certificates.context()) as server:
        for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with way_out(noted, place(server, certificates)).http("siem") as client:
            assert (await client.get("/")).text == "ok"
        assert not proxy.connections
    assert not log.exists()


async def test_no_authority_is_taken_from_the_environment(
    certificates: Certificates, noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    monkeypatch.setenv("SSL_CERT_DIR", str(certificates.authority.parent))
    async with (
        serving(POLITE, certificates.context()) as server,
        way_out(noted, place(server, None, ca=None)).http("siem") as client,
    ):
        with pytest.raises(EgressRefused):
            await client.post("/", content=SECRET.encode())
    assert noted.reasons == [Reason.CERTIFICATE]
    assert not server.heads


def by_hash(authority: Path, folder: Path) -> Path:
    """Put an authority into a new directory as OpenSSL looks for it."""
    folder.mkdir()
    told = subprocess.run(  # noqa: S603 -- arguments of ours
        ["openssl", "x509", "-hash", "-noout", "-in", str(authority)],  # noqa: S607 -- the openssl of the path
        capture_output=True,
        text=True,
        check=True,
    )
    (folder / f"{told.stdout.strip()}.0").write_bytes(authority.read_bytes())
    return folder


async def test_the_system_s_authorities_are_where_openssl_was_built_to_look(
    certificates: Certificates, noted: Noted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file, a directory of hashes, both; and nobody is believed where there is neither."""
    hashed = by_hash(certificates.authority, tmp_path / "hashed")
    nowhere, built = str(tmp_path / "nowhere"), ssl.get_default_verify_paths()
    async with serving(POLITE, certificates.context()) as server:
        for file, folder, reached in (
            (str(certificates.authority), nowhere, True),
            (nowhere, str(hashed), True),
            (nowhere, nowhere, False),
        ):
            told = built._replace(openssl_cafile=file, openssl_capath=folder)
            monkeypatch.setattr(ssl, "get_default_verify_paths", lambda told=told: told)
            async with way_out(noted, place(server, None, ca=None)).http("siem") as client:
                if reached:
                    assert (await client.get("/")).text == "ok"
                    continue
                with pytest.raises(EgressUnreachable) as failed:
                    await client.get("/")
                assert failed.value.trouble is Trouble.NO_AUTHORITIES


async def test_a_certificate_of_another_name_or_authority_is_refused(
    certificates: Certificates, noted: Noted, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Certificates.make(tmp_path_factory.mktemp("other"), "other.example.org")
    same_name = Certificates.make(tmp_path_factory.mktemp("forged"))
    for presented, trusted in ((other, other), (same_name, certificates)):
        async with (
            serving(POLITE, presented.context()) as server,
            way_out(noted, place(server, trusted)).http("siem") as client,
        ):
            with pytest.raises(EgressRefused) as refused:
                await client.post("/", content=SECRET.encode())
        assert refused.value.reason is Reason.CERTIFICATE
        assert not server.heads
    assert noted.reasons == [Reason.CERTIFICATE] * 2


async def test_no_request_chooses_whose_certificate_is_asked_for(
    noted: Noted, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Certificates.make(tmp_path_factory.mktemp("other"), "other.example.org")
    async with (
        serving(POLITE, other.context()) as server,
        way_out(noted, place(server, other)).http("siem") as client,
    ):
        with pytest.raises(EgressRefused):
            await client.get("/", extensions={"sni_hostname": "other.example.org"})
    assert noted.reasons == [Reason.CERTIFICATE]


@pytest.mark.parametrize(
    ("manner", "trouble"),
    [
        (silent, Trouble.TIMED_OUT),
        (drip, Trouble.TIMED_OUT),
        (dripping_head, Trouble.TIMED_OUT),
        (endless, Trouble.TOO_LARGE),
        (midway, Trouble.BROKEN_OFF),
        (rubbish, Trouble.BROKEN_OFF),
        (answers(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok"), Trouble.ENCODED),
        (answers(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 200_000 + b"\r\n\r\n"), Trouble.BROKEN_OFF),
        (answers(b"HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\n" + bytes(65_537)), Trouble.TOO_LARGE),
    ],
)
async def test_who_answers_badly_is_left_in_time(
    manner: Manner, trouble: Trouble, certificates: Certificates, noted: Noted
) -> None:
    loop = asyncio.get_running_loop()
    limits = QUICK if trouble is Trouble.TIMED_OUT else PATIENT
    async with (
        serving(manner, certificates.context()) as server,
        way_out(noted, place(server, certificates), limits=limits).http("siem") as client,
    ):
        began = loop.time()
        with pytest.raises(EgressUnreachable) as failed:
            await client.post("/", content=SECRET.encode(), timeout=None)
        took = loop.time() - began
    assert failed.value.trouble is trouble
    assert took < PATIENT.total / 2, "far less than any of them goes on for"
    assert failed.value.message.startswith("The place siem: ")
    assert not noted.told


async def test_who_reads_nothing_is_left_in_time(certificates: Certificates, noted: Noted) -> None:
    async def deaf(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async with (
        serving(deaf, certificates.context()) as server,
        way_out(noted, place(server, certificates), limits=QUICK).http("siem") as client,
    ):
        with pytest.raises(EgressUnreachable) as failed:
            await client.post("/", content=bytes(16 * 1024 * 1024))
    assert failed.value.trouble is Trouble.TIMED_OUT


async def test_who_hangs_up_while_we_send(certificates: Certificates, noted: Noted) -> None:
    async def curt(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield bytes(64 * 1024)
            await asyncio.sleep(0.01)

    async with (
        serving(curt, certificates.context()) as server,
        way_out(noted, place(server, certificates)).http("siem") as client,
    ):
        with pytest.raises(EgressUnreachable) as failed:
            await client.post("/", content=pieces())
    assert failed.value.trouble is Trouble.BROKEN_OFF


async def test_below_the_client_no_other_host_is_dialled_either(certificates: Certificates, noted: Noted) -> None:
    """What httpcore asks for is held against the place again, and no line that was dialled in clear passes for TLS."""
    async with serving(POLITE, None) as server:
        found = destinations([place(server, certificates, clear=True)])["siem"]
        dialler = Dialler(resolver=Names([["127.0.0.1"]]), denials=noted, limits=PATIENT)
        with pytest.raises(EgressRefused):
            await Backend(dialler, found, tls=False).connect_tcp("evil.example.org", server.port)
        line = await Backend(dialler, found, tls=False).connect_tcp(HOST, server.port)
        with pytest.raises(httpcore.ConnectError):
            await line.start_tls(ssl.create_default_context())
        await line.aclose()
    assert noted.reasons == [Reason.OTHER_HOST]


async def test_an_answer_as_large_as_the_bound_is_taken(certificates: Certificates, noted: Noted) -> None:
    body = answers(b"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n" + bytes(65_536))
    async with (
        serving(body, certificates.context()) as server,
        way_out(noted, place(server, certificates)).http("siem") as client,
    ):
        assert len((await client.get("/")).content) == 65_536


async def test_a_server_without_tls_is_not_spoken_to(certificates: Certificates, noted: Noted) -> None:
    async with (
        serving(rubbish, None) as server,
        way_out(noted, place(server, certificates), limits=QUICK).http("siem") as client,
    ):
        with pytest.raises(EgressUnreachable):
            await client.get("/")
    assert not server.heads


async def test_in_clear_only_where_the_place_says_so_and_lies_in_its_own_network(noted: Noted) -> None:
    async with serving(POLITE, None) as server:
        egress = way_out(noted, place(server, None, clear=True))
        async with egress.http("siem") as client:
            assert (await client.get(f"http://{HOST}:{server.port}/")).text == "ok"
        names = Names([["127.0.0.1", "8.8.8.8"]])
        async with way_out(noted, place(server, None, clear=True), names=names).http("siem") as client:
            with pytest.raises(EgressRefused):
                await client.get(f"http://{HOST}:{server.port}/")
    assert noted.reasons == [Reason.CLEAR_TEXT]
    assert server.connections == 1


async def test_a_name_that_leads_elsewhere_the_second_time_is_refused(certificates: Certificates, noted: Noted) -> None:
    """DNS rebinding: nothing is resolved between judging and dialling, and each new connection is judged anew."""
    names = Names([["127.0.0.1"], ["169.254.169.254"]])
    async with serving(POLITE, certificates.context()) as server:
        egress = way_out(noted, place(server, certificates), names=names)
        async with egress.http("siem") as client:
            assert (await client.get("/")).text == "ok"
            assert len(names.asked) == 1
        async with egress.http("siem") as client:
            with pytest.raises(EgressRefused):
                await client.get("/")
    assert noted.reasons == [Reason.LINK_LOCAL]
    assert server.connections == 1


async def test_a_place_that_hangs_up_between_two_requests_is_dialled_again(
    certificates: Certificates, noted: Noted
) -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()

    async with (
        serving(once, certificates.context()) as server,
        way_out(noted, place(server, certificates)).http("siem") as client,
    ):
        for _ in range(3):
            assert (await client.get("/")).text == "ok"
            await asyncio.sleep(0.05)
    assert server.connections == 3


async def test_many_requests_at_once_over_few_connections(certificates: Certificates, noted: Noted) -> None:
    async with (
        serving(POLITE, certificates.context()) as server,
        way_out(noted, place(server, certificates)).http("siem") as client,
    ):
        found = await asyncio.gather(*(client.get(f"/{number}") for number in range(40)))
    assert {answer.text for answer in found} == {"ok"}
    assert server.connections <= 4


async def test_a_place_by_its_address_alone(certificates: Certificates, noted: Noted) -> None:
    async with serving(POLITE, certificates.context(), host="::1") as server:
        at = place(server, certificates, host="::1", networks=LOOPBACK)
        async with way_out(noted, at, names=Names([["::1"]])).http("siem") as client:
            assert (await client.get("/")).text == "ok"


async def test_bounds_can_be_another_s_own(certificates: Certificates, noted: Noted) -> None:
    body = answers(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000))
    async with serving(body, certificates.context()) as server:
        egress = way_out(noted, place(server, certificates))
        assert set(egress.places) == {"siem"}
        async with egress.http("siem", limits=Limits(answer=100_000)) as client:
            assert len((await client.get("/")).content) == 100_000
        async with egress.http("siem", limits=Limits(answer=99_999)) as client:
            with pytest.raises(EgressUnreachable):
                await client.get("/")


async def test_an_unknown_place_is_refused_and_told(noted: Noted) -> None:
    with pytest.raises(EgressRefused) as refused:
        async with way_out(noted).http(SECRET):
            pass
    assert noted.told == [(None, Reason.UNKNOWN_PLACE, hashlib.sha256(SECRET.encode()).digest())]
    assert SECRET not in refused.value.message


async def test_a_place_whose_authorities_are_none_is_not_reached(
    noted: Noted, certificates: Certificates, tmp_path: Path
) -> None:
    """Nothing but that place: whoever tries several goes on with the others."""
    (tmp_path / "empty.crt").write_text("")
    async with serving(POLITE, certificates.context()) as server:
        for ca in ("empty.crt", "nowhere.crt"):
            async with way_out(noted, place(server, None, ca=str(tmp_path / ca))).http("siem") as client:
                with pytest.raises(EgressUnreachable, match="siem: no authorities") as failed:
                    await client.get("/")
                assert failed.value.trouble is Trouble.NO_AUTHORITIES
        assert not server.connections


async def test_authorities_are_read_once_whatever_the_limits(
    noted: Noted, certificates: Certificates, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_bytes(certificates.authority.read_bytes())
    async with serving(POLITE, certificates.context()) as server:
        egress = way_out(noted, place(server, None, ca=str(ca)))
        for limits in (None, PATIENT, Limits(answer=7)):
            async with egress.http("siem", limits=limits) as client:
                assert (await client.get("/")).text == "ok"
            ca.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("listed", "asked"), [(HOST, HOST), (f"{HOST}.", f"{HOST}."), (f"{HOST.upper()}.", f"{HOST}.")]
)
async def test_a_dot_at_the_end_is_the_resolver_s_and_nobody_else_s(
    listed: str, asked: str, certificates: Certificates, noted: Noted
) -> None:
    """So that no search domain of the machine's is tried; the certificate and the header name the host without it."""
    names = Names([["127.0.0.1"]])
    async with serving(POLITE, certificates.context()) as server:
        egress = way_out(noted, place(server, certificates, host=listed), names=names)
        async with egress.http("siem") as client:
            assert (await client.get("/")).text == "ok"
    assert names.asked == [asked]
    assert f"Host: {HOST}:{server.port}".encode() in server.heads[0]
