"""TLS: modern and forward-secret or not at all; keys that only their owner reads."""

from __future__ import annotations

import asyncio
import ssl
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from wellkeep.assembly.tls import DevelopmentCertificate, make_development_certificate, server_context
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import Misconfigured


@pytest.fixture
def made(tmp_path: Path) -> DevelopmentCertificate:
    """Make a development certificate."""
    return make_development_certificate(
        certificate=tmp_path / "tls.crt", key=tmp_path / "tls.key", host="vault.example.org", clock=SystemClock()
    )


def test_the_certificate_is_what_clients_take(made: DevelopmentCertificate) -> None:
    leaf, root = x509.load_pem_x509_certificates(made.certificate.read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"localhost", "vault.example.org"}
    assert {str(one) for one in names.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "::1"}
    assert leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc <= timedelta(days=397, minutes=5)
    public = leaf.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert isinstance(public.curve, ec.SECP256R1)
    leaf.verify_directly_issued_by(root)


def test_only_the_owner_reads_the_key_and_nobody_has_the_authoritys(made: DevelopmentCertificate) -> None:
    assert stat.S_IMODE(made.key.stat().st_mode) == 0o600
    keys = [path for path in made.key.parent.iterdir() if b"PRIVATE" in path.read_bytes()]
    assert keys == [made.key]


def test_a_certificate_is_never_replaced(made: DevelopmentCertificate) -> None:
    with pytest.raises(Misconfigured, match="already"):
        make_development_certificate(certificate=made.certificate, key=made.key, host="localhost", clock=SystemClock())


def test_a_key_that_others_read_is_refused(made: DevelopmentCertificate) -> None:
    made.key.chmod(0o640)
    with pytest.raises(Misconfigured, match="chmod 600"):
        server_context(certificate=made.certificate, key=made.key)


def test_files_that_do_not_fit_are_refused(made: DevelopmentCertificate) -> None:
    with pytest.raises(Misconfigured, match="no TLS key"):
        server_context(certificate=made.certificate, key=made.key.with_name("other.key"))
    made.certificate.write_text("rubbish")
    with pytest.raises(Misconfigured, match="do not fit"):
        server_context(certificate=made.certificate, key=made.key)


async def _handshake(made: DevelopmentCertificate, client: ssl.SSLContext) -> tuple[str, str]:
    server = await asyncio.start_server(
        lambda _reader, writer: writer.close(),
        "127.0.0.1",
        0,
        ssl=server_context(certificate=made.certificate, key=made.key),
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="localhost")
        tls = writer.get_extra_info("ssl_object")
        version, cipher = tls.version(), tls.cipher()[0]
        writer.transport.abort()
    return version, cipher


async def test_tls_1_3_and_1_2_are_spoken(made: DevelopmentCertificate) -> None:
    client = ssl.create_default_context(cafile=str(made.authority))
    assert (await _handshake(made, client))[0] == "TLSv1.3"
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    version, cipher = await _handshake(made, client)
    assert version == "TLSv1.2"
    assert cipher.startswith("ECDHE-ECDSA-")


@pytest.mark.parametrize("suites", ["AES128-SHA", "ECDHE-ECDSA-AES128-SHA256", "AES256-GCM-SHA384"])
async def test_suites_without_forward_secrecy_or_aead_are_refused(made: DevelopmentCertificate, suites: str) -> None:
    client = ssl.create_default_context(cafile=str(made.authority))
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(suites + ":@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await _handshake(made, client)


async def test_tls_1_1_is_refused(made: DevelopmentCertificate) -> None:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(made.authority)
    client.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        client.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="deprecated"):
        client.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await _handshake(made, client)
