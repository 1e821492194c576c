"""API keys: issued, listed, revoked, each of them an entry.

Rules: a key is shown once, in the answer to its making, and never again; it expires (90 days, 400 at most); its roles
must be issuable; its scopes narrow and never widen, and a key that is itself narrowed issues none that is wider. The
entry of a new key names its roles. A revoked key stays revoked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from wellkeep.access import key_format
from wellkeep.base.clock import Clock
from wellkeep.base.errors import Conflict, FieldProblem, Forbidden, NotFound, Validation
from wellkeep.base.ids import uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.secrets import Secret
from wellkeep.db.connection import Record
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.gate.gate import Gate
from wellkeep.ledger.event import Action

DEFAULT_DAYS = 90
LONGEST_DAYS = 400
_LISTED = 1_000
_NAME_LENGTH = 63

_INSERT = """
INSERT INTO access.api_key (tenant_id, id, name, prefix, digest, roles, scopes, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""
_TENANT_STATE = "SELECT state FROM wk.tenants"
_LIST = """
SELECT id, tenant_id, name, prefix, roles, scopes, created_at, expires_at, last_used_at, revoked_at
FROM access.api_key ORDER BY id DESC LIMIT $1
"""
_REVOKE = "UPDATE access.api_key SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL RETURNING id"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What may be known of a key; times are aware UTC. `scopes` None: all that the roles permit."""

    id: UUID
    tenant: UUID
    name: str
    prefix: str
    roles: tuple[str, ...]
    scopes: tuple[str, ...] | None
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key and, this once, the key itself."""

    about: ApiKey
    key: Secret[str]


class ApiKeys:
    """Manages the API keys of a deployment."""

    def __init__(self, *, gate: Gate, clock: Clock, environment: str) -> None:
        """Issue keys of `environment` through `gate`."""
        self._gate = gate
        self._clock = clock
        self._environment = environment

    async def create(
        self,
        caller: Caller,
        *,
        tenant: UUID,
        name: str,
        roles: Sequence[str],
        scopes: Sequence[Permission] | None = None,
        days: int = DEFAULT_DAYS,
    ) -> IssuedKey:
        """Issue a key of `tenant` that expires after `days`.

        Raises Forbidden, Validation (with the fields at fault), NotFound and Conflict where the tenant is not there or
        closed, LedgerUnavailable.
        """
        key_id = uuid7()
        decision = await self._decide_creation(caller, tenant=tenant, key_id=key_id)
        self._check(name=name, roles=roles, days=days)
        await self._check_scopes(decision, roles, scopes)
        narrowed = None if scopes is None else tuple(sorted(scope.value for scope in scopes))
        prefix, now = key_format.prefix(self._environment, key_id), self._clock.now()
        about = ApiKey(key_id, tenant, name, prefix, tuple(roles), narrowed, now, now + timedelta(days=days))
        key = key_format.new_secret(self._environment, key_id)
        async with self._gate.transaction(decision) as work:
            if await work.connection.fetchval(_TENANT_STATE) != "active":
                raise Conflict("This tenant is closed, so no key of it would work")
            await work.connection.execute(
                _INSERT,
                *(tenant, key_id, name, about.prefix, key_format.digest(key.reveal())),
                *(about.roles, about.scopes, about.created_at, about.expires_at),
            )
            work.record(fields=about.roles)
        return IssuedKey(about, key)

    async def _decide_creation(self, caller: Caller, *, tenant: UUID, key_id: UUID) -> Decision:
        """Decide in the tenant's own log; a tenant that nobody made gets no log, so its refusal is in the caller's."""
        there = (await self._gate.tenants.load(tenant)).exists
        target = tenant if there else caller.principal.tenant
        act = _act(caller, Permission.APIKEY_CREATE, Action.APIKEY_CREATE, tenant=target, key_id=key_id)
        decision = await self._gate.decide(caller, act)
        if not there:
            async with self._gate.reading(decision):  # whose key was revoked is told nothing
                raise NotFound("There is no such tenant")
        return decision

    async def list(self, caller: Caller, *, tenant: UUID) -> list[ApiKey]:
        """Return the keys of `tenant`, newest first, at most 1,000; never a digest, let alone a key."""
        decision = await self._gate.decide(
            caller, _act(caller, Permission.APIKEY_READ, Action.APIKEY_LIST, tenant=tenant)
        )
        async with self._gate.transaction(decision) as work:
            rows = await work.connection.fetch(_LIST, _LISTED)
            work.record(count=len(rows))
        return [_about(row) for row in rows]

    async def revoke(self, caller: Caller, *, tenant: UUID, key_id: UUID) -> None:
        """Revoke a key: the next request with it is refused on every worker. Raises NotFound."""
        decision = await self._gate.decide(
            caller, _act(caller, Permission.APIKEY_REVOKE, Action.APIKEY_REVOKE, tenant=tenant, key_id=key_id)
        )
        async with self._gate.transaction(decision) as work:
            if await work.connection.fetchval(_REVOKE, key_id, self._clock.now()) is None:
                raise NotFound("There is no such key, or it was revoked before")
            work.record()

    def _check(self, *, name: str, roles: Sequence[str], days: int) -> None:
        known = self._gate.policy.roles.roles
        problems = [
            FieldProblem(f"/roles/{place}", "unknown-role")
            for place, role in enumerate(roles)
            if role not in known or not known[role].issuable
        ]
        if not roles:
            problems.append(FieldProblem("/roles", "required"))
        elif len(set(roles)) != len(roles):
            problems.append(FieldProblem("/roles", "duplicate"))
        if not 1 <= days <= LONGEST_DAYS:
            problems.append(FieldProblem("/days", "out-of-range"))
        if not _is_name(name):
            problems.append(FieldProblem("/name", "malformed"))
        if problems:
            raise Validation(fields=tuple(problems))

    async def _check_scopes(
        self, decision: Decision, roles: Sequence[str], scopes: Sequence[Permission] | None
    ) -> None:
        """Refuse what a narrowed key may not pass on: a scope that it lacks, and a role that is not its own."""
        principal = decision.caller.principal
        held = principal.scopes
        if held is None:
            return
        if scopes is None or not held.issuperset(scopes) or not set(roles) <= set(principal.roles):
            await self._gate.failed(decision, error=Forbidden.code)
            raise Forbidden("A key whose scopes are narrowed can't issue one that may do more")


def _act(caller: Caller, permission: Permission, action: Action, *, tenant: UUID, key_id: UUID | None = None) -> Act:
    return Act(
        permission,
        action,
        resource_type="api_key",
        resource_id=None if key_id is None else str(key_id),
        tenant=None if tenant == caller.principal.tenant else tenant,
    )


def _is_name(name: str) -> bool:
    allowed = "abcdefghijklmnopqrstuvwxyz0123456789._-"
    return 0 < len(name) <= _NAME_LENGTH and name[0].isalnum() and all(letter in allowed for letter in name)


def _about(row: Record) -> ApiKey:
    return ApiKey(
        id=row["id"],
        tenant=row["tenant_id"],
        name=row["name"],
        prefix=row["prefix"],
        roles=tuple(row["roles"]),
        scopes=None if row["scopes"] is None else tuple(row["scopes"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
        revoked_at=row["revoked_at"],
    )
