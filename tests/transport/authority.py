"""An authority for tests: certificates of any lifespan, for any name, on keys of either kind."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_PEM = serialization.Encoding.PEM


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass
class Authority:
    """Signs what it is asked to; `file` is its own certificate, for clients to trust."""

    file: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def issue(
        self, certificate: Path, key: Path, *names: str, days: float = 60, of: str = "ecdsa", back: float = 0
    ) -> bytes:
        """Write chain and key for `names`, good for `days` from `back` days ago; returns the leaf, DER."""
        private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
        private = ec.generate_private_key(ec.SECP256R1()) if of == "ecdsa" else rsa.generate_private_key(65537, 2048)
        start = datetime.now(UTC) - timedelta(days=back, minutes=1)
        leaf = (
            x509.CertificateBuilder()
            .subject_name(_named(names[0]))
            .issuer_name(self.certificate.subject)
            .public_key(private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        raw = private.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        for path, content, mode in ((key, raw, 0o600), (certificate, leaf.public_bytes(_PEM), 0o644)):
            staged = path.with_name(path.name + ".new")
            staged.touch(mode=mode)
            staged.write_bytes(content)
            staged.replace(path)
        return leaf.public_bytes(serialization.Encoding.DER)


def authority(folder: Path) -> Authority:
    """Make an authority whose certificate lies in `folder`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _named("an authority of tests")
    now = datetime.now(UTC)
    own = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(now + timedelta(days=400))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=False,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "authority.crt"
    file.write_bytes(own.public_bytes(_PEM))
    return Authority(file, key, own)
