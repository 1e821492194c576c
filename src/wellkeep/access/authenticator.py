"""From the Authorization header, or the cookie of a session, to a principal.

Rules: what is presented is compared as a SHA-256 digest, in constant time; an unknown key and a wrong secret take the
same steps and get the same answer; a key of another environment is refused before anything is looked up. Answers are
kept in memory for `FRESH` seconds, by the digest, and that is safe because every call into the database asks again
whether the credential stands (`access.stands`): a revocation holds with the next request on every worker. Failures are
entries of the root log. A key that is bound to networks is unknown from elsewhere. What comes with a key and a session
at once is refused: whose act it was would be a guess. A session's request that changes something must come from a page
of ours and bring the session's token (`session_door`).
Staff in a customer's account come with a bearer token of its own (`impersonation_door`), and with nothing else.
"""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import structlog

from wellkeep.access import key_format, scopes, stepping_format
from wellkeep.access.failures import Failures
from wellkeep.access.impersonation_door import ImpersonationDoor
from wellkeep.access.key_bounds import Network, comes_from, parsed
from wellkeep.access.session_door import Presented, SessionDoor
from wellkeep.access.sessions import Visitor
from wellkeep.base.clock import Clock
from wellkeep.base.errors import Forbidden, Unauthenticated, WellkeepError
from wellkeep.base.principal import ActorType, AuthMethod, Principal
from wellkeep.db.connection import Record
from wellkeep.db.pool import Pool
from wellkeep.findings.findings import Findings
from wellkeep.gate.gate import Gate

FRESH = 30.0
_KEPT = 10_000
_ROUNDS_SECONDS = 60.0
_SCHEME = "bearer "
_NOBODYS_DIGEST = bytes(32)

_LOOK_UP = """
SELECT tenant_id, id, digest, roles, scopes, expires_at, revoked_at, networks, requests, records, lineage
FROM access.api_key WHERE id = $1
"""
_USED = """
UPDATE access.api_key AS key SET last_used_at = used.at
FROM unnest($1::uuid[], $2::timestamptz[]) AS used (id, at)
WHERE key.id = used.id AND (key.last_used_at IS NULL OR key.last_used_at < used.at)
"""

_log = structlog.get_logger("wellkeep.access")


@dataclass(frozen=True, slots=True)
class _Known:
    principal: Principal
    until: float
    expires: float
    networks: tuple[Network, ...] | None = None

    def fits(self, ip: str | None) -> bool:
        """Say whether the key may be used from `ip`."""
        return self.networks is None or comes_from(ip, self.networks)


