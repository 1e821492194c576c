"""Where a request comes from, in the one spelling that the ledger takes."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Any


def address(scope: Any) -> str | None:
    """Return the peer's address: an IPv4 address that came over an IPv6 socket as IPv4, without a zone."""
    client = scope.get("client")
    return _canonical(client[0]) if client else None


@lru_cache(maxsize=4096)
def _canonical(text: str) -> str | None:
    """Return the canonical text of an address, or None for what is none (a Unix socket's peer)."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)
