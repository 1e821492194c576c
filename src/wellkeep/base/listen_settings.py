"""Where the listeners listen, and from where administration may be connected to.

Rules: administration is for a private network; who may connect to it is said in networks, and where it listens beyond
this machine, somebody has to say so. No network of the public internet can be among them, and no header says from where
a connection comes.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Final

import msgspec

from wellkeep.base.errors import Misconfigured

Network = IPv4Network | IPv6Network

_ADDRESS = r"^[0-9A-Za-z.:\[\]-]+:[0-9]{1,5}$"
_LOOPBACK: Final = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_PRIVATE: Final = (
    *_LOOPBACK,
    ip_network("10.0.0.0/8"),
    ip_network("172.16.0.0/12"),
    ip_network("192.168.0.0/16"),
    ip_network("100.64.0.0/10"),  # shared (RFC 6598): what overlay networks give out
    ip_network("169.254.0.0/16"),
    ip_network("fc00::/7"),
    ip_network("fe80::/10"),
)

Address = Annotated[str, msgspec.Meta(pattern=_ADDRESS)]


class ListenSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The three listeners, each `host:port`; port 0 takes a free one.

    `admin_networks` are those that administration may be connected to from; none means this machine alone.
    """

    public: Address = "127.0.0.1:8443"
    admin: Address = "127.0.0.1:8444"
    plain: Address = "127.0.0.1:8080"
    admin_networks: Annotated[tuple[str, ...], msgspec.Meta(max_length=64)] = ()


def host_of(address: str) -> str:
    """Return the host of `host:port`, without brackets."""
    return address.rpartition(":")[0].strip("[]")


def admin_networks(listen: ListenSettings) -> tuple[Network, ...]:
    """Return the networks that administration may be connected to from.

    Raises Misconfigured where one is none, or public, or where administration listens beyond this machine and nobody
    said for whom.
    """
    given = tuple(_network(text) for text in listen.admin_networks)
    if given:
        return given
    if not _is_loopback(host_of(listen.admin)):
        raise Misconfigured(
            "listen.admin is reached from other machines, and listen.admin_networks does not say from which. Name the "
            'private networks that may administer, such as admin_networks = ["10.20.30.0/24"], or listen on 127.0.0.1'
        )
    return _LOOPBACK


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    return _inside(ip_network(address), _LOOPBACK)


def _network(text: str) -> Network:
    try:
        network = ip_network(text)
    except ValueError:
        raise Misconfigured("listen.admin_networks lists what is no network, such as 10.20.30.0/24") from None
    if not _inside(network, _PRIVATE):
        raise Misconfigured(
            f"listen.admin_networks lists {network}, which is no private network: administration is for those alone"
        )
    return network


def _inside(network: Network, wider: Collection[Network]) -> bool:
    return any(
        network.prefixlen >= one.prefixlen and network.network_address in one
        for one in wider
        if one.version == network.version
    )