class Authenticator:
    """One per process; `start` it for the minutely rounds (last use, counts of failures) and `stop` it."""

    def __init__(
        self, *, auth_pool: Pool, app_pool: Pool, gate: Gate, findings: Findings, clock: Clock, environment: str
    ) -> None:
        """Look keys up over `auth_pool` (wk_auth), note their last use over `app_pool` (wk_app)."""
        self._auth_pool = auth_pool
        self._app_pool = app_pool
        self._clock = clock
        self._environment = environment
        self._failures = Failures(gate=gate, findings=findings, clock=clock)
        self._sessions = SessionDoor(auth_pool=auth_pool, app_pool=app_pool, gate=gate, findings=findings, clock=clock)
        self._stepping_in = ImpersonationDoor(auth_pool=auth_pool, clock=clock)
        self._known: dict[bytes, _Known] = {}
        self._used: dict[UUID, tuple[UUID, float]] = {}
        self._rounds: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin the minutely rounds."""
        if self._rounds is None:
            self._rounds = asyncio.get_running_loop().create_task(self._going_round(), name="access-rounds")

    async def stop(self) -> None:
        """End the rounds after a last one that leaves no count behind."""
        rounds, self._rounds = self._rounds, None
        if rounds is not None:
            rounds.cancel()
            await asyncio.gather(rounds, return_exceptions=True)
        await self.go_round(everything=True)

    @property
    def failures(self) -> Failures:
        """What enters and counts failures: one for each process, since it is what bounds them."""
        return self._failures

    async def authenticate(
        self,
        header: str | None,
        *,
        request: UUID,
        ip: str | None = None,
        agent: str | None = None,
        session: Presented | None = None,
    ) -> Principal:
        """Return who presents `header`, the value of Authorization, or the cookie of a `session`.

        Raises Unauthenticated, always with the same words, once the failure is entered or counted; Forbidden where
        another site may have made a browser send this.
        """
        if session is not None:
            visitor = Visitor(request=request, ip=ip, agent=agent)
            return await self._of_session(session, visitor, alone=header is None)
        key = _key_of(header)
        digest = key_format.digest(key)
        known = self._known.get(digest)
        if known is not None and self._clock.monotonic() < known.until and self._clock.seconds() < known.expires:
            if known.fits(ip):
                return self._use(known.principal)
            await self._failures.note(request=request, ip=ip, agent=agent, key_id=known.principal.credential)
            raise Unauthenticated
        if key.startswith(stepping_format.PREFIX):
            return await self._stepped_in(key, Visitor(request=request, ip=ip, agent=agent))
        known, key_id = await self._look_up(key, digest)
        if known is not None and known.fits(ip):
            return self._use(known.principal)
        await self._failures.note(request=request, ip=ip, agent=agent, key_id=key_id)
        raise Unauthenticated

    async def exposed(self, header: str, *, request: UUID, ip: str | None) -> Principal | None:
        """Return whose key or token came where none may be sent, from whichever network; None for what is none.

        Nothing is let in by it, and the key does not count as used. What is none of ours is a failure on record.
        """
        key = _key_of(header)
        if key.startswith(stepping_format.PREFIX):
            return await self._stepping_in.enter(key)
        known, key_id = await self._look_up(key, key_format.digest(key))
        if known is None:
            await self._failures.note(request=request, ip=ip, agent=None, key_id=key_id)
        return None if known is None else known.principal

    async def _look_up(self, key: str, digest: bytes) -> tuple[_Known | None, UUID | None]:
        """Return the key that stands, and the id of the one that is named, whether or not it does."""
        presented = key_format.read(key)
        if presented is None or presented.environment != self._environment:
            return None, None
        async with self._auth_pool.connection() as connection:
            row = await connection.fetchrow(_LOOK_UP, presented.id)
        matches = hmac.compare_digest(_NOBODYS_DIGEST if row is None else row["digest"], digest)
        if row is None:
            return None, None
        stands = matches and row["revoked_at"] is None and row["expires_at"] > self._clock.now()
        return self._remember(digest, row) if stands else None, row["id"]

    async def _stepped_in(self, token: str, visitor: Visitor) -> Principal:
        principal = await self._stepping_in.enter(token)
        if principal is None:
            await self._failures.note(request=visitor.request, ip=visitor.ip, agent=visitor.agent, key_id=None)
            raise Unauthenticated
        return principal

    async def replace(self, cookie: str | None, *, visitor: Visitor) -> None:
        """End the session that a browser had, which has just been given another; raises as `SessionDoor.replace`."""
        if cookie is not None:
            await self._sessions.replace(cookie, visitor=visitor)

    async def _of_session(self, session: Presented, visitor: Visitor, *, alone: bool) -> Principal:
        principal = await self._sessions.enter(session.cookie, visitor=visitor) if alone else None
        if principal is not None and not session.forged:
            return principal
        await self._failures.note(request=visitor.request, ip=visitor.ip, agent=visitor.agent, key_id=None)
        if principal is None:
            raise Unauthenticated
        raise Forbidden("Send this from our own pages, with the session's token in X-CSRF-Token")

    async def go_round(self, *, everything: bool = False) -> None:
        """Write down when keys were last used and enter the counts of failures; what fails waits for the next round."""
        used, self._used = self._used, {}
        by_tenant: dict[UUID, list[UUID]] = {}
        for key_id, (tenant, _) in used.items():
            by_tenant.setdefault(tenant, []).append(key_id)
        try:
            for tenant, ids in by_tenant.items():
                times = [datetime.fromtimestamp(used[key_id][1], UTC) for key_id in ids]
                async with self._app_pool.tenant_transaction(tenant=tenant) as connection:
                    await connection.execute(_USED, ids, times)
            await self._sessions.push()
            await self._failures.flush(everything=everything)
        except WellkeepError as error:
            self._used = used | self._used
            _log.warning("access.round_failed", code=error.code)

    async def _going_round(self) -> None:
        while True:
            await asyncio.sleep(_ROUNDS_SECONDS)
            await self.go_round()

    def _use(self, principal: Principal) -> Principal:
        if principal.credential is not None:
            self._used[principal.credential] = (principal.tenant, self._clock.seconds())
        return principal

    def _remember(self, digest: bytes, row: Record) -> _Known:
        # A scope that no longer exists permits nothing, and takes nothing else away.
        narrowed = None if row["scopes"] is None else scopes.read(row["scopes"])
        networks = row["networks"]
        principal = Principal(
            type=ActorType.API_KEY,
            id=str(row["id"]),
            tenant=row["tenant_id"],
            roles=tuple(row["roles"]),
            method=AuthMethod.API_KEY,
            credential=row["id"],
            scopes=None if narrowed is None else narrowed.everywhere,
            within=frozenset() if narrowed is None else narrowed.within,
            networks=() if networks is None else tuple(networks),
            requests=row["requests"],
            records=row["records"],
            lineage=row["lineage"],
        )
        while len(self._known) >= _KEPT:
            self._known.pop(next(iter(self._known)))
        places = None if networks is None else parsed(networks)
        until, expires = self._clock.monotonic() + FRESH, row["expires_at"].timestamp()
        known = self._known[digest] = _Known(principal, until, expires, places)
        return known


def _key_of(header: str | None) -> str:
    """Return what follows the scheme, whose name is case-insensitive (RFC 9110, section 11.1)."""
    if header is None or header[: len(_SCHEME)].lower() != _SCHEME:
        return ""
    return header[len(_SCHEME) :]
