"""Sessions: begun, renewed, listed, ended; each beginning and each end is an entry.

Rules: the value of the cookie is told once, to who begins the session, and kept nowhere; a session ends where it is
left idle, where its time is over, and with whoever ends it, on every worker with the next request. What raises what a
session may do (a second factor, a step-up) gives it a new id and ends the old one in the same transaction, so that an
id which somebody planted or saw before is worth nothing after; it does not make it last longer. All times are the
database's: a host whose clock jumps neither ends nor prolongs a session. Who has a second factor has no session without
having shown it. What was shown is asked for again when the session begins, the person's row being locked: a password
that was changed, a passkey that was removed, a person who was disabled, a logout at the provider meanwhile begin none.
Who locks the person's row and something else of the account locks the person first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from wellkeep.access import session_format
from wellkeep.access.persons import at_the_door, own
from wellkeep.base.errors import NotFound, SecondFactorRequired, Unauthenticated
from wellkeep.base.ids import uuid7
from wellkeep.base.secrets import Secret
from wellkeep.db.connection import Connection, Record
from wellkeep.gate.acts import Caller
from wellkeep.gate.gate import Gate
from wellkeep.gate.transaction import GateTransaction
from wellkeep.ledger.event import Action

Method = Literal["password", "passkey", "provider"]
_LISTED = 200
_GONE: Final = "What you showed is not good any more. Sign in anew."

_HOLD = "SELECT state = 'active' FROM access.person WHERE id = $1 FOR NO KEY UPDATE"
_HOLD_PROVIDER = "SELECT id FROM access.provider WHERE id = $1 FOR SHARE"
_SIGNED_OUT = """
SELECT EXISTS (
  SELECT FROM access.logout_token WHERE provider_id = $1 AND seen_at >= $4
    AND (provider_session = $2 OR (provider_session IS NULL AND identity = $3))
)
"""
_SAME_PASSWORD = "SELECT changed_at = $2 FROM access.password WHERE person_id = $1"  # noqa: S105 -- a statement
_HAS_PASSKEY = "SELECT EXISTS (SELECT FROM access.factor WHERE person_id = $1 AND id = $2)"
_HAS_FACTOR = "SELECT EXISTS (SELECT FROM access.factor WHERE person_id = $1 AND confirmed_at IS NOT NULL)"
_SEEN = "UPDATE access.person SET last_seen_at = clock_timestamp() WHERE id = $1"
_BEGIN = """
INSERT INTO access.session (tenant_id, id, person_id, digest, method, provider_id, provider_session, mfa, proved_at,
  created_at, expires_at, idle, idle_until, ip, agent)
SELECT wk.tenant(), $1, $2, $3, $4, $5, $6, $7, CASE WHEN $7 THEN coalesce($11, now) END, now,
  coalesce($8, now + rules.length), rules.idle, least(now + rules.idle, coalesce($8, now + rules.length)),
  $9::text::inet, $10
FROM (SELECT clock_timestamp() AS now) AS at, (
  SELECT coalesce(max(session_idle), interval '30 minutes') AS idle,
    coalesce(max(session_length), interval '12 hours') AS length FROM access.tenant_rules
) AS rules
RETURNING expires_at
"""
_ROTATE = """
UPDATE access.session SET ended_at = clock_timestamp(), ended_because = 'renewed'
WHERE id = $1 AND person_id = $2 AND ended_at IS NULL
  AND expires_at > clock_timestamp() AND idle_until > clock_timestamp()
