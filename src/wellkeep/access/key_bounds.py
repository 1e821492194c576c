"""A key's own bounds: the networks it may come from, its requests a minute, its records an hour.

Rules: a bound that is not given is the deployment's; whatever a key issues is bounded at least as it is itself, so none
passes on more than it has. A request from elsewhere is answered as one with an unknown key is: where a key may be used
from is nobody's business who has stolen it. The threat is a key that leaked, and works from anywhere at any speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from wellkeep.base.errors import FieldProblem, Validation
from wellkeep.base.principal import Principal

MOST_NETWORKS = 32
MOST_REQUESTS = 10_000_000
MOST_RECORDS = 1_000_000_000

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Bounds:
    """`networks` in CIDR form, empty: from anywhere; `requests` a minute and `records` an hour, None: the settings'."""

    networks: tuple[str, ...] = ()
    requests: int | None = None
    records: int | None = None


def checked(bounds: Bounds) -> Bounds:
    """Return `bounds` with networks in their canonical form; raises Validation with the places at fault."""
    problems, networks = [], list[str]()
    for place, text in enumerate(bounds.networks):
        try:
            networks.append(str(ip_network(text)))
        except ValueError:
            problems.append(FieldProblem(f"/networks/{place}", "malformed"))
    if len(networks) > MOST_NETWORKS:
        problems.append(FieldProblem("/networks", "too-long"))
    for name, value, most in (("requests", bounds.requests, MOST_REQUESTS), ("records", bounds.records, MOST_RECORDS)):
        if value is not None and not 1 <= value <= most:
            problems.append(FieldProblem(f"/{name}", "out-of-range"))
    if problems:
        raise Validation(fields=tuple(problems))
    return Bounds(tuple(dict.fromkeys(networks)), bounds.requests, bounds.records)


def of(principal: Principal) -> Bounds:
    """Return the bounds of whoever acts."""
    return Bounds(principal.networks, principal.requests, principal.records)


def inherited(wanted: Bounds, own: Bounds) -> Bounds | None:
    """Return `wanted`, with `own` where it says nothing; None where it goes beyond `own`."""
    networks = wanted.networks or own.networks
    outer = parsed(own.networks)
    if own.networks and not all(_inside(one, outer) for one in parsed(networks)):
        return None
    requests = own.requests if wanted.requests is None else wanted.requests
    records = own.records if wanted.records is None else wanted.records
    if own.requests is not None and requests is not None and requests > own.requests:
        return None
    if own.records is not None and records is not None and records > own.records:
        return None
    return Bounds(networks, requests, records)


def parsed(networks: Sequence[str]) -> tuple[Network, ...]:
    """Return the networks; of a text that is none, nothing is left that an address could lie in."""
    found = list[Network]()
    for text in networks:
        with suppress(ValueError):
            found.append(ip_network(text))
    return tuple(found)


def comes_from(ip: str | None, networks: Sequence[Network]) -> bool:
    """Say whether a peer at `ip` lies in one of `networks`; nobody without an address does."""
    if ip is None:
        return False
    address = ip_address(ip)
    return any(address in network for network in networks)


def _inside(network: Network, outer: Sequence[Network]) -> bool:
    return any(
        (isinstance(network, IPv4Network) and isinstance(one, IPv4Network) and network.subnet_of(one))
        or (isinstance(network, IPv6Network) and isinstance(one, IPv6Network) and network.subnet_of(one))
        for one in outer
    )
