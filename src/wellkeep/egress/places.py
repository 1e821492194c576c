"""The list of places, checked and made ready: where each is, and into which networks of ours it may resolve.

Rule: what is wrong with the list stops the start. A place is let into networks of ours only by naming them, and only
into loopback, private and unique-local ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from uuid import UUID

import msgspec

from wellkeep.base.errors import Misconfigured
from wellkeep.base.settings import Place
from wellkeep.egress.errors import Reason
from wellkeep.egress.networks import Address, Judged, Kind, Network, may_be_listed

_PORTS = {"https": 443, "http": 80}
_WIDE = 8
"""A prefix of so many bits, or fewer, is the whole of a private network rather than a place in it."""


@dataclass(frozen=True, slots=True)
class Destination:
    """One place, ready to be judged and dialled; `host` is in lower case, without a dot at its end.

    `asked` is what a resolver is asked for: with the dot where the list has one, so that no search domain is tried.
    """

    name: str
    host: str
    asked: str
    ports: tuple[int, ...]
    networks: tuple[Network, ...]
    ca: Path | None
    clear: bool
    tenants: frozenset[UUID] = frozenset()

    @property
    def scheme(self) -> str:
        """How HTTP is spoken to it: with TLS, or without where the list says `clear`."""
        return "http" if self.clear else "https"

    @property
    def authority(self) -> str:
        """What the header `Host` says: the host, with its port unless it is the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.ports[0] == _PORTS[self.scheme] else f"{host}:{self.ports[0]}"

    def serves(self, tenant: UUID) -> bool:
        """Say whether it may be connected to for `tenant`: a place that is bound to others is not theirs to use."""
        return not self.tenants or tenant in self.tenants

    def lists(self, address: Address) -> bool:
        """Say whether `address` lies in one of the networks that this place names."""
        return any(address in network for network in self.networks)

    def objection(self, judged: Judged, *, tls: bool) -> Reason | None:
        """Return why the address may not be dialled for this place, None where it may."""
        listed = judged.listable and self.lists(judged.address)
        if not listed and judged.kind is not Kind.PUBLIC:
            return Reason.of(judged.kind)
        if not tls and not (self.clear and listed):
            return Reason.CLEAR_TEXT
        return None


def destinations(places: Iterable[Place], *, home: Path | None = None) -> Mapping[str, Destination]:
    """Return the places by name; `home` is what a relative `ca` is relative to. Raises Misconfigured."""
    found: dict[str, Destination] = {}
    for place in places:
        if place.name in found:
            raise Misconfigured(f"Two places are named {place.name}: [[egress.places]] names each once")
        networks = tuple(_network(place.name, text) for text in place.networks)
        if place.clear and not networks:
            raise Misconfigured(f"The place {place.name} says clear and lists no networks of yours that it lies in")
        ca = None if place.ca is None else (home or Path()) / place.ca
        asked = place.host.lower()
        host = asked.removesuffix(".")
        tenants = frozenset(place.tenants)
        found[place.name] = Destination(place.name, host, asked, place.ports, networks, ca, place.clear, tenants)
    return found


def _network(name: str, text: str) -> Network:
    try:
        network = ip_network(text)
    except ValueError:
        raise Misconfigured(f"The place {name} lists what is no network, such as 10.20.0.0/24") from None
    if not may_be_listed(network):
        raise Misconfigured(f"The place {name} lists a network that is neither loopback nor private nor unique-local")
    return network


def oddities(place: Destination) -> list[str]:
    """Return what an operator should look at, in words; nothing where the place is named narrowly."""
    wide = [str(network) for network in place.networks if network.prefixlen <= _WIDE]
    found = [f"{network} is a whole range: list the addresses that it really has" for network in wide]
    if place.clear:
        found.append("it may be spoken to without TLS: give it a certificate and take `clear` away")
    if place.ca is not None and not place.ca.is_file():
        found.append("the file of its `ca` is not there")
    return found


def digest(places: Iterable[Place]) -> bytes:
    """Return SHA-256 of the list as it is in force, in the order of the names."""
    return hashlib.sha256(msgspec.json.encode(sorted(places, key=lambda one: one.name), order="sorted")).digest()