RETURNING expires_at, method, provider_id, provider_session, mfa, proved_at
"""
_LIST = """
SELECT id, method, mfa, created_at, expires_at, idle_until, proved_at, host(ip) AS ip, agent
FROM access.session
WHERE person_id = $1 AND ended_at IS NULL AND expires_at > clock_timestamp() AND idle_until > clock_timestamp()
ORDER BY id DESC LIMIT $2
"""
_END = """
UPDATE access.session SET ended_at = clock_timestamp(), ended_because = $3
WHERE person_id = $1 AND id = $2 AND ended_at IS NULL RETURNING id
"""
_END_TICKETS = "DELETE FROM access.ticket WHERE person_id = $1"
_END_OTHERS = """
UPDATE access.session SET ended_at = clock_timestamp(), ended_because = $3
WHERE person_id = $1 AND id IS DISTINCT FROM $2 AND ended_at IS NULL RETURNING id
"""


@dataclass(frozen=True, slots=True)
class Begun:
    """A new session and, this once, the value of its cookie and the token against forged requests."""

    id: UUID
    tenant: UUID
    person: UUID
    cookie: Secret[str]
    mfa: bool
    expires_at: datetime

    @property
    def csrf(self) -> str:
        """What must come in `X-CSRF-Token` with whatever changes something."""
        return session_format.csrf_token(self.cookie.reveal())


@dataclass(frozen=True, slots=True)
class Session:
    """What its person may know of a session; `agent` is 16 hex digits of the hash of the user agent."""

    id: UUID
    method: str
    mfa: bool
    created_at: datetime
    expires_at: datetime
    idle_until: datetime
    proved_at: datetime | None
    ip: str | None
    agent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Where somebody who has no session yet comes from, under which request."""

    request: UUID
    ip: str | None = None
    agent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Via:
    """How somebody signed in: by what, and for a provider by which one and in which session of its own.

    What must still hold when the session begins: `password` is when the one that was shown was set, `passkey` the
    factor that signed, `subject` who came back from the provider (`identity_digest`), at `since`.
    """

    method: Method
    provider: UUID | None = None
    provider_session: str | None = None
    password: datetime | None = None
    passkey: UUID | None = None
    subject: bytes | None = None
    since: datetime | None = None


class Sessions:
    """Manages the sessions of people."""

    def __init__(self, *, gate: Gate) -> None:
        """Begin and end sessions through `gate`."""
        self._gate = gate

    async def begin(self, *, tenant: UUID, person: UUID, via: Via, mfa: bool, visitor: Visitor) -> Begun:
        """Begin a session of a person who has shown everything that is asked of them; `mfa`: a second factor, too.

        Raises Unauthenticated where there is no such active person, SecondFactorRequired where the person has a second
        factor and `mfa` is False, Forbidden where the tenant is closed, LedgerUnavailable.
        """
        caller = at_the_door(tenant=tenant, person=person, request=visitor.request, ip=visitor.ip, agent=visitor.agent)
        decision = await self._gate.decide(caller, own(Action.SESSION_STARTED, person, enrolling=True))
        async with self._gate.transaction(decision) as work:
            return await begin_within(work, caller, person, via=via, mfa=mfa)

    async def renew(self, caller: Caller, *, proved: bool, work: GateTransaction) -> Begun:
        """End the caller's session and begin another in its place, of the same end, within `work`.

        `proved`: a second factor was shown just now; otherwise the new session has shown what the old one had, and
        when that had. Raises Unauthenticated where the session, or the person, stands no longer.
        """
        person, old = person_of(caller), caller.principal.credential
        await hold(work.connection, person)
        row = await work.connection.fetchrow(_ROTATE, old, person)
        if row is None:
            raise Unauthenticated
        via = Via(method=row["method"], provider=row["provider_id"], provider_session=row["provider_session"])
        shown = None if proved else row["proved_at"]
        mfa = proved or row["mfa"]
        return await _insert(work, caller, person, via, mfa=mfa, proved_at=shown, until=row["expires_at"])

    async def list(self, caller: Caller) -> list[Session]:
        """Return the caller's own sessions that stand, newest first, at most 200."""
        person = person_of(caller)
        decision = await self._gate.decide(caller, own(Action.ACCOUNT_READ, person, enrolling=True))
        async with self._gate.reading(decision) as connection:
            return [_session(row) for row in await connection.fetch(_LIST, person, _LISTED)]

    async def end(self, caller: Caller, *, session: UUID | None = None) -> None:
        """End one of the caller's own sessions, the one in use unless another is named. Raises NotFound."""
        person = person_of(caller)
        ending = session or caller.principal.credential
        decision = await self._gate.decide(caller, own(Action.SESSION_ENDED, person, enrolling=True))
        async with self._gate.transaction(decision) as work:
            if await work.connection.fetchval(_END, person, ending, "signed-out") is None:
                raise NotFound("There is no such session, or it has ended")
            work.record(resource_type="session", resource_id=str(ending))

    async def end_others(self, caller: Caller) -> int:
        """End all of the caller's own sessions but the one in use; returns how many."""
        person = person_of(caller)
        decision = await self._gate.decide(caller, own(Action.SESSION_ENDED, person, enrolling=True))
        async with self._gate.transaction(decision) as work:
            ended = await end_all(work.connection, person, because="signed-out", but=caller.principal.credential)
            work.record(count=ended)
        return ended


