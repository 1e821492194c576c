"""Signing in: a password or a passkey, then a second factor where there is one, then a session.

Rules: a tenant, an e-mail or a password that is not right get the same answer after the same steps, a hash of the same
cost among them; who has a second factor gets a ticket for the first one, and a session only for both; a ticket is good
for five tries and five minutes, and once. The id of a session is new whatever came before. A try is counted before it
is made (`throttle`). A failure is an entry of the root log without the e-mail; a wrong second factor, which only who
knows the password can show, is one of the tenant's. A recovery code that was used is a finding.
"""

from __future__ import annotations

import hmac
import unicodedata
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from uuid import UUID

from wellkeep.access import recovery_codes, session_format, totp
from wellkeep.access.account_secrets import AccountSecrets
from wellkeep.access.failures import Failures
from wellkeep.access.passkeys import Asked, Passkeys, Purpose, credential_id
from wellkeep.access.passwords import Hashed, Passwords
from wellkeep.access.persons import at_the_door, own
from wellkeep.access.sessions import Begun, Sessions, Via, Visitor, begin_within, hold, must_hold
from wellkeep.access.throttle import Throttle, Try
from wellkeep.base.errors import Unauthenticated
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.secrets import Secret
from wellkeep.db.connection import Record
from wellkeep.db.pool import Pool
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.gate.gate import Gate
from wellkeep.gate.transaction import GateTransaction
from wellkeep.ledger.event import Action

_WRONG: Final = "The tenant, the e-mail or the password is not right"
_WRONG_FACTOR: Final = "That is not right, or was used before. Try again, or sign in anew."
_NOBODY = UUID(int=0)

_TENANT = "SELECT id FROM wk.tenants WHERE name = $1 AND state = 'active'"
_ACCOUNT = """
SELECT p.id, w.hash, w.pepper, w.changed_at FROM access.person AS p
LEFT JOIN access.password AS w ON w.person_id = p.id WHERE p.email = $1 AND p.state = 'active'
"""
_REHASH = "UPDATE access.password SET hash = $3, pepper = $4 WHERE person_id = $1 AND hash = $2"
_FACTORS = "SELECT DISTINCT kind FROM access.factor WHERE person_id = $1 AND confirmed_at IS NOT NULL ORDER BY kind"
_GIVE_TICKET = """
INSERT INTO access.ticket (tenant_id, id, person_id, digest, method, provider_id, provider_session, created_at,
  expires_at)
SELECT wk.tenant(), $1, $2, $3, $4, $5, $6, now, now + interval '5 minutes' FROM (SELECT clock_timestamp() AS now) AS at
"""
_FORGET_TICKETS = "DELETE FROM access.ticket WHERE expires_at < clock_timestamp()"
_FIND_TICKET = """
SELECT tenant_id, id, person_id, digest FROM access.ticket WHERE id = $1 AND expires_at > clock_timestamp()
"""
_TRY_TICKET = """
UPDATE access.ticket SET tries = tries + 1
WHERE id = $1 AND tries < 5 AND clock_timestamp() BETWEEN created_at AND expires_at
RETURNING method, provider_id, provider_session
"""
_HAS_PROVIDER = "SELECT EXISTS (SELECT FROM access.provider)"
_USE_TICKET = "DELETE FROM access.ticket WHERE id = $1 RETURNING id"
_HOLDERS = "SELECT tenant_id, person_id FROM access.factor WHERE credential_id = $1 LIMIT 16"


