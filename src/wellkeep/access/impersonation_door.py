"""From the token of an impersonation to a principal: the staff who act, on behalf of whose account it is.

Rules: an unknown token and a wrong secret take the same steps and get the same answer. The roles are the account's, as
they are granted at that moment, read anew every `FRESH` seconds; that is soon enough because a revocation ends the
impersonation, and every call into the database asks whether it stands. A second factor was shown to begin it; none
counts as shown just now, so nothing dangerous is done inside.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Final

from wellkeep.access import stepping_format
from wellkeep.base.clock import Clock
from wellkeep.base.principal import ActorType, AuthMethod, Principal
from wellkeep.db.connection import Record
from wellkeep.db.pool import Pool

FRESH: Final = 10.0
_KEPT = 1_000
_NOBODYS_DIGEST = bytes(32)

_LOOK_UP = """
SELECT i.tenant_id, i.id, i.person_id, i.staff_id, i.digest, i.masked,
  i.ended_at IS NULL AND i.ends_at > clock_timestamp() AND access.staff_stands(i.staff_session) AND p.state = 'active'
    AS stands,
  extract(epoch FROM least(i.ends_at, g.until) - clock_timestamp())::float8 AS lasts,
  coalesce(g.roles, '{}') AS roles
FROM access.impersonation AS i
JOIN access.person AS p ON p.tenant_id = i.tenant_id AND p.id = i.person_id
LEFT JOIN LATERAL (
  SELECT array_agg(r.role ORDER BY r.role) AS roles, min(r.expires_at) AS until FROM access.role_grant AS r
  WHERE r.tenant_id = i.tenant_id AND r.person_id = i.person_id AND r.revoked_at IS NULL
    AND (r.expires_at IS NULL OR r.expires_at > clock_timestamp())
) AS g ON true
WHERE i.id = $1
"""


@dataclass(frozen=True, slots=True)
class _Known:
    principal: Principal
    until: float


class ImpersonationDoor:
    """Finds out whose impersonation a token is of; remembers it for a few seconds."""

    def __init__(self, *, auth_pool: Pool, clock: Clock) -> None:
        """Look impersonations up over `auth_pool` (wk_auth)."""
        self._auth_pool = auth_pool
        self._clock = clock
        self._known: dict[bytes, _Known] = {}

    async def enter(self, token: str) -> Principal | None:
        """Return who acts with `token`, or None. Raises DatabaseUnavailable."""
        digest = stepping_format.digest(token)
        known = self._known.get(digest)
        now = self._clock.monotonic()
        if known is not None and now < known.until:
            return known.principal
        self._known.pop(digest, None)
        presented = stepping_format.read(token)
        if presented is None:
            return None
        async with self._auth_pool.connection() as connection:
            row = await connection.fetchrow(_LOOK_UP, presented.id)
        matches = hmac.compare_digest(_NOBODYS_DIGEST if row is None else row["digest"], digest)
        if row is None or not matches or not row["stands"]:
            return None
        while len(self._known) >= _KEPT:
            self._known.pop(next(iter(self._known)))
        principal = _principal(row)
        self._known[digest] = _Known(principal, now + min(FRESH, row["lasts"]))
        return principal


def _principal(row: Record) -> Principal:
    return Principal(
        type=ActorType.PERSON,
        id=str(row["staff_id"]),
        tenant=row["tenant_id"],
        roles=tuple(row["roles"]),
        method=AuthMethod.SESSION,
        credential=row["id"],
        on_behalf_of=str(row["person_id"]),
        mfa=True,
        impersonation=row["id"],
        masked=row["masked"],
    )
