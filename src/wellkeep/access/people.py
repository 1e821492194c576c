"""People of a tenant: invited, listed, changed, disabled, and what roles they hold; each of it an entry.

Rules: nobody gives a role to themselves, takes one from or disables themselves; a role is given only where it is one
that people may have there; a key whose scopes are narrowed gives none, and staff of the platform give none to a
customer's people but their first administrator (`customers`). A person of one tenant does not exist for another.
Entries hold ids and roles, never an e-mail or a name. Taking a role away, and disabling, end every session of the
person in the same transaction (triggers of the table see to it). Who is reset has no password from then on.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from wellkeep.access.away import away
from wellkeep.access.customers import must_be_theirs, must_found
from wellkeep.access.invitations import Invitation, Kind, invite_to, void
from wellkeep.access.review_hands import is_behind
from wellkeep.base.errors import Conflict, FieldProblem, Forbidden, NotFound, Validation
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.permissions import Permission
from wellkeep.db.connection import Connection, Record
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.gate.gate import Gate
from wellkeep.ledger.event import Action

MOST_LETTERS: Final = 100
_LISTED = 1_000
_STAFF: Final = frozenset({"support"})
"""Roles that mean nothing outside the platform's own tenant."""

_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[a-z0-9](?:[a-z0-9.-]{0,188}[a-z0-9])?")
_TENANT_STATE = "SELECT state FROM wk.tenants"
_INSERT = """
INSERT INTO access.person (tenant_id, id, email, name, invited_by, created_at)
VALUES (wk.tenant(), $1, $2, $3, $4, clock_timestamp())
ON CONFLICT (tenant_id, email) DO NOTHING RETURNING id
"""
_GRANT = """
INSERT INTO access.role_grant (tenant_id, id, person_id, role, granted_by, granted_at, expires_at)
VALUES (wk.tenant(), $1, $2, $3, $4, clock_timestamp(), $5)
ON CONFLICT (tenant_id, person_id, role) WHERE revoked_at IS NULL DO NOTHING RETURNING id
"""
_REVOKE_EXPIRED = """
UPDATE access.role_grant SET revoked_at = clock_timestamp(), revoked_by = $3
WHERE person_id = $1 AND role = $2 AND revoked_at IS NULL AND expires_at <= clock_timestamp()
"""
_REVOKE = """
UPDATE access.role_grant SET revoked_at = clock_timestamp(), revoked_by = $3
WHERE person_id = $1 AND role = $2 AND revoked_at IS NULL RETURNING id
"""
_SELECT = """
SELECT p.id, p.tenant_id, p.email, p.name, p.state, p.created_at, p.joined_at, p.disabled_at, p.last_seen_at,
  coalesce((SELECT array_agg(g.role ORDER BY g.role) FROM access.role_grant AS g WHERE g.person_id = p.id
    AND g.revoked_at IS NULL AND (g.expires_at IS NULL OR g.expires_at > clock_timestamp())), '{}') AS roles,
  coalesce((SELECT array_agg(f.kind ORDER BY f.kind) FROM access.factor AS f WHERE f.person_id = p.id
    AND f.confirmed_at IS NOT NULL), '{}') AS factors
FROM access.person AS p
"""
_LIST = _SELECT + " ORDER BY p.id DESC LIMIT $1"
_ONE = _SELECT + " WHERE p.id = $1"
_RENAME = "UPDATE access.person SET name = coalesce($2, name), email = coalesce($3, email) WHERE id = $1"
_HELD_EMAIL = "SELECT email FROM access.person WHERE id = $1 FOR UPDATE"
_DISABLE = """
UPDATE access.person SET state = 'disabled', disabled_at = clock_timestamp()
WHERE id = $1 AND state <> 'disabled' RETURNING id
"""
_ENABLE = """
UPDATE access.person SET state = CASE WHEN joined_at IS NULL THEN 'invited' ELSE 'active' END, disabled_at = NULL
WHERE id = $1 AND state = 'disabled' RETURNING id
"""
_STATE = "SELECT state FROM access.person WHERE id = $1 FOR UPDATE"


@dataclass(frozen=True, slots=True)
class Person:
    """What administrators may know of a person; `roles` are the grants that stand, `factors` the kinds set up."""

    id: UUID
    tenant: UUID
    email: str = field(repr=False)
    name: str = field(repr=False)
    state: str
    roles: tuple[str, ...]
    factors: tuple[str, ...]
    created_at: datetime
    joined_at: datetime | None
    disabled_at: datetime | None
    last_seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class Invited:
    """A person, and the link's token, this once; without one it goes out by mail."""

    person: UUID
    invitation: Invitation


