"""TLS: the development certificate that `init` makes, and the contexts that the listeners serve with.

Rules: a profile of Mozilla's and nothing beside it, so TLS 1.2 at least, with forward-secret AEAD suites alone (NIST SP
800-52r2, BCP 195); no session is resumed by a ticket, whose key would open what was recorded before; private keys are
0600 from their first byte. The groups are tls_groups.py's. The development certificate is signed by a local authority
whose key is never written: its certificate can be given to `curl --cacert`, and nothing else can ever be signed in its
name.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
import stat
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wellkeep.base.clock import Clock
from wellkeep.base.errors import Misconfigured
from wellkeep.base.tls_settings import Profile

_SUITES: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
"""Of TLS 1.2, in Mozilla's order; those of TLS 1.3 are all sound, and OpenSSL's own."""
_OLDEST: Final[dict[Profile, ssl.TLSVersion]] = {
    "intermediate": ssl.TLSVersion.TLSv1_2,
    "modern": ssl.TLSVersion.TLSv1_3,
}
_LIFETIME = timedelta(days=365)
_LEEWAY = timedelta(minutes=5)
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_NO_USAGE = dict.fromkeys(
    (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    ),
    False,
)


@dataclass(frozen=True, slots=True)
class DevelopmentCertificate:
    """Where the files are: the server's chain and key, and the authority's certificate for clients to trust."""

    certificate: Path
    key: Path
    authority: Path


def make_development_certificate(*, certificate: Path, key: Path, host: str, clock: Clock) -> DevelopmentCertificate:
    """Make an ECDSA P-256 certificate for `host`, localhost, 127.0.0.1 and ::1, for 365 days, and its authority.

    The authority's certificate is `<certificate>` with the suffix `.ca.crt`. Raises Misconfigured where a file stands
    there already: a certificate in use is never replaced silently.
    """
    authority = certificate.with_suffix(".ca.crt")
    if any(path.exists() for path in (certificate, key, authority)):
        raise Misconfigured(f"There is a certificate or key already at {certificate} or {key}; move it away first")
    now = clock.now()
    authority_key = ec.generate_private_key(ec.SECP256R1())
    server_key = ec.generate_private_key(ec.SECP256R1())
    root = _authority_certificate(authority_key, now)
    leaf = _server_certificate(server_key, authority_key, root, host, now)
    pem = serialization.Encoding.PEM
    private = server_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(key, private, mode=0o600)
    _write(certificate, leaf.public_bytes(pem) + root.public_bytes(pem), mode=0o644)
    _write(authority, root.public_bytes(pem), mode=0o644)
    return DevelopmentCertificate(certificate, key, authority)


def _write(path: Path, content: bytes, *, mode: int) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _authority_certificate(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = _name("wellkeep development authority")
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _LEEWAY)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**{**_NO_USAGE, "key_cert_sign": True, "crl_sign": True}), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )


def _server_certificate(
    key: ec.EllipticCurvePrivateKey,
    authority_key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    host: str,
    now: datetime,
) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(_name("wellkeep development server"))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _LEEWAY)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**{**_NO_USAGE, "digital_signature": True}), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_alternatives(host)), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _alternatives(host: str) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    addresses = ["127.0.0.1", "::1"]
    try:
        addresses.append(str(ipaddress.ip_address(host)))
    except ValueError:
        names.append(x509.DNSName(host))
    unique_names = list(dict.fromkeys(names))
    return unique_names + [x509.IPAddress(ipaddress.ip_address(text)) for text in dict.fromkeys(addresses)]


def server_context(*, certificate: Path, key: Path, profile: Profile = "intermediate") -> ssl.SSLContext:
    """Return a context that a listener serves one pair of chain and key with.

    Raises Misconfigured where a file is missing, does not fit, or the key can be read by others than its owner.
    """
    try:
        mode = key.stat().st_mode
    except OSError:
        raise Misconfigured(f"There is no TLS key at {key}. `wellkeep init` makes one for development.") from None
    if mode & _OTHERS:
        raise Misconfigured(f"The TLS key {key} can be read by others. Run: chmod 600 {key}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _OLDEST[profile]
    context.set_ciphers(":".join(_SUITES))
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError):
        raise Misconfigured(f"The TLS certificate {certificate} and the key {key} do not fit together.") from None
    return context
