"""A certificate for each host name, renewed on disk and served soon after; what does not fit is told and not taken."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from database import Database
from transport.authority import Authority, authority
from wellkeep.assembly.diagnosis import _certificates_of_hosts
from wellkeep.assembly.home import Home
from wellkeep.assembly.tls_hosts import Certificates, Pair, pairs
from wellkeep.assembly.tls_watch import CertificateWatch, watching_certificates
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import DatabaseUnavailable, Misconfigured
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.settings import Settings
from wellkeep.base.tls_settings import TlsHost, TlsSettings, check_hosts
from wellkeep.findings.findings import Finding, Findings
from wellkeep.findings.grammar import Kind

CLINIC, CHAIN = "records.clinic.example", "sub.chain.example"


class MovedClock(SystemClock):
    """The clock, some days on."""

    days = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(days=self.days)

    def monotonic(self) -> float:
        return super().monotonic() + self.days * 86_400


@dataclass
class Rig:
    """Certificates of three names on disk, served, with an authority that renews them."""

    folder: Path
    authority: Authority
    certificates: Certificates
    leaves: dict[str, bytes]

    def renew(self, name: str, *names: str, days: float = 60, back: float = 0) -> bytes:
        """Write another pair in the place of `name`'s."""
        return self.authority.issue(
            self.folder / f"{name}.crt", self.folder / f"{name}.key", *(names or (name,)), days=days, back=back
        )

    def look(self, times: int = 2) -> list[Pair]:
        """Look as the watch does, so that what changed is settled."""
        found = [self.certificates.look(SystemClock().now()) for _ in range(times)]
        return found[-1]


def settings() -> TlsSettings:
    hosts = tuple(TlsHost(name=name, certificate=f"{name}.crt", key=f"{name}.key") for name in (CLINIC, CHAIN))
    return TlsSettings(certificate="localhost.crt", key="localhost.key", hosts=hosts)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    signer = authority(tmp_path)
    leaves = {
        name: signer.issue(tmp_path / f"{name}.crt", tmp_path / f"{name}.key", *names)
        for name, names in (("localhost", ["localhost"]), (CLINIC, [CLINIC]), (CHAIN, ["*.chain.example"]))
    }
    certificates = Certificates(pairs(settings(), home=tmp_path), profile="intermediate")
    return Rig(tmp_path, signer, certificates, leaves)


