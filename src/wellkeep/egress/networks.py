"""What kind of network an address lies in: the special-purpose registries of IANA, written out.

Rule: an address is public where nothing here says otherwise and, for IPv6, where it is global unicast (2000::/3) as
well. An address that carries an IPv4 address inside is judged by that one. The table is our own, because what the
standard library calls global has changed between its versions. Sources: the IANA registries of special-purpose IPv4 and
IPv6 addresses (RFC 6890 and its updates), RFC 4291, RFC 6052, RFC 8215; the metadata services by their clouds' manuals.
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, NamedTuple

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Kind(StrEnum):
    """What kind of network it is; the words are codes of the ledger and of findings."""

    PUBLIC = "public"
    LOOPBACK = "loopback"
    PRIVATE = "private"
    UNIQUE_LOCAL = "unique-local"
    METADATA = "metadata"
    LINK_LOCAL = "link-local"
    SITE_LOCAL = "site-local"
    MULTICAST = "multicast"
    UNSPECIFIED = "unspecified"
    SHARED = "shared"
    BENCHMARKING = "benchmarking"
    DOCUMENTATION = "documentation"
    SIX_TO_FOUR = "six-to-four"
    TEREDO = "teredo"
    NAT_LOCAL = "nat-local"
    RESERVED = "reserved"


LISTABLE: Final = frozenset({Kind.LOOPBACK, Kind.PRIVATE, Kind.UNIQUE_LOCAL})
"""What a place may list to be let into; no list opens any other kind."""

_V4: Final = (
    # The clouds' own doors for their machines come first: some lie inside a wider network, one of them a public one.
    ("100.100.100.200/32", Kind.METADATA),  # Alibaba
    ("168.63.129.16/32", Kind.METADATA),  # Azure
    ("192.0.0.192/32", Kind.METADATA),  # Oracle
    ("0.0.0.0/8", Kind.UNSPECIFIED),
    ("10.0.0.0/8", Kind.PRIVATE),
    ("100.64.0.0/10", Kind.SHARED),
    ("127.0.0.0/8", Kind.LOOPBACK),
    ("169.254.0.0/16", Kind.LINK_LOCAL),  # most clouds' metadata too
    ("172.16.0.0/12", Kind.PRIVATE),
    ("192.0.0.0/24", Kind.RESERVED),  # IETF protocol assignments
    ("192.0.2.0/24", Kind.DOCUMENTATION),
    ("192.31.196.0/24", Kind.RESERVED),  # AS112
    ("192.52.193.0/24", Kind.RESERVED),  # AMT
    ("192.88.99.0/24", Kind.SIX_TO_FOUR),
    ("192.168.0.0/16", Kind.PRIVATE),
    ("192.175.48.0/24", Kind.RESERVED),  # AS112
    ("198.18.0.0/15", Kind.BENCHMARKING),
    ("198.51.100.0/24", Kind.DOCUMENTATION),
    ("203.0.113.0/24", Kind.DOCUMENTATION),
    ("224.0.0.0/4", Kind.MULTICAST),
    ("240.0.0.0/4", Kind.RESERVED),  # the limited broadcast address too
)
_V6: Final = (
    ("fd00:ec2::/32", Kind.METADATA),  # Amazon
    ("fd20:ce::254/128", Kind.METADATA),  # Google
    ("::/128", Kind.UNSPECIFIED),
    ("::1/128", Kind.LOOPBACK),
    ("64:ff9b:1::/48", Kind.NAT_LOCAL),
    ("2001::/32", Kind.TEREDO),
    ("2001:2::/48", Kind.BENCHMARKING),
    ("2001::/23", Kind.RESERVED),  # IETF protocol assignments, ORCHID and DRIP among them
    ("2001:db8::/32", Kind.DOCUMENTATION),
    ("2002::/16", Kind.SIX_TO_FOUR),
    ("2620:4f:8000::/48", Kind.RESERVED),  # AS112
    ("3fff::/20", Kind.DOCUMENTATION),
    ("2000::/3", Kind.PUBLIC),
    ("fc00::/7", Kind.UNIQUE_LOCAL),
    ("fe80::/10", Kind.LINK_LOCAL),
    ("fec0::/10", Kind.SITE_LOCAL),
    ("ff00::/8", Kind.MULTICAST),
    ("::/0", Kind.RESERVED),  # discard-only, SRv6, IPv4-compatible and -translated, and what was never given out
)
_V4_TABLE: Final = tuple((IPv4Network(network), kind) for network, kind in _V4)
_V6_TABLE: Final = tuple((IPv6Network(network), kind) for network, kind in _V6)
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_V4_BITS: Final = 2**32 - 1


class Judged(NamedTuple):
    """An address as it is dialled, and its kind; a mapped IPv4 address is dialled as what it stands for."""

    address: Address
    kind: Kind
    listable: bool


def judge(text: str) -> Judged:
    """Return what `text`, an address as a resolver gives it, stands for. Raises ValueError where it is no address."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        if address in _MAPPED:
            address = IPv4Address(int(address) & _V4_BITS)
        elif address in _NAT64:
            # What a translator far away does with a private address inside is no network of a list of ours (RFC 6052).
            return Judged(address, _kind_v4(IPv4Address(int(address) & _V4_BITS)), listable=False)
    kind = _kind_v4(address) if isinstance(address, IPv4Address) else _kind_v6(address)
    return Judged(address, kind, listable=kind in LISTABLE)


def may_be_listed(network: Network) -> bool:
    """Say whether `network` lies in loopback, private or unique-local ones, so that a place may be let into it.

    A metadata service that lies among them is let into by no list; a network that is nothing else is none to be listed.
    """
    table = _V4_TABLE if isinstance(network, IPv4Network) else _V6_TABLE
    return next((kind in LISTABLE for listed, kind in table if _inside(network, listed)), False)


def _inside(network: Network, listed: Network) -> bool:
    return network.prefixlen >= listed.prefixlen and network.network_address in listed


def _kind_v4(address: IPv4Address) -> Kind:
    return next((kind for network, kind in _V4_TABLE if address in network), Kind.PUBLIC)


def _kind_v6(address: IPv6Address) -> Kind:
    return next(kind for network, kind in _V6_TABLE if address in network)
