"""Time stamps of an authority (RFC 3161): its signature that this note existed by then, checkable without it for years.

Rules: the imprint is SHA-512 over the signed note; the nonce must come back; the token must lead to the chain that the
settings name, for time stamping, at the time it tells; that time must be near ours. Whether a certificate was revoked
since is not asked. The receipt is the answer as it came: `openssl ts -verify -data NOTE -in RECEIPT -CAfile CHAIN`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha512
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from rfc3161_client import (
    HashAlgorithm,
    PKIStatus,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    Verifier,
    VerifierBuilder,
    decode_timestamp_response,
)

from wellkeep.base.clock import Clock
from wellkeep.base.errors import Misconfigured
from wellkeep.ledger.anchors.anchor import CLOCKS_APART, AnchorFailed, Consistency, Evidence, Seen, Trouble
from wellkeep.ledger.anchors.outside import Outside
from wellkeep.ledger.checkpoint import Checkpoint

_SHA512 = x509.ObjectIdentifier("2.16.840.1.101.3.4.2.3")


class Chain(NamedTuple):
    """What tokens are checked with, one verifier for each stamper that is known, and whether they must bring theirs."""

    verifiers: tuple[Verifier, ...]
    asks: bool


class TimeStamp:
    """An anchor of kind `rfc3161`."""

    kind = "rfc3161"

    def __init__(self, outside: Outside, *, name: str, path: str, chain: Chain, clock: Clock) -> None:
        """Ask at `path`; `chain` is what `read_chain` returns."""
        self.name = name
        self._outside = outside
        self._path = path
        self._chain = chain
        self._clock = clock

    async def publish(self, note: bytes, checkpoint: Checkpoint, consistency: Consistency) -> bytes:  # noqa: ARG002
        """Have the note stamped, and return the answer once it holds."""
        builder = TimestampRequestBuilder().data(note).hash_algorithm(HashAlgorithm.SHA512)
        request = builder.cert_request(cert_request=self._chain.asks).build()
        headers = {"content-type": "application/timestamp-query", "accept": "application/timestamp-reply"}
        answer = await self._outside.exchange("POST", self._path, headers=headers, body=request.as_bytes())
        if not answer.good:
            raise AnchorFailed(Trouble.UNREACHABLE if answer.later else Trouble.REFUSED)
        response = _decoded(answer.body)
        if response.tst_info.nonce != request.nonce:
            raise AnchorFailed(Trouble.WRONG_NONCE)
        stamped = self._checked(response, note)
        if abs(stamped - self._clock.now()) > CLOCKS_APART:
            raise AnchorFailed(Trouble.TIME_OFF)
        return answer.body

    async def seen(self, origin: str, newest: bytes | None) -> Seen | None:  # noqa: ARG002 -- it keeps nothing
        """Return None: an authority signs, and keeps nothing to be read."""
        return None

    def check(self, receipt: bytes, note: bytes) -> Evidence:
        """Return the time that the authority signed."""
        return Evidence(self._checked(_decoded(receipt), note), independent=True)

    def _checked(self, response: TimeStampResponse, note: bytes) -> datetime:
        imprint = response.tst_info.message_imprint
        if imprint.hash_algorithm != _SHA512 or imprint.message != sha512(note).digest():
            raise AnchorFailed(Trouble.WRONG_HASH)
        if not any(_verified(one, response, imprint.message) for one in self._chain.verifiers):
            raise AnchorFailed(Trouble.NOT_PROVEN)
        return response.tst_info.gen_time.astimezone(UTC)


def _decoded(answer: bytes) -> TimeStampResponse:
    try:
        response = decode_timestamp_response(answer)
        granted = response.status == PKIStatus.GRANTED and response.tst_info is not None
    except ValueError:
        raise AnchorFailed(Trouble.RUBBISH) from None
    if not granted:
        raise AnchorFailed(Trouble.REFUSED)
    return response


def _verified(verifier: Verifier, response: TimeStampResponse, digest: bytes) -> bool:
    try:
        return verifier.verify(response, digest)
    except (VerificationError, ValueError):
        return False


def read_chain(path: Path, *, name: str) -> Chain:
    """Return what checks tokens against the certificates at `path`. Raises Misconfigured, naming the anchor.

    Where the file holds certificates of stampers, tokens need bring none: some authorities order theirs as no DER does.
    """
    try:
        certificates = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        raise Misconfigured(f"The chain of the anchor {name} is no file of PEM certificates") from None
    stampers = [one for one in certificates if _stamps(one)]
    others = [one for one in dict.fromkeys(certificates) if one not in stampers]
    roots = [one for one in others if one.issuer == one.subject]
    if not roots:
        raise Misconfigured(f"The chain of the anchor {name} holds no authority that signed itself")
    between = [one for one in others if one not in roots]
    known: list[x509.Certificate | None] = [*stampers] or [None]
    made = [VerifierBuilder(tsa_certificate=one, intermediates=between, roots=roots).build() for one in known]
    return Chain(tuple(made), asks=not stampers)


def _stamps(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.TIME_STAMPING in usage