async def begin_within(work: GateTransaction, caller: Caller, person: UUID, *, via: Via, mfa: bool) -> Begun:
    """Begin a session of `person`, who is at the door, with what else is done in `work`; raises as `Sessions.begin`."""
    await must_hold(work.connection, person, via)
    if not mfa and await work.connection.fetchval(_HAS_FACTOR, person):
        raise SecondFactorRequired
    begun = await _insert(work, caller, person, via, mfa=mfa)
    await work.connection.execute(_SEEN, person)
    return begun


async def hold(connection: Connection, person: UUID) -> None:
    """Lock the person's row to the end of the transaction. Raises Unauthenticated where they are not active."""
    if not await connection.fetchval(_HOLD, person):
        raise Unauthenticated(_GONE)


async def must_hold(connection: Connection, person: UUID, via: Via) -> None:
    """Lock the account, and check that what was shown is still what signs in. Raises Unauthenticated."""
    if via.since is not None:
        if await connection.fetchval(_HOLD_PROVIDER, via.provider) is None:
            raise Unauthenticated(_GONE)
        about = (via.provider, via.provider_session, via.subject, via.since)
        if await connection.fetchval(_SIGNED_OUT, *about):
            raise Unauthenticated(_GONE)
    await hold(connection, person)
    if via.password is not None and not await connection.fetchval(_SAME_PASSWORD, person, via.password):
        raise Unauthenticated(_GONE)
    if via.passkey is not None and not await connection.fetchval(_HAS_PASSKEY, person, via.passkey):
        raise Unauthenticated(_GONE)


async def end_all(connection: Connection, person: UUID, *, because: str, but: UUID | None = None) -> int:
    """End every session of `person` but one, and every sign-in that waits for its second factor.

    Within the transaction of `connection`; returns how many sessions they were.
    """
    await connection.execute(_HOLD, person)
    await connection.execute(_END_TICKETS, person)
    return len(await connection.fetch(_END_OTHERS, person, but, because))


def person_of(caller: Caller) -> UUID:
    """Return the id of the person who asks; the policy has let nobody else as far as this."""
    return UUID(caller.principal.id)


async def _insert(
    work: GateTransaction,
    caller: Caller,
    person: UUID,
    via: Via,
    *,
    mfa: bool,
    proved_at: datetime | None = None,
    until: datetime | None = None,
) -> Begun:
    identifier = uuid7()
    cookie = session_format.new_secret(identifier)
    values = (identifier, person, session_format.digest(cookie.reveal()), via.method, via.provider)
    where = (until, caller.ip, caller.agent, proved_at)
    expires = await work.connection.fetchval(_BEGIN, *values, via.provider_session, mfa, *where)
    action = Action.SESSION_STARTED if until is None else Action.SESSION_RENEWED
    work.record(action=action, resource_type="session", resource_id=str(identifier))
    return Begun(identifier, caller.principal.tenant, person, cookie, mfa=mfa, expires_at=expires)


def _session(row: Record) -> Session:
    return Session(**{name: row[name] for name in Session.__slots__})