@dataclass(frozen=True, slots=True)
class Proof:
    """A second factor as it is shown: exactly one of a code, a recovery code, a signed challenge."""

    code: str | None = None
    recovery_code: str | None = None
    challenge: UUID | None = None
    credential: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session, and the cookie that says from now on that the person signed in from this browser."""

    begun: Begun
    device: str


@dataclass(frozen=True, slots=True)
class FactorAsked:
    """The first factor was right; `ticket` goes with the second, one of `factors`."""

    ticket: Secret[str]
    factors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Doors:
    """What signing in stands on."""

    gate: Gate
    auth_pool: Pool
    app_pool: Pool
    sessions: Sessions
    passwords: Passwords
    passkeys: Passkeys
    throttle: Throttle
    secrets: AccountSecrets
    failures: Failures
    findings: Findings


class SignIn:
    """Signs people in."""

    def __init__(self, doors: Doors) -> None:
        """Sign in by what `doors` offers."""
        self._on = doors

    async def with_password(
        self, *, tenant: str, email: str, password: str, proof: Proof | None, device: str | None, visitor: Visitor
    ) -> SignedIn | FactorAsked:
        """Sign in by a password, and by the second factor at once where `proof` is given.

        `device` is the browser's cookie of earlier sign-ins. Raises Unauthenticated, always with the same words,
        RateLimited, Unavailable.
        """
        address = unicodedata.normalize("NFKC", email.strip()).lower()
        home, row = await self._account(tenant, address)
        person = _NOBODY if row is None else row["id"]
        known = self._on.secrets.device_of(device, tenant=home or PLATFORM_TENANT, person=person)
        account = f"{tenant}\n{address}".encode("utf-8", "surrogatepass")
        taken = await self._on.throttle.password(account, ip=visitor.ip, device=known)
        stored = None if row is None or row["hash"] is None else Hashed(row["hash"], row["pepper"])
        if not await self._on.passwords.matches(password, stored) or home is None or row is None or stored is None:
            await self._refuse(visitor)
        await self._on.throttle.right(taken)
        await self._keep_current(home, person, password, stored)
        via = Via(method="password", password=row["changed_at"])
        if proof is not None and await self._factors(home, person):
            return await self._second(home, person, via, proof, known, visitor)
        return await self.admit(tenant=home, person=person, via=via, visitor=visitor)

    async def admit(self, *, tenant: UUID, person: UUID, via: Via, visitor: Visitor) -> SignedIn | FactorAsked:
        """Let somebody in who has shown a first factor (or whose provider says so): a session, or a ticket.

        Raises Unauthenticated where there is no such active person.
        """
        factors = await self._factors(tenant, person)
        if not factors:
            begun = await self._on.sessions.begin(tenant=tenant, person=person, via=via, mfa=False, visitor=visitor)
            await self._past_the_provider(tenant, person, via)
            return self._signed_in(begun)
        identifier = uuid7()
        ticket = session_format.new_secret(identifier)
        values = (identifier, person, session_format.digest(ticket.reveal()), via.method)
        async with self._on.app_pool.tenant_transaction(tenant=tenant) as connection:
            await must_hold(connection, person, via)
            await connection.execute(_FORGET_TICKETS)
            await connection.execute(_GIVE_TICKET, *values, via.provider, via.provider_session)
        return FactorAsked(ticket, (*factors, "recovery_code"))

    async def with_factor(self, *, ticket: str, proof: Proof, device: str | None, visitor: Visitor) -> SignedIn:
        """Sign in by the second factor of who holds `ticket`. Raises Unauthenticated, RateLimited."""
        held = await self._ticket(ticket, visitor)
        tenant, person, identifier = held["tenant_id"], held["person_id"], held["id"]
        known = self._on.secrets.device_of(device, tenant=tenant, person=person)
        async with self._on.app_pool.tenant_transaction(tenant=tenant) as connection:
            row = await connection.fetchrow(_TRY_TICKET, identifier)
        if row is None:
            await self._refuse(visitor, _WRONG_FACTOR)
        via = Via(method=row["method"], provider=row["provider_id"], provider_session=row["provider_session"])
        return await self._second(tenant, person, via, proof, known, visitor, ticket=identifier)

    async def factor_challenge(self, *, ticket: str, visitor: Visitor) -> Asked:
        """Ask the browser of who holds `ticket` for a signature of a passkey. Raises Unauthenticated, RateLimited."""
        await self._on.throttle.link(ip=visitor.ip)
        held = await self._ticket(ticket, visitor)
        async with self._on.app_pool.tenant_transaction(tenant=held["tenant_id"]) as connection:
            return await self._on.passkeys.question(connection, purpose="factor", person=held["person_id"])

    async def passkey_challenge(self, *, visitor: Visitor) -> Asked:
        """Ask a browser for a signature of any passkey of this site. Raises RateLimited."""
        await self._on.throttle.link(ip=visitor.ip)
        async with self._on.app_pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            return await self._on.passkeys.question(connection, purpose="sign-in")

    async def with_passkey(self, *, challenge: UUID, credential: dict[str, Any], visitor: Visitor) -> SignedIn:
        """Sign in by a passkey alone, which is two factors. Raises Unauthenticated, RateLimited."""
        on, identifier = self._on, credential_id(credential)
        taken = await on.throttle.link(ip=visitor.ip)
        async with on.app_pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            expected = await on.passkeys.expected(connection, challenge=challenge, purpose="sign-in")
        holders: list[Record] = []
        if expected is not None and identifier is not None:
            async with on.auth_pool.connection() as connection:
                holders = await connection.fetch(_HOLDERS, identifier)
        for holder in holders:
            begun = await self._with_passkey_of(holder, expected or b"", credential, visitor)
            if begun is not None:
                await on.throttle.right(taken, begun=1)
                return self._signed_in(begun)
        return await self._refuse(visitor, "This passkey is not known here")

    async def _with_passkey_of(
        self, holder: Record, expected: bytes, credential: dict[str, Any], visitor: Visitor
    ) -> Begun | None:
        on, tenant, person = self._on, holder["tenant_id"], holder["person_id"]
        async with on.app_pool.tenant_transaction(tenant=tenant) as connection:
            factor = await on.passkeys.answers(connection, person=person, expected=expected, credential=credential)
        if factor is None:
            return None
        via = Via(method="passkey", passkey=factor)
        return await on.sessions.begin(tenant=tenant, person=person, via=via, mfa=True, visitor=visitor)

    async def _account(self, tenant: str, email: str) -> tuple[UUID | None, Record | None]:
        """Return the tenant of this name and the account there; for a tenant that is not there ask as much."""
        async with self._on.auth_pool.connection() as connection:
            home: UUID | None = await connection.fetchval(_TENANT, tenant)
        async with self._on.app_pool.tenant_transaction(tenant=home or PLATFORM_TENANT) as connection:
            row = await connection.fetchrow(_ACCOUNT, email if home is not None else "")
        return home, row

    async def _keep_current(self, tenant: UUID, person: UUID, password: str, stored: Hashed) -> None:
        """Hash anew what was hashed otherwise than today."""
        if not self._on.passwords.outdated(stored):
            return
        made = await self._on.passwords.hash(password)
        async with self._on.app_pool.tenant_transaction(tenant=tenant) as connection:
            await connection.execute(_REHASH, person, stored.hash, made.hash, made.pepper)

    async def _past_the_provider(self, tenant: UUID, person: UUID, via: Via) -> None:
        """Report who has signed in by a password where people have an identity provider to sign in with.

        A right password without the second factor is no sign-in: it is on record as the failure that it is.
        """
        if via.method != "password":
            return
        async with self._on.app_pool.tenant_transaction(tenant=tenant) as connection:
            if not await connection.fetchval(_HAS_PROVIDER):
                return
        self._on.findings.note(
            tenant,
            kind=Kind.AUTH_LOCAL,
            severity=Severity.MEDIUM,
            key=finding_key(Kind.AUTH_LOCAL, person),
            detail={"person": str(person)},
        )

    async def _factors(self, tenant: UUID, person: UUID) -> tuple[str, ...]:
        async with self._on.app_pool.tenant_transaction(tenant=tenant) as connection:
            return tuple(row["kind"] for row in await connection.fetch(_FACTORS, person))

    async def _ticket(self, ticket: str, visitor: Visitor) -> Record:
        presented = session_format.read(ticket)
        row = None
        if presented is not None:
            async with self._on.auth_pool.connection() as connection:
                row = await connection.fetchrow(_FIND_TICKET, presented.id)
        digest = session_format.digest(ticket)
        if row is None or not hmac.compare_digest(row["digest"], digest):
            await self._refuse(visitor, _WRONG_FACTOR)
        return row

    async def _second(
        self,
        tenant: UUID,
        person: UUID,
        via: Via,
        proof: Proof,
        device: str | None,
        visitor: Visitor,
        *,
        ticket: UUID | None = None,
    ) -> SignedIn:
        taken = await self._on.throttle.factor(person, ip=visitor.ip, device=device)
        caller = at_the_door(tenant=tenant, person=person, request=visitor.request, ip=visitor.ip, agent=visitor.agent)
        decision = await self._on.gate.decide(caller, own(Action.SESSION_STARTED, person, enrolling=True))
        async with self._on.gate.transaction(decision) as work:
            await hold(work.connection, person)
            gone = ticket is not None and await work.connection.fetchval(_USE_TICKET, ticket) is None
            if gone or not await shown(work, self._on, tenant=tenant, person=person, proof=proof, purpose="factor"):
                raise Unauthenticated(_WRONG_FACTOR)
            begun = await begin_within(work, caller, person, via=via, mfa=True)
        await self._given_back(taken, tenant, person, proof)
        await self._past_the_provider(tenant, person, via)
        return self._signed_in(begun)

    async def _given_back(self, taken: Try, tenant: UUID, person: UUID, proof: Proof) -> None:
        await self._on.throttle.right(taken)
        if proof.recovery_code is not None:
            self._on.findings.note(
                tenant,
                kind=Kind.FACTOR_RECOVERED,
                severity=Severity.HIGH,
                key=finding_key(Kind.FACTOR_RECOVERED, person),
                detail={"person": str(person)},
            )

    def _signed_in(self, begun: Begun) -> SignedIn:
        return SignedIn(begun, self._on.secrets.device(tenant=begun.tenant, person=begun.person))

    async def _refuse(self, visitor: Visitor, words: str = _WRONG) -> NoReturn:
        await self._on.failures.note(request=visitor.request, ip=visitor.ip, agent=visitor.agent, key_id=None)
        raise Unauthenticated(words)


async def shown(
    work: GateTransaction, on: Doors, *, tenant: UUID, person: UUID, proof: Proof, purpose: Purpose
) -> bool:
    """Say whether `proof` shows a second factor of `person`, and use it up within `work`."""
    connection = work.connection
    if proof.code is not None:
        return await totp.use(connection, on.secrets, tenant=tenant, person=person, code=proof.code) is not None
    if proof.recovery_code is not None:
        if not await recovery_codes.use(connection, person, proof.recovery_code):
            return False
        work.record(action=Action.FACTOR_RECOVERED)
        return True
    if proof.challenge is None or proof.credential is None:
        return False
    expected = await on.passkeys.expected(connection, challenge=proof.challenge, purpose=purpose, person=person)
    if expected is None:
        return False
    return (
        await on.passkeys.answers(connection, person=person, expected=expected, credential=proof.credential) is not None
    )
