"""From the cookie of a session to a principal.

Rules: an unknown session and a wrong secret take the same steps and get the same answer. Roles are the grants that
stand at that moment, read anew every `FRESH` seconds; that is soon enough because a revocation ends the session, and
every call into the database asks whether it stands. Whether the second factor was shown just now is worked out on each
request, from the database's time and the seconds since it was asked: setting a host's clock changes neither.

A session that comes from another network AND another browser at once is ended: one of them changes with a train or an
update, both at once is a cookie in other hands, and who is honest signs in again. From another network alone it goes
on, but what is dangerous asks for the second factor once more.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final
from uuid import UUID

from wellkeep.access import session_format
from wellkeep.access.persons import own
from wellkeep.access.sessions import Visitor
from wellkeep.base.clock import Clock
from wellkeep.base.errors import Unauthenticated
from wellkeep.base.principal import ActorType, AuthMethod, Principal
from wellkeep.db.connection import Record
from wellkeep.db.pool import Pool
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.gate.acts import Caller
from wellkeep.gate.gate import Gate
from wellkeep.ledger.event import Action

FRESH: Final = 30.0
PROVED_SECONDS: Final = 600.0
"""How long a second factor counts as shown just now."""

_KEPT = 10_000
_NOBODYS_DIGEST = bytes(32)
_SOON = 90.0
_PREFIXES = {4: 24, 6: 48}

_LOOK_UP = """
SELECT s.tenant_id, s.id, s.person_id, s.digest, s.mfa, host(s.ip) AS ip, s.agent,
  s.ended_at IS NULL AND s.expires_at > clock_timestamp() AND s.idle_until > clock_timestamp() AND p.state = 'active'
    AS stands,
  extract(epoch FROM clock_timestamp() - s.proved_at)::float8 AS proved,
  extract(epoch FROM least(s.expires_at, g.until) - clock_timestamp())::float8 AS lasts,
  extract(epoch FROM s.idle_until - clock_timestamp())::float8 AS idle,
  coalesce(g.roles, '{}') AS roles
FROM access.session AS s
JOIN access.person AS p ON p.tenant_id = s.tenant_id AND p.id = s.person_id
LEFT JOIN LATERAL (
  SELECT array_agg(r.role ORDER BY r.role) AS roles, min(r.expires_at) AS until FROM access.role_grant AS r
  WHERE r.tenant_id = s.tenant_id AND r.person_id = s.person_id AND r.revoked_at IS NULL
    AND (r.expires_at IS NULL OR r.expires_at > clock_timestamp())
) AS g ON true
WHERE s.id = $1
"""
_PUSH = """
UPDATE access.session AS s
SET idle_until = least(s.expires_at, clock_timestamp() - used.ago * interval '1 second' + s.idle)
FROM unnest($1::uuid[], $2::float8[]) AS used (id, ago)
WHERE s.id = used.id AND s.ended_at IS NULL AND s.idle_until > clock_timestamp()
  AND s.idle_until < clock_timestamp() - used.ago * interval '1 second' + s.idle
"""
_END = """
UPDATE access.session SET ended_at = clock_timestamp(), ended_because = $2 WHERE id = $1 AND ended_at IS NULL
RETURNING id
"""
_SET_BACK_SECONDS: Final = 5.0
"""What was shown in the future was shown before the clock was set back: beyond this it does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """The cookie of a request and what came beside it.

    `changes`: the method may change something. `csrf` is the token that came, `ours`: the browser says that a page of
    this very host sent the request.
    """

    cookie: str
    changes: bool
    csrf: str | None = None
    ours: bool = False

    @property
    def forged(self) -> bool:
        """Say whether another site may have made the browser send this."""
        if not self.changes:
            return False
        wanted = session_format.csrf_token(self.cookie)
        return not self.ours or self.csrf is None or not hmac.compare_digest(wanted.encode(), self.csrf.encode())


@dataclass(frozen=True, slots=True)
class _Known:
    principal: Principal
    until: float
    proved: float | None
    ip: str | None
    agent: str | None


