"""Time stamps of an authority (RFC 3161): its signature that this note existed by then, checkable without it for years.

Rules: the imprint is SHA-512 over the signed note; the nonce must come back; the token must lead to the chain that the
settings name, for time stamping, at the time it tells; that time must be near ours. Whether a certificate was revoked
since is not asked. The receipt is the answer as it came: `openssl ts -verify -data NOTE -in RECEIPT -CAfile CHAIN`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha512
from pathlib import Path

from cryptography import x509
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


class TimeStamp:
    """An anchor of kind `rfc3161`."""

    kind = "rfc3161"

    def __init__(self, outside: Outside, *, name: str, path: str, verifier: Verifier, clock: Clock) -> None:
        """Ask at `path`; `verifier` is what `read_chain` returns."""
        self.name = name
        self._outside = outside
        self._path = path
        self._verifier = verifier
        self._clock = clock

    async def publish(self, note: bytes, checkpoint: Checkpoint, consistency: Consistency) -> bytes:  # noqa: ARG002
        """Have the note stamped, and return the answer once it holds."""
        request = TimestampRequestBuilder().data(note).hash_algorithm(HashAlgorithm.SHA512).build()
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
        try:
            self._verifier.verify(response, sha512(note).digest())
        except (VerificationError, ValueError):
            raise AnchorFailed(Trouble.NOT_PROVEN) from None
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


def read_chain(path: Path, *, name: str) -> Verifier:
    """Return what checks tokens against the certificates at `path`. Raises Misconfigured, naming the anchor."""
    try:
        certificates = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        raise Misconfigured(f"The chain of the anchor {name} is no file of PEM certificates") from None
    builder = VerifierBuilder()
    for one in dict.fromkeys(certificates):
        added = builder.add_root_certificate if one.issuer == one.subject else builder.add_intermediate_certificate
        builder = added(one)
    try:
        return builder.build()
    except ValueError:
        raise Misconfigured(f"The chain of the anchor {name} holds no authority that signed itself") from None
