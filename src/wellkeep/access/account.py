"""One's own account: password, second factors, recovery codes, and showing the second factor once more.

Rules: whatever changes how the account is entered ends its other sessions in the same transaction, and gives this one a
new id. Who has a second factor changes the account only where it was shown just now; who has none yet sets the first
one up within ten minutes of signing in, and is signed in with it from then on: a cookie that was stolen later binds no
account to the thief. The last factor of who administers, or of a tenant where all must have
one, is not removed. A new password is checked against what others use and what the account itself says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from wellkeep.access import recovery_codes, totp
from wellkeep.access.passkeys import Asked
from wellkeep.access.passwords import Hashed
from wellkeep.access.persons import own
from wellkeep.access.sessions import Begun, end_all, hold, person_of
from wellkeep.access.sign_in import Doors, Proof, shown
from wellkeep.base.errors import Conflict, FieldProblem, NotFound, StepUpRequired, Unauthenticated, Validation
from wellkeep.base.secrets import Secret
from wellkeep.db.connection import Connection, Record
from wellkeep.gate.acts import Caller, Decision
from wellkeep.gate.transaction import GateTransaction
from wellkeep.ledger.event import Action

_ME = "SELECT p.id, p.email, p.name, t.name AS tenant FROM access.person AS p, wk.tenants AS t WHERE p.id = $1"
_LOCK = "SELECT id FROM access.person WHERE id = $1 AND state = 'active' FOR UPDATE"
_FACTORS = """
SELECT id, kind, name, created_at, last_used_at FROM access.factor
WHERE person_id = $1 AND confirmed_at IS NOT NULL ORDER BY id
"""
_HASH = "SELECT hash, pepper FROM access.password WHERE person_id = $1"
_SET = """
INSERT INTO access.password (tenant_id, person_id, hash, pepper, changed_at)
VALUES (wk.tenant(), $1, $2, $3, clock_timestamp())
ON CONFLICT (tenant_id, person_id) DO UPDATE
SET hash = excluded.hash, pepper = excluded.pepper, changed_at = excluded.changed_at
"""
_JUST_NOW = """
SELECT created_at BETWEEN clock_timestamp() - interval '10 minutes' AND clock_timestamp()
FROM access.session WHERE id = $1
"""
_REMOVE = "DELETE FROM access.factor WHERE id = $2 AND person_id = $1 RETURNING kind"
_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True)
class Factor:
    """A second factor that is set up: `kind` is totp or passkey, `name` what its owner calls it."""

    id: UUID
    kind: str
    name: str = field(repr=False)
    created_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Me:
    """What a person may know of their own account."""

    person: UUID
    tenant: str
    email: str = field(repr=False)
    name: str = field(repr=False)
    factors: tuple[Factor, ...]
    recovery_codes: int


async def set_password(connection: Connection, person: UUID, made: Hashed) -> None:
    """Keep a hashed password of `person`, in the place of another."""
    await connection.execute(_SET, person, made.hash, made.pepper)


class Account:
    """What people do about their own accounts."""

    def __init__(self, doors: Doors) -> None:
        """Act by what `doors` offers."""
        self._on = doors

    async def me(self, caller: Caller) -> Me:
        """Return the caller's own account."""
        person = person_of(caller)
        decision = await self._on.gate.decide(caller, own(Action.ACCOUNT_READ, person, enrolling=True))
        async with self._on.gate.reading(decision) as connection:
            row = await connection.fetchrow(_ME, person)
            if row is None:
                raise NotFound
            factors = tuple(_factor(one) for one in await connection.fetch(_FACTORS, person))
            left = await recovery_codes.left(connection, person)
        return Me(person, row["tenant"], row["email"], row["name"], factors, left)

    async def change_password(self, caller: Caller, *, current: str, password: str) -> Begun:
        """Set another password; the other sessions end. Raises Validation, StepUpRequired, RateLimited."""
        on, person = self._on, person_of(caller)
        decision = await on.gate.decide(caller, own(Action.PASSWORD_CHANGED, person))
        stored, about = await self._before(decision, person)
        taken = await on.throttle.factor(person, ip=caller.ip, session=caller.principal.credential)
        if not await on.passwords.matches(current, stored):
            await on.gate.failed(decision, error=Validation.code)
            raise Validation(fields=(FieldProblem("/current", "not-allowed"),))
        await on.throttle.right(taken)
        await on.passwords.check(password, about=about)
        made = await on.passwords.hash(password)
        async with on.gate.transaction(decision) as work:
            await self._must_be_fresh(work, caller, person)
            await set_password(work.connection, person, made)
            work.record()
            return await self._renewed(work, caller, because="password-changed")

    async def plan_totp(self, caller: Caller, *, name: str) -> totp.Planned:
        """Begin to set up an authenticator app. Raises StepUpRequired where nothing was shown just now."""
        on, person, tenant = self._on, person_of(caller), caller.principal.tenant
        decision = await on.gate.decide(caller, own(Action.FACTOR_ADDED, person, enrolling=True))
        async with on.gate.transaction(decision) as work:
            await self._must_be_fresh(work, caller, person, enrolling=True)
            row = await work.connection.fetchrow(_ME, person)
            account = "" if row is None else f"{row['email']} ({row['tenant']})"
            planned = await totp.plan(
                work.connection, on.secrets, tenant=tenant, person=person, name=_named(name), account=account
            )
            work.record(action=Action.ACCOUNT_READ, resource_type="factor", resource_id=str(planned.id))
        return planned

    async def confirm_totp(self, caller: Caller, *, factor: UUID, code: str) -> Begun:
        """Take the app's first code: from then on it counts. Raises Validation where it is wrong, RateLimited."""
        on, person, tenant = self._on, person_of(caller), caller.principal.tenant
        taken = await on.throttle.factor(person, ip=caller.ip, session=caller.principal.credential)
        decision = await on.gate.decide(caller, own(Action.FACTOR_ADDED, person, enrolling=True))
        async with on.gate.transaction(decision) as work:
            await self._must_be_fresh(work, caller, person, enrolling=True)
            used = await totp.use(
                work.connection, on.secrets, tenant=tenant, person=person, code=code, confirming=factor
            )
            if used is None:
                raise Validation(fields=(FieldProblem("/code", "not-allowed"),))
            work.record(resource_type="factor", resource_id=str(factor))
            begun = await self._renewed(work, caller, because="factor-changed", proved=True)
        await on.throttle.right(taken)
        return begun

    async def plan_passkey(self, caller: Caller) -> Asked:
        """Ask the browser for a new passkey. Raises StepUpRequired where nothing was shown just now."""
        on, person = self._on, person_of(caller)
        decision = await on.gate.decide(caller, own(Action.FACTOR_ADDED, person, enrolling=True))
        async with on.gate.reading(decision) as connection:
            row = await connection.fetchrow(_ME, person)
            await self._fresh_or_first(connection, caller, person, enrolling=True)
            return await on.passkeys.plan(connection, person=person, account="" if row is None else row["email"])

    async def add_passkey(
        self, caller: Caller, *, challenge: UUID, credential: dict[str, Any], name: str
    ) -> tuple[UUID, Begun]:
        """Keep a new passkey. Raises Validation where it does not fit, Conflict, StepUpRequired."""
        on, person = self._on, person_of(caller)
        decision = await on.gate.decide(caller, own(Action.FACTOR_ADDED, person, enrolling=True))
        async with on.gate.transaction(decision) as work:
            await self._must_be_fresh(work, caller, person, enrolling=True)
            factor = await on.passkeys.register(
                work.connection, person=person, challenge=challenge, credential=credential, name=_named(name)
            )
            work.record(resource_type="factor", resource_id=str(factor))
            return factor, await self._renewed(work, caller, because="factor-changed", proved=True)

    async def renew_recovery_codes(self, caller: Caller) -> tuple[Secret[str], ...]:
        """Make ten new recovery codes; the old ones are worthless. Raises StepUpRequired, Conflict without a factor."""
        on, person = self._on, person_of(caller)
        decision = await on.gate.decide(caller, own(Action.FACTOR_ADDED, person))
        async with on.gate.transaction(decision) as work:
            if not await self._must_be_fresh(work, caller, person):
                raise Conflict("Set up a second factor first: recovery codes stand in for one")
            codes = await recovery_codes.renew(work.connection, person)
            work.record(resource_type="recovery_code", count=len(codes))
        return codes

    async def remove_factor(self, caller: Caller, *, factor: UUID) -> Begun:
        """Remove a factor. Raises NotFound, StepUpRequired, Conflict where it is the last and one must be there."""
        on, person, tenant = self._on, person_of(caller), caller.principal.tenant
        decision = await on.gate.decide(caller, own(Action.FACTOR_REMOVED, person))
        settings = await on.gate.tenants.load(tenant)
        must = on.gate.policy.administers(caller.principal.roles, settings.own) or settings.second_factor
        async with on.gate.transaction(decision) as work:
            held = await self._must_be_fresh(work, caller, person)
            if factor not in held:
                raise NotFound("There is no such factor")
            if len(held) == 1 and must:
                raise Conflict("Your role, or your tenant, demands a second factor: set up another one first")
            await work.connection.fetchval(_REMOVE, person, factor)
            work.record(resource_type="factor", resource_id=str(factor))
            return await self._renewed(work, caller, because="factor-changed")

    async def step_up_challenge(self, caller: Caller) -> Asked:
        """Ask the browser for a signature of one of the caller's passkeys."""
        on, person = self._on, person_of(caller)
        decision = await on.gate.decide(caller, own(Action.SESSION_RENEWED, person))
        async with on.gate.reading(decision) as connection:
            return await on.passkeys.question(connection, purpose="step-up", person=person)

    async def step_up(self, caller: Caller, *, proof: Proof) -> Begun:
        """Take the second factor once more; the session gets a new id. Raises Unauthenticated, RateLimited."""
        on, person, tenant = self._on, person_of(caller), caller.principal.tenant
        decision = await on.gate.decide(caller, own(Action.SESSION_RENEWED, person))
        taken = await on.throttle.factor(person, ip=caller.ip, session=caller.principal.credential)
        async with on.gate.transaction(decision) as work:
            await hold(work.connection, person)
            if not await shown(work, on, tenant=tenant, person=person, proof=proof, purpose="step-up"):
                raise Validation(fields=(FieldProblem("/code", "not-allowed"),))
            begun = await on.sessions.renew(caller, proved=True, work=work)
        await on.throttle.right(taken)
        return begun

    async def _renewed(self, work: GateTransaction, caller: Caller, *, because: str, proved: bool = False) -> Begun:
        """Give this session a new id and end the others, all within `work`."""
        begun = await self._on.sessions.renew(caller, proved=proved, work=work)
        await end_all(work.connection, person_of(caller), because=because, but=begun.id)
        return begun

    async def _before(self, decision: Decision, person: UUID) -> tuple[Hashed | None, tuple[str, ...]]:
        async with self._on.gate.reading(decision) as connection:
            row = await connection.fetchrow(_HASH, person)
            me = await connection.fetchrow(_ME, person)
        stored = None if row is None else Hashed(row["hash"], row["pepper"])
        return stored, () if me is None else words_of(me)

    async def _must_be_fresh(
        self, work: GateTransaction, caller: Caller, person: UUID, *, enrolling: bool = False
    ) -> set[UUID]:
        """Lock the account, and return its factors. Raises StepUpRequired where it has some that were not shown.

        `enrolling`: who has none must have signed in just now.
        """
        if await work.connection.fetchval(_LOCK, person) is None:
            raise Unauthenticated
        return await self._fresh_or_first(work.connection, caller, person, enrolling=enrolling)

    async def _fresh_or_first(
        self, connection: Connection, caller: Caller, person: UUID, *, enrolling: bool
    ) -> set[UUID]:
        held = {row["id"] for row in await connection.fetch(_FACTORS, person)}
        # Whose provider showed a second factor has one, too: a session that is stale must not make itself fresh.
        if held or caller.principal.mfa:
            if not caller.principal.fresh:
                raise StepUpRequired
        elif enrolling and not await connection.fetchval(_JUST_NOW, caller.principal.credential):
            raise StepUpRequired("Sign in anew, and set up your first second factor within ten minutes")
        return held


def words_of(me: Record) -> tuple[str, ...]:
    """Return the words of an account that its password must not be made of."""
    return (me["email"], me["name"], me["tenant"])


def _named(name: str) -> str:
    text = " ".join(name.split())
    if not 1 <= len(text) <= _LONGEST_NAME or not text.isprintable():
        raise Validation(fields=(FieldProblem("/name", "malformed"),))
    return text


def _factor(row: Record) -> Factor:
    return Factor(row["id"], row["kind"], row["name"], row["created_at"], row["last_used_at"])