class SessionDoor:
    """Finds out whose session a cookie is; remembers it for a few seconds, and when each was last used."""

    def __init__(self, *, auth_pool: Pool, app_pool: Pool, gate: Gate, findings: Findings, clock: Clock) -> None:
        """Look sessions up over `auth_pool` (wk_auth), keep them from ending idle over `app_pool` (wk_app)."""
        self._gate = gate
        self._findings = findings
        self._auth_pool = auth_pool
        self._app_pool = app_pool
        self._clock = clock
        self._known: dict[bytes, _Known] = {}
        self._used: dict[UUID, tuple[UUID, float]] = {}

    async def enter(self, cookie: str, *, visitor: Visitor) -> Principal | None:
        """Return whose session `cookie` is, or None. Raises DatabaseUnavailable, LedgerUnavailable."""
        digest = session_format.digest(cookie)
        now = self._clock.monotonic()
        known = self._known.get(digest)
        if known is None or now >= known.until:
            known = await self._look_up(session_format.read(cookie), digest)
            if known is None:
                self._known.pop(digest, None)
                return None
        principal = known.principal
        same_network = known.ip is None or network(visitor.ip) == network(known.ip)
        if not same_network and visitor.agent != known.agent:
            self._known.pop(digest, None)
            await self._end(principal, visitor, because="moved")
            self._tell(principal)
            return None
        if principal.credential is not None:
            self._used[principal.credential] = (principal.tenant, now)
        fresh = same_network and known.proved is not None and -_SET_BACK_SECONDS <= now - known.proved <= PROVED_SECONDS
        return replace(principal, fresh=True) if fresh else principal

    async def replace(self, cookie: str, *, visitor: Visitor) -> None:
        """End the session of `cookie`, where there is one: its browser has just been given another (ASVS 7.2.4).

        Call it for requests alone that no other site's page can have made the browser send. Raises DatabaseUnavailable,
        LedgerUnavailable.
        """
        principal = await self.enter(cookie, visitor=visitor)
        if principal is None:
            return
        self._known.pop(session_format.digest(cookie), None)
        with suppress(Unauthenticated):  # it has ended meanwhile
            await self._end(principal, visitor, because="replaced")

    async def push(self) -> None:
        """Move the idle ends of the sessions that were used; what fails waits for the next round. Raises."""
        used, self._used = self._used, {}
        try:
            for tenant, ids in _by_tenant(used).items():
                await self._push(tenant, ids, used)
        except BaseException:
            self._used = used | self._used
            raise

    async def _push(self, tenant: UUID, ids: list[UUID], used: Mapping[UUID, tuple[UUID, float]]) -> None:
        now = self._clock.monotonic()
        ago = [max(0.0, now - used[identifier][1]) for identifier in ids]
        async with self._app_pool.tenant_transaction(tenant=tenant) as connection:
            await connection.execute(_PUSH, ids, ago)

    async def _look_up(self, presented: session_format.Presented | None, digest: bytes) -> _Known | None:
        if presented is None:
            return None
        asked = self._clock.monotonic()
        async with self._auth_pool.connection() as connection:
            row = await connection.fetchrow(_LOOK_UP, presented.id)
        matches = hmac.compare_digest(_NOBODYS_DIGEST if row is None else row["digest"], digest)
        if row is None or not matches or not row["stands"]:
            return None
        if row["idle"] < _SOON:
            await self._push(row["tenant_id"], [row["id"]], {row["id"]: (row["tenant_id"], asked)})
        while len(self._known) >= _KEPT:
            self._known.pop(next(iter(self._known)))
        known = self._known[digest] = _known(row, asked)
        return known

    def _tell(self, principal: Principal) -> None:
        """Report a cookie that came from elsewhere altogether; the entry of its end says from where."""
        self._findings.note(
            principal.tenant,
            kind=Kind.SESSION_MOVED,
            severity=Severity.MEDIUM,
            key=finding_key(Kind.SESSION_MOVED, UUID(principal.id)),
            detail={"person": principal.id},
        )

    async def _end(self, principal: Principal, visitor: Visitor, *, because: str) -> None:
        """End a session. Raises Unauthenticated where it has ended already."""
        caller = Caller(principal, None, visitor.request, visitor.ip, visitor.agent)
        person, session = UUID(principal.id), principal.credential
        decision = await self._gate.decide(caller, own(Action.SESSION_ENDED, person, enrolling=True))
        async with self._gate.transaction(decision) as work:
            if await work.connection.fetchval(_END, session, because) is None:
                raise Unauthenticated
            work.record(resource_type="session", resource_id=str(session))


def _known(row: Record, asked: float) -> _Known:
    principal = Principal(
        type=ActorType.PERSON,
        id=str(row["person_id"]),
        tenant=row["tenant_id"],
        roles=tuple(row["roles"]),
        method=AuthMethod.SESSION,
        credential=row["id"],
        mfa=row["mfa"],
    )
    proved = None if row["proved"] is None else asked - row["proved"]
    return _Known(principal, asked + min(FRESH, row["lasts"]), proved, row["ip"], row["agent"])


def _by_tenant(used: Mapping[UUID, tuple[UUID, float]]) -> dict[UUID, list[UUID]]:
    found: dict[UUID, list[UUID]] = {}
    for identifier, (tenant, _) in used.items():
        found.setdefault(tenant, []).append(identifier)
    return found


@lru_cache(maxsize=4096)
def network(ip: str | None) -> str | None:
    """Return the network of an address that counts as one place: /24 of IPv4, /48 of IPv6."""
    if ip is None:
        return None
    address = ipaddress.ip_address(ip)
    return str(ipaddress.ip_network((address, _PREFIXES[address.version]), strict=False))