class People:
    """Manages the people of a deployment's tenants."""

    def __init__(self, *, gate: Gate, mails: bool = False) -> None:
        """Act through `gate`; `mails`: links go out by mail rather than in the answer."""
        self._gate = gate
        self._mails = mails

    async def invite(self, caller: Caller, *, tenant: UUID, email: str, name: str, roles: Sequence[str]) -> Invited:
        """Make a person of `tenant` with these roles, who sets a password by the link's token.

        Raises Forbidden, Validation (with the fields at fault), Conflict where the tenant has one of this e-mail or is
        closed, NotFound where there is no such tenant, LedgerUnavailable.
        """
        person = uuid7()
        decision = await self._decide(caller, Permission.USER_CREATE, Action.USER_INVITED, tenant, person)
        address, called = await self._check(tenant, email=email, name=name, roles=roles)
        if roles:
            await self._may_give(decision)
        async with self._gate.transaction(decision) as work:
            connection, by = work.connection, caller.principal.id
            if await connection.fetchval(_TENANT_STATE) != "active":
                raise Conflict("This tenant is closed, so nobody could sign in there")
            await must_found(connection, decision, roles, known=self._gate.policy.roles)
            if await connection.fetchval(_INSERT, person, address, called, by) is None:
                raise Conflict("This tenant has a person with this e-mail already")
            for role in roles:
                await connection.execute(_GRANT, uuid7(), person, role, by, None)
            invitation = await invite_to(connection, person, kind="join", mails=self._mails)
            work.record(fields=tuple(roles))
        return Invited(person, invitation)

    async def list(self, caller: Caller, *, tenant: UUID) -> list[Person]:
        """Return the people of `tenant`, newest first, at most 1,000."""
        decision = await self._decide(caller, Permission.USER_READ, Action.USER_READ, tenant)
        async with self._gate.transaction(decision) as work:
            rows = await work.connection.fetch(_LIST, _LISTED)
            work.record(count=len(rows))
        return [_person(row) for row in rows]

    async def get(self, caller: Caller, *, tenant: UUID, person: UUID) -> Person:
        """Return one person. Raises NotFound."""
        decision = await self._decide(caller, Permission.USER_READ, Action.USER_READ, tenant, person)
        async with self._gate.transaction(decision) as work:
            row = await work.connection.fetchrow(_ONE, person)
            if row is None:
                raise NotFound
            work.record()
        return _person(row)

    async def change(
        self, caller: Caller, *, tenant: UUID, person: UUID, name: str | None = None, email: str | None = None
    ) -> None:
        """Change a person's name or e-mail; with the e-mail, links that were sent to the old one are void.

        Raises NotFound, Conflict, Validation.
        """
        decision = await self._decide(caller, Permission.USER_CHANGE, Action.USER_CHANGED, tenant, person)
        called = None if name is None else _name(name)
        address = None if email is None else kept_email(email)
        if address is not None:
            await self._may_give(decision)
            await must_be_theirs(self._gate, decision)
        async with self._gate.transaction(decision) as work:
            before = await work.connection.fetchrow(_HELD_EMAIL, person)
            if before is None:
                raise NotFound
            await work.connection.execute(_RENAME, person, called, address)
            if address not in {None, before["email"]}:
                await void(work.connection, person)
            changed = (("email", address), ("name", called))
            work.record(fields=tuple(what for what, value in changed if value is not None))

    async def grant(
        self, caller: Caller, *, tenant: UUID, person: UUID, role: str, until: datetime | None = None
    ) -> None:
        """Give a person a role, for good or `until`. Raises NotFound, Conflict where it is held already, Validation."""
        decision = await self._decide(caller, Permission.USER_CHANGE, Action.ROLE_GRANTED, tenant, person)
        await must_be_theirs(self._gate, decision)
        await self._must_be_another(decision, person)
        await self._check_roles(tenant, (role,))
        await self._may_give(decision)
        async with self._gate.transaction(decision) as work:
            await _must_be(work.connection, person, not_disabled=True)
            by = caller.principal.id
            await work.connection.execute(_REVOKE_EXPIRED, person, role, by)
            if until is not None and not await work.connection.fetchval("SELECT $1 > clock_timestamp()", until):
                raise Validation(fields=(FieldProblem("/until", "out-of-range"),))
            if await work.connection.fetchval(_GRANT, uuid7(), person, role, by, until) is None:
                raise Conflict("This person holds this role already")
            work.record(fields=(role,))

    async def revoke(self, caller: Caller, *, tenant: UUID, person: UUID, role: str) -> None:
        """Take a role from a person; it ends their sessions on every worker at once. Raises NotFound."""
        decision = await self._decide(caller, Permission.USER_CHANGE, Action.ROLE_REVOKED, tenant, person)
        await self._must_be_another(decision, person)
        async with self._gate.transaction(decision) as work:
            if await work.connection.fetchval(_REVOKE, person, role, caller.principal.id) is None:
                raise NotFound("This person does not hold this role")
            work.record(fields=(role,))

    async def disable(self, caller: Caller, *, tenant: UUID, person: UUID) -> None:
        """Let a person in no more: it ends their sessions on every worker at once. Raises NotFound."""
        decision = await self._decide(caller, Permission.USER_CHANGE, Action.USER_DISABLED, tenant, person)
        await self._must_be_another(decision, person)
        async with self._gate.transaction(decision) as work:
            if await work.connection.fetchval(_DISABLE, person) is None:
                raise NotFound("There is no such person, or they are disabled already")
            work.record()

    async def enable(self, caller: Caller, *, tenant: UUID, person: UUID) -> None:
        """Let a disabled person in again, with the roles that they still hold. Raises NotFound."""
        decision = await self._decide(caller, Permission.USER_CHANGE, Action.USER_ENABLED, tenant, person)
        await must_be_theirs(self._gate, decision)
        await self._must_be_another(decision, person)
        await self._may_give(decision)
        async with self._gate.transaction(decision) as work:
            if await work.connection.fetchval(_ENABLE, person) is None:
                raise NotFound("There is no such person, or they are not disabled")
            work.record()

    async def reset(self, caller: Caller, *, tenant: UUID, person: UUID, factors: bool = False) -> Invited:
        """Take a person's password, with `factors` the second factors too, and return what leads to a new one.

        Their sessions end. Raises NotFound, Conflict where the person is disabled.
        """
        decision = await self._decide(caller, Permission.USER_CHANGE, Action.USER_CHANGED, tenant, person)
        await self._must_be_another(decision, person)
        await self._may_give(decision)
        async with self._gate.transaction(decision) as work:
            state = await _must_be(work.connection, person, not_disabled=True)
            await must_found(work.connection, decision, None, known=self._gate.policy.roles, person=person)
            kind: Kind = "join" if state == "invited" else "reset"
            invitation = await invite_to(work.connection, person, kind=kind, mails=self._mails, factors=factors)
            work.record(fields=("password", "factors") if factors else ("password",))
        return Invited(person, invitation)

    async def _decide(
        self, caller: Caller, permission: Permission, action: Action, tenant: UUID, person: UUID | None = None
    ) -> Decision:
        """Decide in the tenant's own log; a tenant that nobody made has none, so its refusal is in the caller's."""
        named, there = await away(self._gate, caller, tenant)
        about = None if person is None else str(person)
        act = Act(permission, action, "person", resource_id=about, tenant=named)
        decision = await self._gate.decide(caller, act)
        if not there:
            async with self._gate.reading(decision):  # whose credential was revoked is told nothing
                raise NotFound("There is no such tenant")
        return decision

    async def _must_be_another(self, decision: Decision, person: UUID) -> None:
        async with self._gate.reading(decision) as connection:
            if await is_behind(connection, decision.caller.principal, person):
                raise Forbidden("Nobody does this to themselves, nor by a key of theirs: ask another administrator")

    async def _may_give(self, decision: Decision) -> None:
        """Refuse, on record, roles and ways into accounts that have some to a key that has less than its own roles."""
        if decision.caller.principal.scopes is not None:
            await self._gate.failed(decision, error=Forbidden.code)
            raise Forbidden("A key whose scopes are narrowed gives no roles, and no way into an account")

    async def _check(self, tenant: UUID, *, email: str, name: str, roles: Sequence[str]) -> tuple[str, str]:
        await self._check_roles(tenant, roles)
        return kept_email(email), _name(name)

    async def _check_roles(self, tenant: UUID, roles: Sequence[str]) -> None:
        settings = await self._gate.tenants.load(tenant)
        known = [self._gate.policy.role(role, settings) for role in roles]
        problems = [
            FieldProblem(f"/roles/{place}", "unknown-role")
            for place, role in enumerate(known)
            if role is None or not role.issuable or (role.name in _STAFF and tenant != PLATFORM_TENANT)
        ]
        if len(set(roles)) != len(roles):
            problems.append(FieldProblem("/roles", "duplicate"))
        if problems:
            raise Validation(fields=tuple(problems))


async def _must_be(connection: Connection, person: UUID, *, not_disabled: bool) -> str:
    """Lock the person's row and return their state. Raises NotFound, Conflict."""
    state: str | None = await connection.fetchval(_STATE, person)
    if state is None:
        raise NotFound
    if not_disabled and state == "disabled":
        raise Conflict("This person is disabled")
    return state


def kept_email(text: str) -> str:
    """Return the one spelling of an e-mail address that we keep. Raises Validation."""
    address = unicodedata.normalize("NFKC", text.strip()).lower()
    if _EMAIL.fullmatch(address) is None or ".." in address:
        raise Validation(fields=(FieldProblem("/email", "malformed"),))
    return address


def _name(text: str) -> str:
    """Return a name in NFC, one line of 1 to 100 letters. Raises Validation."""
    name = unicodedata.normalize("NFC", " ".join(text.split()))
    if not 1 <= len(name) <= MOST_LETTERS or any(unicodedata.category(letter)[0] == "C" for letter in name):
        raise Validation(fields=(FieldProblem("/name", "malformed"),))
    return name


def _person(row: Record) -> Person:
    return Person(
        id=row["id"],
        tenant=row["tenant_id"],
        email=row["email"],
        name=row["name"],
        state=row["state"],
        roles=tuple(row["roles"]),
        factors=tuple(row["factors"]),
        created_at=row["created_at"],
        joined_at=row["joined_at"],
        disabled_at=row["disabled_at"],
        last_seen_at=row["last_seen_at"],
    )