@asynccontextmanager
async def serving(rig: Rig) -> AsyncIterator[int]:
    """Echo lines over TLS."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while line := await reader.readline():
                writer.write(line)
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=rig.certificates.front)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def connected(
    rig: Rig, port: int, name: str | None, *, oldest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2, newest: bool = True
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    client = ssl.create_default_context(cafile=str(rig.authority.file))
    client.minimum_version = oldest
    if not newest:
        client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.check_hostname = name is not None
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=client, server_hostname="" if name is None else name
    )
    return reader, writer


async def shown(rig: Rig, port: int, name: str | None, *, newest: bool = True) -> bytes:
    """Return the leaf that a client is shown who asks for `name`, or for none."""
    _, writer = await connected(rig, port, name, newest=newest)
    leaf: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return leaf


@pytest.mark.parametrize("newest", [True, False], ids=["tls-1.3", "tls-1.2"])
async def test_each_name_is_shown_its_own_certificate_and_the_rest_the_default(rig: Rig, *, newest: bool) -> None:
    async with serving(rig) as port:
        for asked, name in (
            (CLINIC, CLINIC),
            (CLINIC.upper(), CLINIC),
            (CHAIN, CHAIN),
            ("localhost", "localhost"),
            (None, "localhost"),
        ):
            assert await shown(rig, port, asked, newest=newest) == rig.leaves[name]
        with pytest.raises(ssl.SSLCertVerificationError):  # another of that chain's names is nobody's here
            await shown(rig, port, "other.chain.example", newest=newest)


async def test_a_renewed_certificate_is_served_and_no_request_is_dropped(rig: Rig) -> None:
    async with serving(rig) as port:
        reader, writer = await connected(rig, port, CLINIC)
        new = rig.renew(CLINIC)
        assert rig.look(times=1) == []
        assert await shown(rig, port, CLINIC) == rig.leaves[CLINIC]  # not before it was the same for one look
        assert rig.look(times=1) == []
        assert await shown(rig, port, CLINIC) == new
        assert await shown(rig, port, "localhost") == rig.leaves["localhost"]
        writer.write(b"still here\n")
        assert await reader.readline() == b"still here\n"
        writer.transport.abort()


async def test_a_certificate_is_served_to_who_was_here_before(rig: Rig) -> None:
    """No session is resumed past a renewal: the client that connects again sees the new certificate."""
    async with serving(rig) as port:
        client = ssl.create_default_context(cafile=str(rig.authority.file))
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname=CLINIC)
        writer.write(b"a\n")
        await reader.readline()  # tickets would have come by now
        assert writer.get_extra_info("ssl_object").session.has_ticket is False
        writer.transport.abort()


def half_written(rig: Rig) -> None:
    rig.renew(CLINIC)
    path = rig.folder / f"{CLINIC}.crt"
    path.write_bytes(path.read_bytes()[:200])


def another_key(rig: Rig) -> None:
    key = rig.folder / f"{CLINIC}.key"
    kept = key.read_bytes()
    rig.renew(CLINIC)
    key.write_bytes(kept)


def open_key(rig: Rig) -> None:
    rig.renew(CLINIC)
    (rig.folder / f"{CLINIC}.key").chmod(0o644)


def gone(rig: Rig) -> None:
    (rig.folder / f"{CLINIC}.crt").unlink()


def a_directory(rig: Rig) -> None:
    gone(rig)
    (rig.folder / f"{CLINIC}.crt").mkdir()


def another_name(rig: Rig) -> None:
    rig.renew(CLINIC, "other.clinic.example")


def over(rig: Rig) -> None:
    rig.renew(CLINIC, days=10, back=20)


SPOILT = (half_written, another_key, open_key, gone, a_directory, another_name, over)


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: str(spoil.__name__))
async def test_what_does_not_fit_is_not_taken_and_a_fitting_pair_is_again(rig: Rig, spoil: object) -> None:
    assert callable(spoil)
    spoil(rig)
    assert [one.name for one in rig.look()] == [CLINIC]
    async with serving(rig) as port:
        assert await shown(rig, port, CLINIC) == rig.leaves[CLINIC]
        assert await shown(rig, port, CHAIN) == rig.leaves[CHAIN]
        path = rig.folder / f"{CLINIC}.crt"
        if path.is_dir():
            path.rmdir()
        new = rig.renew(CLINIC)
        assert rig.look() == []
        assert await shown(rig, port, CLINIC) == new


async def test_handshakes_go_on_while_pairs_change_hands(rig: Rig) -> None:
    async with serving(rig) as port:

        async def ask() -> bytes:
            return await shown(rig, port, CLINIC)

        leaves = {rig.leaves[CLINIC]}
        for _ in range(4):
            leaves.add(rig.renew(CLINIC))
            found = asyncio.gather(*(ask() for _ in range(5)))
            await asyncio.to_thread(rig.look)
            assert set(await found) <= leaves


def test_a_start_with_a_pair_that_does_not_fit_is_refused(rig: Rig) -> None:
    made = pairs(settings(), home=rig.folder)
    another_name(rig)
    with pytest.raises(Misconfigured, match=f"not for {CLINIC}"):
        Certificates(made, profile="modern")
    half_written(rig)
    with pytest.raises(Misconfigured, match="do not fit"):
        Certificates(made, profile="modern")
    twice = (TlsHost(name=CLINIC, certificate="a", key="b"),) * 2
    with pytest.raises(Misconfigured, match=r"\[\[tls.hosts\]\] names each host once"):
        check_hosts(twice)


def test_the_doctor_looks_at_each_hosts_own(rig: Rig) -> None:
    rig.renew(CLINIC, days=10)
    (rig.folder / f"{CHAIN}.crt").unlink()
    deployment = Settings(version=1, deployment=uuid7(), environment="test", tls=settings())
    clinic, chain = _certificates_of_hosts(Home(rig.folder), deployment)
    assert (clinic.fine, clinic.mend) == (False, "It ends in 9 days: renew it")
    assert (chain.fine, chain.what) == (False, f"The TLS certificate of {CHAIN} lasts another month")
    rig.renew(CHAIN, days=60)
    assert _certificates_of_hosts(Home(rig.folder), deployment)[1].fine


class Watched:
    """A watch over `rig`, with the findings that it leaves."""

    def __init__(self, rig: Rig, findings: Findings, clock: MovedClock) -> None:
        self.watch = CertificateWatch(rig.certificates, findings=findings, clock=clock)
        self.findings = findings
        self.clock = clock

    async def after(self, looks: int = 2) -> dict[str, Finding]:
        """Look, and return what is open, by kind."""
        for _ in range(looks):
            await self.watch.look()
        return {one.kind: one for one in await self.findings.list(PLATFORM_TENANT)}


@pytest.fixture
async def watched(rig: Rig, database: Database) -> AsyncIterator[Watched]:
    clock = MovedClock()
    async with database.pool("wk_app") as pool:
        findings = Findings(pool, clock=clock)
        yield Watched(rig, findings, clock)
        await findings.stop()


async def test_a_pair_that_is_not_taken_is_a_finding_that_closes_itself(rig: Rig, watched: Watched) -> None:
    assert await watched.after() == {}
    half_written(rig)
    found = await watched.after()
    assert list(found) == [Kind.CERTIFICATE_UNREADABLE]
    one = found[Kind.CERTIFICATE_UNREADABLE]
    assert (one.severity, one.detail["setting"], one.detail["part"]) == ("high", "tls.hosts", 1)
    assert CLINIC not in one.key + str(one.detail)
    assert (await watched.after(looks=5))[Kind.CERTIFICATE_UNREADABLE].count == 1  # it is told once an hour
    rig.renew(CLINIC)
    assert await watched.after() == {}


async def test_a_certificate_that_ends_soon_is_told_louder_and_closes_with_the_renewal(
    rig: Rig, watched: Watched
) -> None:
    for days, severity in ((38.0, None), (40.0, "medium"), (54.0, "high"), (61.0, "critical")):
        watched.clock.days = days
        rig.renew("localhost", days=90)
        rig.renew(CHAIN, "*.chain.example", days=90)
        found = await watched.after()
        assert [one.severity for one in found.values()] == ([] if severity is None else [severity])
    assert found[Kind.CERTIFICATE_EXPIRING].detail["seconds"] == 0
    rig.renew(CLINIC, days=120)
    assert await watched.after() == {}


async def test_what_an_earlier_process_left_open_is_closed_where_it_is_over(rig: Rig, watched: Watched) -> None:
    half_written(rig)
    assert await watched.after()
    rig.renew(CLINIC)
    again = Watched(rig, watched.findings, watched.clock)
    assert await again.after() == {}


async def test_the_watch_goes_on_whatever_happens(rig: Rig, watched: Watched) -> None:
    looks = 0

    class Troubled(CertificateWatch):
        async def look(self) -> None:
            nonlocal looks
            looks += 1
            if looks == 1:
                raise DatabaseUnavailable
            if looks == 2:
                raise ValueError
            await super().look()

    troubled = Troubled(rig.certificates, findings=watched.findings, clock=watched.clock)
    new = rig.renew(CLINIC)
    async with watching_certificates(troubled, seconds=0.01), serving(rig) as port, asyncio.timeout(10):
        while await shown(rig, port, CLINIC) != new:
            pass  # each of these is a connection
    assert looks >= 4
