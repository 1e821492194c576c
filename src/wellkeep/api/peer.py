"""Where a request comes from, in the one spelling that the ledger takes."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any


def address(scope: Any) -> str | None:
    """Return the peer's address: an IPv4 address that came over an IPv6 socket as IPv4, without a zone."""
    client = scope.get("client")
    return _canonical(client[0]) if client else None


def parsed(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address that `text` is, as `address` spells it; None for what is none (a Unix socket's peer)."""
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped if isinstance(found, IPv6Address) else None) or found


@lru_cache(maxsize=4096)
def _canonical(text: str) -> str | None:
    found = parsed(text)
    return None if found is None else str(found)
