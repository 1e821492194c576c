"""How a tenant's keys stand in one process, and how long they may.

Rules, in seconds since the key service last said yes: `soft` is how long that yes holds; it is asked for again in the
last fifth of it, at a time drawn by lot, so that neither workers nor tenants ask in step and a no bites before `soft`
is over. `hard` is how long keys serve while the service does not answer. The threat is a revocation that does not bite.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from wellkeep.base.errors import WellkeepError
from wellkeep.keys.kms import KeyPurpose
from wellkeep.keys.tenant import Hold, TenantKeys

_EARLIEST = 0.80
_LATEST = 0.96


class TenantState(StrEnum):
    """How a tenant's keys stand in this process."""

    OK = "ok"
    STALE = "stale"
    LOCKED = "locked"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long keys are held, and how long a key service is waited for, in seconds.

    `retry`: between two tries while keys are stale. `refusal`, `refusals`: the first and the longest pause between two
    tries for a tenant that is refused. `kms`: for one call. `grace`: how long somebody waits who comes after the soft
    lifetime to keys that may serve on.
    """

    soft: float = 300.0
    hard: float = 3_600.0
    retry: float = 10.0
    refusal: float = 1.0
    refusals: float = 60.0
    kms: float = 5.0
    grace: float = 1.0

    def longest_pause(self, *, silent: bool) -> float:
        """Return how long a tenant that is refused is not asked about; breakers guard those who are `silent`."""
        return self.retry if silent else self.refusals

    def ask_after(self) -> float:
        """Return, by lot, how long after a yes the next one is asked for."""
        return self.soft * (_EARLIEST + (_LATEST - _EARLIEST) * secrets.randbelow(1_001) / 1_000)


@dataclass(slots=True)
class Held:
    """One tenant's open keys, and when what is due, in seconds of the monotonic clock.

    `opened_at`: when every row was opened. `serve_until`: until when requests get the keys without waiting. `used`:
    whether anybody asked since the last yes.
    """

    keys: TenantKeys
    opened_at: float
    verified_at: float
    ask_at: float
    serve_until: float
    hard_until: float
    stale: bool = False
    used: bool = False

    def still_whole(self, now: float, lifetimes: Lifetimes) -> bool:
        """Say whether every row was opened so lately that one of them is proof enough until the next time."""
        return now + lifetimes.soft < self.opened_at + lifetimes.hard


def newly_held(keys: TenantKeys, *, now: float, opened_at: float, lifetimes: Lifetimes) -> Held:
    """Return `keys` as they are held after a yes at `now`."""
    return Held(
        keys=keys,
        opened_at=opened_at,
        verified_at=now,
        ask_at=now + min(lifetimes.ask_after(), lifetimes.hard),
        serve_until=now + min(lifetimes.soft, lifetimes.hard),
        hard_until=now + lifetimes.hard,
    )


def oldest(tenants: Iterable[Held]) -> dict[KeyPurpose, float]:
    """Return when the oldest sealing key of each purpose was made, in seconds since 1970."""
    made: dict[KeyPurpose, float] = {}
    for row in (row for held in tenants for row in held.keys.rows):
        if row.state == "active" and row.created_at is not None:
            made[row.purpose] = min(made.get(row.purpose, math.inf), row.created_at.timestamp())
    return made


@dataclass(frozen=True, slots=True)
class Refused:
    """A tenant that gets no keys: why, until when nobody is asked, and how long the pause is."""

    state: TenantState
    until: float
    pause: float
    asked_at: float
    root: str | None
    """The root key that did not answer, where that is why."""


class Holds:
    """What every hand of this process that holds a tenant's keys shares: so a purge reaches all of them."""

    def __init__(self) -> None:
        """Nothing is held."""
        self._holds: dict[UUID, Hold] = {}

    def of(self, tenant: UUID, *, until: float) -> Hold:
        """Return the tenant's, good until `until` now."""
        hold = self._holds.get(tenant)
        if hold is None:
            hold = self._holds[tenant] = Hold()
        hold.until = until
        return hold

    def refuse(self, tenant: UUID, refusal: type[WellkeepError]) -> None:
        """Have everything refuse that was opened for the tenant."""
        hold = self._holds.pop(tenant, None)
        if hold is not None:
            hold.refusal = refusal

    def over(self, now: float) -> list[UUID]:
        """Return the tenants whose keys may serve no more."""
        return [tenant for tenant, hold in self._holds.items() if now >= hold.until]
