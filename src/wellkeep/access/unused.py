"""Access that nobody uses: grants and keys unused for 90 days, keys never used for 30.

Rules: a grant counts as used while its person is signed in and at work with it (the table's trigger writes that down
once an hour), a key with every request it makes (once a minute). Reported, never revoked by itself: a role for
emergencies is meant to lie still. The threat is the forgotten key in an old laptop, still good.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from wellkeep.access.away import away
from wellkeep.base.clock import Clock
from wellkeep.base.errors import NotFound
from wellkeep.base.permissions import Permission
from wellkeep.db.connection import Connection, Record
from wellkeep.gate.acts import Act, Caller
from wellkeep.gate.gate import Gate
from wellkeep.ledger.actions import Action

UNUSED: Final = timedelta(days=90)
NEVER_USED: Final = timedelta(days=30)
_LISTED = 5_000

_UNUSED = """
SELECT s.id, s.kind, s.person_id, coalesce(p.name, k.name) AS name, p.email, s.roles, s.granted_at, s.last_used_at,
  s.expires_at
FROM access.standing() AS s
LEFT JOIN access.person AS p ON p.id = s.person_id
LEFT JOIN access.api_key AS k ON k.id = s.id AND s.kind = 'key'
WHERE coalesce(s.last_used_at, s.granted_at) < $1 OR s.kind = 'key' AND s.last_used_at IS NULL AND s.granted_at < $2
ORDER BY coalesce(s.last_used_at, s.granted_at), s.id LIMIT $3
"""
_COUNT = """
SELECT count(*) FROM access.standing() AS s
WHERE coalesce(s.last_used_at, s.granted_at) < $1 OR s.kind = 'key' AND s.last_used_at IS NULL AND s.granted_at < $2
"""


@dataclass(frozen=True, slots=True)
class Idle:
    """A grant or an API key that stands and is not used; `id` is its own, `person` whose grant it is."""

    id: UUID
    kind: str
    person: UUID | None
    name: str | None = field(repr=False)
    email: str | None = field(repr=False)
    roles: tuple[str, ...]
    granted_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None


class Unused:
    """Lists the access that nobody uses."""

    def __init__(self, *, gate: Gate, clock: Clock) -> None:
        """Read through `gate`."""
        self._gate = gate
        self._clock = clock

    async def listed(self, caller: Caller, *, tenant: UUID) -> list[Idle]:
        """Return what is not used in `tenant`, the longest unused first, at most 5,000. Raises NotFound."""
        named, there = await away(self._gate, caller, tenant)
        act = Act(Permission.REVIEW_READ, Action.REVIEW_READ, "unused_access", tenant=named)
        decision = await self._gate.decide(caller, act)
        async with self._gate.transaction(decision) as work:
            if not there:
                raise NotFound("There is no such tenant")
            rows = await work.connection.fetch(_UNUSED, *_limits(self._clock), _LISTED)
            work.record(count=len(rows))
        return [_idle(row) for row in rows]


async def count_unused(connection: Connection, clock: Clock) -> int:
    """Return how many grants and keys of the entered tenant stand and are not used."""
    return int(await connection.fetchval(_COUNT, *_limits(clock)))


def _limits(clock: Clock) -> tuple[datetime, datetime]:
    now = clock.now()
    return now - UNUSED, now - NEVER_USED


def _idle(row: Record) -> Idle:
    return Idle(
        id=row["id"],
        kind=row["kind"],
        person=row["person_id"],
        name=row["name"],
        email=row["email"],
        roles=tuple(row["roles"]),
        granted_at=row["granted_at"],
        last_used_at=row["last_used_at"],
        expires_at=row["expires_at"],
    )
