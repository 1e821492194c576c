"""Who somebody of a provider is here: known by issuer and subject, made at the first sign-in, roles as of today.

Rules: an account is found by issuer and subject and by nothing else; an e-mail address that somebody here has already
joins nobody to anybody, the sign-in is refused. An account is made only for who gets a role. At each sign-in the roles
that came from the provider are those that its claims give now: what is gone is revoked, which ends the person's other
sessions; what somebody here took away by hand does not come back by itself. Roles given here are not touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from wellkeep.access.oidc_roles import display_name, mapped, verified_email
from wellkeep.access.oidc_tokens import Claims
from wellkeep.access.people import kept_email
from wellkeep.access.persons import at_the_door, own
from wellkeep.access.providers import Provider
from wellkeep.access.sessions import Visitor
from wellkeep.base.errors import Conflict, Forbidden, Unauthenticated, Validation
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.db.connection import Connection
from wellkeep.db.pool import Pool
from wellkeep.gate.gate import Gate
from wellkeep.gate.transaction import GateTransaction
from wellkeep.ledger.event import Action

_STAFF: Final = frozenset({"support"})

_FIND = "SELECT person_id FROM access.identity WHERE digest = $1"
_PERSON = """
INSERT INTO access.person (tenant_id, id, email, name, state, invited_by, created_at, joined_at)
SELECT wk.tenant(), $1, $2, $3, 'active', $4, now, now FROM (SELECT clock_timestamp() AS now) AS at
ON CONFLICT (tenant_id, email) DO NOTHING RETURNING id
"""
_IDENTITY = """
INSERT INTO access.identity (tenant_id, digest, person_id, created_at)
VALUES (wk.tenant(), $1, $2, clock_timestamp()) ON CONFLICT (tenant_id, digest) DO NOTHING RETURNING person_id
"""
_PROVIDER = "SELECT id FROM access.provider WHERE id = $1 FOR SHARE"
_STATE = "SELECT state FROM access.person WHERE id = $1 FOR UPDATE"
_REVOKE = """
UPDATE access.role_grant SET revoked_at = clock_timestamp(), revoked_by = $2
WHERE person_id = $1 AND revoked_at IS NULL
  AND ((granted_by = $2 AND role <> ALL ($3::text[])) OR (role = ANY ($3::text[]) AND expires_at <= clock_timestamp()))
RETURNING role
"""
_GRANT = """
INSERT INTO access.role_grant (tenant_id, id, person_id, role, granted_by, granted_at)
SELECT wk.tenant(), $1, $2, $3, $4, clock_timestamp()
WHERE NOT EXISTS (
  SELECT FROM access.role_grant AS old
  WHERE old.person_id = $2 AND old.role = $3 AND old.revoked_by <> $4
)
ON CONFLICT (tenant_id, person_id, role) WHERE revoked_at IS NULL DO NOTHING RETURNING role
"""


class _Twin(Exception):
    """The same person signed in for the first time elsewhere just now."""


class ProviderAccounts:
    """Finds, makes and keeps the accounts of people whom a provider vouches for."""

    def __init__(self, *, gate: Gate, pool: Pool) -> None:
        """Act through `gate`; look accounts up over `pool`, wk_app's."""
        self._gate = gate
        self._pool = pool

    async def person(self, provider: Provider, claims: Claims, *, visitor: Visitor) -> UUID:
        """Return the person whom these claims, all checked, are about, with the roles that they give now.

        Raises Forbidden where nobody is known and no role is given, Conflict where the e-mail is somebody else's here,
        Unauthenticated where the person is disabled or the provider was removed.
        """
        digest = identity_digest(provider.issuer, claims["sub"])
        roles = await self._roles(provider, claims)
        known = await self.known(provider.tenant, digest)
        if known is None:
            if not roles:
                raise Forbidden("Your identity provider gives you no role here. Ask whoever administers it.")
            try:
                return await self._make(provider, claims, digest, roles, visitor)
            except _Twin:
                known = await self.known(provider.tenant, digest)
        if known is None:
            raise Conflict("Somebody here has this e-mail address already. Ask whoever administers this tenant.")
        await self._renew(provider, known, roles, visitor)
        return known

    async def known(self, tenant: UUID, digest: bytes) -> UUID | None:
        """Return the person of this identity, or None."""
        async with self._pool.tenant_transaction(tenant=tenant) as connection:
            found: UUID | None = await connection.fetchval(_FIND, digest)
        return found

    async def _roles(self, provider: Provider, claims: Claims) -> frozenset[str]:
        """Return the roles that the claims give and that people may have there today."""
        settings = await self._gate.tenants.load(provider.tenant)
        found = ((name, self._gate.policy.role(name, settings)) for name in mapped(claims, provider.roles))
        staff = provider.tenant == PLATFORM_TENANT
        return frozenset(
            name for name, role in found if role is not None and role.issuable and (staff or name not in _STAFF)
        )

    async def _make(
        self, provider: Provider, claims: Claims, digest: bytes, roles: Collection[str], visitor: Visitor
    ) -> UUID:
        person, by = uuid7(), str(provider.id)
        name = display_name(claims) or f"Somebody of {provider.name}"
        async with self._acting(provider, person, Action.USER_JOINED, visitor) as work:
            connection = work.connection
            await _must_stand(connection, provider.id)
            if await connection.fetchval(_PERSON, person, _email(claims, person), name, by) is None:
                raise _Twin
            if await connection.fetchval(_IDENTITY, digest, person) is None:
                raise _Twin
            work.record()
            await _grant(work, person, by, roles)
        return person

    async def _renew(self, provider: Provider, person: UUID, roles: Collection[str], visitor: Visitor) -> None:
        by = str(provider.id)
        async with self._acting(provider, person, Action.ACCOUNT_READ, visitor) as work:
            await _must_stand(work.connection, provider.id)
            if await work.connection.fetchval(_STATE, person) != "active":
                raise Unauthenticated
            revoked = await work.connection.fetch(_REVOKE, person, by, sorted(roles))
            if revoked:
                work.record(action=Action.ROLE_REVOKED, fields=tuple(sorted(row["role"] for row in revoked)))
            await _grant(work, person, by, roles)
            work.record()

    @asynccontextmanager
    async def _acting(
        self, provider: Provider, person: UUID, action: Action, visitor: Visitor
    ) -> AsyncIterator[GateTransaction]:
        caller = at_the_door(
            tenant=provider.tenant, person=person, request=visitor.request, ip=visitor.ip, agent=visitor.agent
        )
        decision = await self._gate.decide(caller, own(action, person, enrolling=True))
        async with self._gate.transaction(decision) as work:
            yield work


def identity_digest(issuer: str, subject: str) -> bytes:
    """Return what stands for somebody at an issuer: SHA-256, each part with its length before it."""
    parts = (text.encode("utf-8", "surrogatepass") for text in (issuer, subject))
    return hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()


async def _must_stand(connection: Connection, provider: UUID) -> None:
    """Keep the provider from being removed until the end of the transaction. Raises Unauthenticated."""
    if await connection.fetchval(_PROVIDER, provider) is None:
        raise Unauthenticated


async def _grant(work: GateTransaction, person: UUID, by: str, roles: Collection[str]) -> None:
    granted = [
        role for role in sorted(roles) if await work.connection.fetchval(_GRANT, uuid7(), person, role, by) is not None
    ]
    if granted:
        work.record(action=Action.ROLE_GRANTED, fields=tuple(granted))


def _email(claims: Claims, person: UUID) -> str:
    """Return the address that the provider verified, else one that stands for the person and is nobody's."""
    given = verified_email(claims)
    try:
        return kept_email(given) if given is not None else f"{person.hex}@provider.invalid"
    except Validation:
        return f"{person.hex}@provider.invalid"
