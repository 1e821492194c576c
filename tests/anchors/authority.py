"""A time-stamping authority of OpenSSL's, in a directory: its certificates, and what it answers to a query."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from wellkeep.base.clock import SystemClock

_SETTINGS = """
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
subjectKeyIdentifier = hash
[middle]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[stamper]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[tsa]
default_tsa = service
[service]
serial = {folder}/serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
accuracy = secs:1
ordering = yes
tsa_name = yes
ess_cert_id_chain = no
"""


@dataclass
class Authority:
    """Where its files are: `chain` is what those who verify are given."""

    folder: Path
    chain: Path

    @classmethod
    def make(cls, folder: Path) -> Authority:
        """Make a root, an intermediate authority and a stamper below it."""
        folder.mkdir()
        (folder / "settings").write_text(_SETTINGS.format(folder=folder))
        (folder / "serial").write_text("01\n")
        made = cls(folder, folder / "chain.pem")
        made._certificate("root", signer=None, extensions="ca")
        made._certificate("middle", signer="root", extensions="middle")
        made._certificate("stamper", signer="middle", extensions="stamper")
        made.chain.write_bytes((folder / "root.pem").read_bytes() + (folder / "middle.pem").read_bytes())
        return made

    def answer(self, query: bytes) -> bytes:
        """Stamp what `query` asks for."""
        (self.folder / "query").write_bytes(query)
        self._openssl(
            *("ts", "-reply", "-config", "settings", "-section", "service", "-queryfile", "query", "-out", "answer"),
            *("-signer", "stamper.pem", "-inkey", "stamper.key"),
        )
        return (self.folder / "answer").read_bytes()

    def verify(self, note: bytes, answer: bytes) -> str:
        """Return what OpenSSL says of a receipt."""
        (self.folder / "note").write_bytes(note)
        (self.folder / "receipt").write_bytes(answer)
        known = ("-CAfile", "root.pem", "-untrusted", "middle.pem")
        return self._openssl("ts", "-verify", "-data", "note", "-in", "receipt", *known)

    def ends_in(self, seconds: float) -> None:
        """Have every certificate end so soon; those that were handed out before stay as they are."""
        now = SystemClock().now()
        for name, signer in (("root", "root"), ("middle", "root"), ("stamper", "middle")):
            old = x509.load_pem_x509_certificate((self.folder / f"{name}.pem").read_bytes())
            key = load_pem_private_key((self.folder / f"{signer}.key").read_bytes(), None)
            assert isinstance(key, EllipticCurvePrivateKey)
            made = x509.CertificateBuilder(
                issuer_name=old.issuer,
                subject_name=old.subject,
                public_key=old.public_key(),
                serial_number=x509.random_serial_number(),
                not_valid_before=now - timedelta(minutes=1),
                not_valid_after=now + timedelta(seconds=seconds),
                extensions=list(old.extensions),
            ).sign(key, SHA256())
            (self.folder / f"{name}.pem").write_bytes(made.public_bytes(Encoding.PEM))
        self.chain.write_bytes((self.folder / "root.pem").read_bytes() + (self.folder / "middle.pem").read_bytes())

    def _certificate(self, name: str, *, signer: str | None, extensions: str) -> None:
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key")
        by = () if signer is None else ("-CA", f"{signer}.pem", "-CAkey", f"{signer}.key")
        self._openssl(
            *("req", "-x509", "-config", "settings", "-extensions", extensions, "-subj", f"/CN={name}"),
            *("-days", "30", *key, *by, "-out", f"{name}.pem"),
        )

    def _openssl(self, *arguments: str) -> str:
        done = subprocess.run(  # noqa: S603 -- arguments of ours
            ["openssl", *arguments],  # noqa: S607 -- the openssl of the path
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr
