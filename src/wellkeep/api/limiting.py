"""Rate limits at the edge: who asks too much is told how much and when, before anything of the request is read.

The header fields are those of the IETF's draft "RateLimit header fields for HTTP", version 10
(draft-ietf-httpapi-ratelimit-headers): `RateLimit-Policy` names what is counted, its quota and window, `RateLimit` what
is left and until when.
"""

from __future__ import annotations

from typing import Any

from wellkeep.access.limits import MINUTE, Open, RateLimits
from wellkeep.access.windows import Taken
from wellkeep.api import peer
from wellkeep.api.exchange import Exchange
from wellkeep.base.errors import RateLimited
from wellkeep.gate.acts import Caller


async def admit(limits: RateLimits, exchange: Exchange, caller: Caller, *, weight: int) -> None:
    """Count a request of a known caller. Raises RateLimited."""
    if weight:
        policy, taken = await limits.of(caller.principal, weight=weight)
        _tell(exchange, policy, taken)


async def admit_stranger(
    limits: RateLimits, exchange: Exchange, scope: Any, *, weight: int, kind: Open = "address"
) -> None:
    """Count a request that nobody known made, by the address it came from. Raises RateLimited."""
    if weight:
        policy, taken = await limits.of_address(peer.address(scope), weight=weight, kind=kind)
        _tell(exchange, policy, taken)


def _tell(exchange: Exchange, policy: str, taken: Taken) -> None:
    name = policy.encode()
    exchange.rate = (
        (b"ratelimit-policy", b'"%b";q=%d;w=%d' % (name, taken.limit, MINUTE)),
        (b"ratelimit", b'"%b";r=%d;t=%d' % (name, taken.left, taken.wait)),
    )
    if not taken.ok:
        raise RateLimited("Slow down: RateLimit says how much is left, Retry-After when", retry_after=taken.wait)
