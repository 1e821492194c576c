"""Rate limits: so many weighted requests a minute for a key, a person, an address; one count for all workers.

Rules
- One process counts in memory. Several count in Redis, where there is one; else each of them takes its share of a limit
  (a limit divided by the workers, rounded down), so that together they never let more through.
- Redis down, slow or full: the share again, beginning with what this worker has let through already, and a finding that
  closes by itself when Redis is back. Never open, never an error to the caller, at most 50 ms late.
- Only what was refused counts nothing. Who is unknown is counted by address (IPv6: by /64, which one host has whole); a
  key that stands is never refused for what others did at its address.
- What Redis is told is a hash of the deployment's and the caller's id, and numbers.

The threats are a program that runs wild, a client that guesses, and a limit that several workers turn into several.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Hashable
from contextlib import suppress
from ipaddress import IPv6Network, ip_address
from uuid import UUID

from wellkeep.access.redis_line import LineDown, RedisLine
from wellkeep.access.windows import Taken, Windows, judged
from wellkeep.base.clock import Clock
from wellkeep.base.errors import WellkeepError
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.limit_settings import LimitSettings
from wellkeep.base.principal import ActorType, Principal
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, Severity, finding_key

MINUTE, HOUR = 60, 3600
FAILED_WEIGHT = 10
"""What a failed authentication counts for."""
_HELD = 50_000
_TOLD_EVERY = 30.0
_HASHED = 10_000


class Counts:
    """Counts of one process, or of all workers together; `workers` is how many share where nobody counts for all."""

    def __init__(self, *, deployment: UUID, clock: Clock, line: RedisLine | None = None) -> None:
        """Count in memory, and over `line` where there is one."""
        self.workers = 1
        self.line = line
        self._deployment = deployment
        self._windows = {seconds: Windows(seconds=seconds, most=_HELD, clock=clock) for seconds in (MINUTE, HOUR)}
        self._hashed: dict[tuple[str, Hashable], str] = {}

    async def take(
        self, kind: str, who: Hashable, *, weight: int, limit: int, seconds: int = MINUTE, blocks: bool = True
    ) -> Taken:
        """Count `weight` for `who` if that stays within `limit`, or in any case where nothing `blocks`."""
        windows = self._windows[seconds]
        if self.line is not None:
            try:
                ok, current, previous, at = await self.line.count(
                    self._hash(kind, who),
                    weight=weight,
                    limit=limit if blocks else -1,
                    milliseconds=1000 * seconds,
                )
            except LineDown:
                pass
            else:
                if ok:
                    windows.take((kind, who), weight=weight, limit=limit, blocks=False)
                done = at / (1000 * seconds)
                return judged(
                    ok=ok == 1,
                    limit=limit,
                    weight=weight,
                    current=current,
                    previous=previous,
                    at=done,
                    seconds=seconds,
                )
        share = limit if self.workers == 1 else limit // self.workers
        taken = windows.take((kind, who), weight=weight, limit=share, blocks=blocks)
        return taken if share == limit else taken._replace(limit=limit)

    def _hash(self, kind: str, who: Hashable) -> str:
        known = self._hashed.get((kind, who))
        if known is None:
            if len(self._hashed) >= _HASHED:
                self._hashed.clear()
            told = hashlib.sha256(f"{self._deployment}/{kind}/{who}".encode()).hexdigest()[:32]
            known = self._hashed[kind, who] = f"wk:{told}"
        return known


class RateLimits:
    """What the edge asks, once a request."""

    def __init__(self, counts: Counts, settings: LimitSettings) -> None:
        """Count in `counts`, by `settings` where a key has no bounds of its own."""
        self.counts = counts
        self._settings = settings

    async def of(self, principal: Principal, *, weight: int) -> tuple[str, Taken]:
        """Count a request of somebody who is known, and return by which policy."""
        if principal.type is ActorType.PERSON:
            limit = self._settings.person_requests
            return "person", await self.counts.take("person", principal.id, weight=weight, limit=limit)
        limit = principal.requests or self._settings.requests
        # What costs more than the whole limit is let through where nothing else was: else it never would be.
        return "key", await self.counts.take("key", principal.id, weight=min(weight, limit), limit=limit)

    async def of_address(self, ip: str | None, *, weight: int) -> tuple[str, Taken]:
        """Count a request of somebody who is not."""
        limit = self._settings.address_requests
        return "address", await self.counts.take("address", _neighbours(ip), weight=weight, limit=limit)


class LineWatch:
    """Tells of a line to Redis that went, and closes the finding when it is back."""

    def __init__(self, findings: Findings, *, clock: Clock) -> None:
        """Report to `findings`, at most every half minute."""
        self._findings = findings
        self._clock = clock
        self._next = float("-inf")
        self._settling: asyncio.Task[None] | None = None

    def changed(self, up: bool) -> None:  # noqa: FBT001 -- a callback, whose one argument this is
        """Report a line that is down, or that it is up again."""
        if up:
            self._next = float("-inf")
            self._settling = asyncio.get_running_loop().create_task(self._settle(), name="limits-settle")
        elif self._clock.monotonic() >= self._next:
            self._next = self._clock.monotonic() + _TOLD_EVERY
            self._findings.note(
                PLATFORM_TENANT,
                kind=Kind.LIMITS_UNAVAILABLE,
                severity=Severity.MEDIUM,
                key=finding_key(Kind.LIMITS_UNAVAILABLE),
                detail={"what": "redis"},
            )

    async def stop(self) -> None:
        """Let a closing that is under way end."""
        if self._settling is not None:
            await asyncio.gather(self._settling, return_exceptions=True)

    async def _settle(self) -> None:
        with suppress(WellkeepError):  # it stays open then, and the next time that the line comes up closes it
            await self._findings.settle(PLATFORM_TENANT, keys=[finding_key(Kind.LIMITS_UNAVAILABLE)])


def _neighbours(ip: str | None) -> str:
    """Return the address, or of an IPv6 one the network that a single host has to itself."""
    if ip is None or ":" not in ip:
        return ip or "unknown"
    return str(IPv6Network((int(ip_address(ip)) >> 64 << 64, 64)))
