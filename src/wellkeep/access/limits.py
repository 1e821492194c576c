"""Rate limits: so many weighted requests a minute for a key, a person, an address; one count for all workers.

Rules
- One process counts in memory. Several count in Redis, where there is one; else each of them takes its share of a limit
  (a limit divided by the workers, rounded down, at least one), so that together they never let more through. What is
  heavier than a share gets through where a worker let nothing else through: so of requests that heavy each worker lets
  one through in a window, which is more than the limit where it has room for fewer than there are workers.
- Redis down, slow or full: the share again, beginning with what this worker has let through already, and a finding that
  closes by itself when Redis is back. Never open, never an error to the caller, at most 50 ms late. What was
  let through meanwhile is told to it then; and all that counts still, where it comes back with nothing.
- Only what was refused counts nothing. Who is unknown is counted by address (IPv6: by /64, which one host has whole); a
  key that stands is never refused for what others did at its address, nor for how many addresses there are: keys,
  persons, addresses and budgets each have a table. Where that of the addresses is full, a newcomer shares a count with
  its neighbours (IPv4: /24, then /16; IPv6: /48, then /32), that of the keys or persons with its tenant's.
- What Redis is told is a hash of the deployment's and the caller's id, and numbers; no more of them than are held here.

The threats are a program that runs wild, a client that guesses, and a limit that several workers turn into several.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Hashable, Iterator
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Literal
from uuid import UUID

from wellkeep.access.redis_line import LineDown, Owed, RedisLine
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
_HEAVIEST = 2**40
_BELIEVED = 3
"""Redis says yes to no more than so many limits of one worker's own; its windows begin at another time than ours."""
_TOLD_EVERY = 30.0
_HASHED = 10_000
Open = Literal["address", "logout"]
"""How an open request is counted: like any of its address, or as a provider's logout, which is sent once."""
_Kind = Literal["key", "person", "records"] | Open
_WIDER = {4: (32, 24, 16), 6: (64, 48, 32)}


class Counts:
    """Counts of one process, or of all workers together; `workers` is how many share where nobody counts for all."""

    def __init__(self, *, deployment: UUID, clock: Clock, line: RedisLine | None = None) -> None:
        """Count in memory, and over `line` where there is one."""
        self.workers = 1
        self._deployment = deployment
        self.marker = f"wk:{hashlib.sha256(f'{deployment}/began'.encode()).hexdigest()[:32]}"
        self._clock = clock
        self._windows: dict[tuple[str, int], Windows] = {}
        self._hashed: dict[tuple[str, Hashable], str] = {}
        self._line: RedisLine | None = None
        self.line = line

    @property
    def line(self) -> RedisLine | None:
        """Where all workers count together; None: nowhere."""
        return self._line

    @line.setter
    def line(self, line: RedisLine | None) -> None:
        self._line = line
        if line is not None:
            line.keeper = self

    def owed(self, *, everything: bool) -> Iterator[Owed]:
        """Return what Redis was not told and counts still; or `everything` that does, where it has forgotten."""
        for (kind, seconds), windows in list(self._windows.items()):
            for debt in windows.owed(everything=everything):
                yield Owed(self._hash(kind, debt.name), debt.weight, 1000 * seconds, debt.told)

    @property
    def held(self) -> int:
        """How many counts are held in memory."""
        return sum(len(windows) for windows in self._windows.values())

    def most(self, limit: int) -> int:
        """Return how much of `limit` may be taken at once here, however long one waits."""
        return limit if self.line is not None else self._share(limit)

    def _share(self, limit: int) -> int:
        return limit if self.workers == 1 else max(1, limit // self.workers)

    async def take(
        self,
        kind: _Kind,
        who: Hashable,
        *,
        weight: int,
        limit: int,
        seconds: int = MINUTE,
        blocks: bool = True,
        wider: tuple[Hashable, ...] = (),
        alone: bool = False,
    ) -> Taken:
        """Count `weight` for `who` if that stays within `limit`, or in any case where nothing `blocks`.

        `wider` are the names by which newcomers are counted where there is no room for each. `alone`: what is heavier
        than all there is gets through where nothing else did. A weight below nought counts for nought.
        """
        windows = self._table(kind, seconds)
        weight = min(max(weight, 0), _HEAVIEST)
        if self.line is not None:
            asked = min(weight, limit) if alone else weight
            with suppress(LineDown):
                return await self._together(windows, kind, who, wider, weight=asked, limit=limit, blocks=blocks)
        share = self._share(limit)
        counted = min(weight, share) if alone else weight
        taken = windows.take(who, weight=counted, limit=share, blocks=blocks, wider=wider)
        return taken if share == limit else taken._replace(limit=limit)

    async def _together(
        self,
        windows: Windows,
        kind: str,
        who: Hashable,
        wider: tuple[Hashable, ...],
        *,
        weight: int,
        limit: int,
        blocks: bool,
    ) -> Taken:
        """Count in Redis, and in memory for when it is gone, or lies. Raises LineDown."""
        if self.line is None:
            raise LineDown
        milliseconds = 1000 * windows.seconds
        told = self._hash(kind, windows.name(who, wider))
        asked = limit if blocks else -1
        ok, current, previous, at = await self.line.count(told, weight=weight, limit=asked, milliseconds=milliseconds)
        most = _BELIEVED * limit
        if ok and not windows.take(who, weight=weight, limit=most, blocks=blocks, wider=wider, told=True).ok:
            self.line.disbelieve()
            raise LineDown
        return judged(
            ok=ok == 1,
            limit=limit,
            weight=weight,
            current=current,
            previous=previous,
            at=at / milliseconds,
            seconds=windows.seconds,
        )

    def _table(self, kind: str, seconds: int) -> Windows:
        found = self._windows.get((kind, seconds))
        if found is None:
            found = self._windows[kind, seconds] = Windows(seconds=seconds, most=_HELD, clock=self._clock)
        return found

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
            kind: _Kind = "person"
            limit = self._settings.person_requests
        else:
            kind, limit = "key", principal.requests or self._settings.requests
        # What costs more than the whole limit is let through where nothing else was: else it never would be.
        taken = await self.counts.take(
            kind, counted_as(principal), weight=weight, limit=limit, wider=(principal.tenant,), alone=True
        )
        return kind, taken

    async def of_address(self, ip: str | None, *, weight: int, kind: Open = "address") -> tuple[str, Taken]:
        """Count a request of somebody who is not; each `kind` apart, by the same limit."""
        limit = self._settings.address_requests
        who, *wider = neighbours(ip)
        taken = await self.counts.take(kind, who, weight=weight, limit=limit, wider=tuple(wider), alone=True)
        return kind, taken


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


def counted_as(principal: Principal) -> str:
    """Return whose count somebody's requests and records are: of keys that took each other's place, the first one's."""
    return principal.id if principal.lineage is None else str(principal.lineage)


@lru_cache(maxsize=4096)
def neighbours(ip: str | None) -> tuple[str, ...]:
    """Return the address, or of an IPv6 one the network that a single host has to itself, and the networks around."""
    if ip is None:
        return ("unknown",)
    address = ip_address(ip)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return tuple(str(ip_network((address, bits), strict=False)) for bits in _WIDER[address.version])
