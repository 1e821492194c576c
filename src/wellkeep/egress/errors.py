"""What going out can end with: refused by us, or not reached.

Rule: a message names the registered place and the reason, never an address, a path or a byte of what was to be sent.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from wellkeep.base.errors import Unavailable, WellkeepError
from wellkeep.egress.networks import Kind


class Reason(StrEnum):
    """Why a connection was refused; codes of the ledger and of findings."""

    UNKNOWN_PLACE = "unknown-place"
    OTHER_TENANT = "other-tenant"
    OTHER_HOST = "other-host"
    OTHER_PORT = "other-port"
    OTHER_SCHEME = "other-scheme"
    CLEAR_TEXT = "clear-text"
    CERTIFICATE = "certificate"
    LOOPBACK = "address-loopback"
    PRIVATE = "address-private"
    UNIQUE_LOCAL = "address-unique-local"
    METADATA = "address-metadata"
    LINK_LOCAL = "address-link-local"
    SITE_LOCAL = "address-site-local"
    MULTICAST = "address-multicast"
    UNSPECIFIED = "address-unspecified"
    SHARED = "address-shared"
    BENCHMARKING = "address-benchmarking"
    DOCUMENTATION = "address-documentation"
    SIX_TO_FOUR = "address-six-to-four"
    TEREDO = "address-teredo"
    NAT_LOCAL = "address-nat-local"
    RESERVED = "address-reserved"

    @classmethod
    def of(cls, kind: Kind) -> Reason:
        """Return the reason that an address of `kind`, which is not public, is refused for."""
        return cls(f"address-{kind.value}")


_WORDS = {
    Reason.UNKNOWN_PLACE: "no place of this name is on the list. Add it to [[egress.places]] in wellkeep.toml, or "
    "propose it: wellkeep egress propose",
    Reason.OTHER_TENANT: "it serves other tenants",
    Reason.OTHER_HOST: "what was asked for lies on another host",
    Reason.OTHER_PORT: "what was asked for is none of its ports",
    Reason.OTHER_SCHEME: "what was asked for is no https",
    Reason.CLEAR_TEXT: "without TLS it is reached only where it says `clear` and lies in its own networks",
    Reason.CERTIFICATE: "who answered has no certificate that proves to be it",
}


class Trouble(StrEnum):
    """What kept us from reaching a place, which may be over the next time."""

    NOT_RESOLVED = "not-resolved"
    NOT_CONNECTED = "not-connected"
    NO_TLS = "no-tls"
    TIMED_OUT = "timed-out"
    BROKEN_OFF = "broken-off"
    TOO_LARGE = "too-large"
    ENCODED = "encoded"
    NO_AUTHORITIES = "no-authorities"


_TROUBLES = {
    Trouble.NOT_RESOLVED: "its name does not resolve",
    Trouble.NOT_CONNECTED: "nothing takes the connection",
    Trouble.NO_TLS: "the TLS handshake failed",
    Trouble.TIMED_OUT: "it took too long",
    Trouble.BROKEN_OFF: "the connection broke off, or what came was no answer",
    Trouble.TOO_LARGE: "its answer is too large",
    Trouble.ENCODED: "its answer is compressed, which was not asked for",
    Trouble.NO_AUTHORITIES: "no authorities can be read to check it with: its `ca` (PEM), or the system's",
}


class EgressRefused(WellkeepError):
    """We do not connect there; the attempt is an entry and a finding. Trying again does not help."""

    code = "egress-refused"
    status = 502
    title = "A connection out was refused"

    def __init__(self, *, place: str | None, reason: Reason) -> None:
        """`place` is the name of a registered place, None where there is none of the name that was given."""
        words = _WORDS.get(reason) or f"its name resolves to an address that is not allowed ({reason.value})"
        super().__init__(f"The place {place}: {words}" if place else words[0].upper() + words[1:])
        self.place = place
        self.reason = reason


class EgressUnreachable(Unavailable):
    """The place is allowed and does not answer as it should; it may be tried again."""

    code = "egress-unreachable"
    title = "A place outside can't be reached"

    def __init__(self, *, place: str, trouble: Trouble) -> None:
        """`place` is the name of a registered place."""
        super().__init__(f"The place {place}: {_TROUBLES[trouble]}")
        self.place = place
        self.trouble = trouble


class Denials(Protocol):
    """Who is told of what was refused. Raises nothing: the refusal holds whoever can or can't write it down."""

    async def denied(self, place: str | None, reason: Reason, destination: bytes) -> None:
        """Note a refusal; `destination` is SHA-256 of `host:port`, or of the name that is no place's."""
        ...
