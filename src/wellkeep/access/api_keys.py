"""API keys: issued, changed, rotated, listed, revoked, each of them an entry.

Rules: a key is shown once, in the answer to its making, and never again; it expires (90 days, 400 at most); its roles
must be issuable; its scopes narrow and never widen, and a key that is itself narrowed or bounded issues none that is
less so, and widens none. A rotation makes a key like the old one, which ends after the overlap and never later than it
was to; both are counted as one, so no rotation gives more requests or records. The entry of a new key names its roles.
A revoked key stays revoked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from wellkeep.access import api_key_rows, key_bounds, key_format, scopes
from wellkeep.access.api_key_rows import ApiKey
from wellkeep.access.away import away
from wellkeep.access.customers import must_be_theirs
from wellkeep.access.key_bounds import Bounds
from wellkeep.base.clock import Clock
from wellkeep.base.errors import Conflict, FieldProblem, Forbidden, NotFound, Validation
from wellkeep.base.ids import uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.secrets import Secret
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.gate.gate import Gate
from wellkeep.gate.transaction import GateTransaction
from wellkeep.ledger.event import Action

__all__ = ["DEFAULT_DAYS", "LONGEST_DAYS", "LONGEST_OVERLAP", "ApiKey", "ApiKeys", "Bounds", "IssuedKey"]

DEFAULT_DAYS = 90
LONGEST_DAYS = 400
LONGEST_OVERLAP = timedelta(days=30)
"""Two keys of one name live beside each other no longer than that."""
_NAME_LENGTH = 63
_MOST_SCOPES = 64
_NO_BOUNDS = Bounds()

_TENANT_STATE = "SELECT state FROM wk.tenants"


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key and, this once, the key itself; where it takes another's place, when that one ends."""

    about: ApiKey
    key: Secret[str]
    old_ends: datetime | None = None


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
        scopes: Sequence[str] | None = None,
        days: int = DEFAULT_DAYS,
        bounds: Bounds = _NO_BOUNDS,
    ) -> IssuedKey:
        """Issue a key of `tenant` that expires after `days`.

        Raises Forbidden, Validation (with the fields at fault), NotFound and Conflict where the tenant is not there or
        closed, LedgerUnavailable.
        """
        key_id = uuid7()
        decision = await self._decide_creation(caller, tenant=tenant, key_id=key_id)
        await must_be_theirs(self._gate, decision)
        await self._check(tenant, name=name, roles=roles, scopes=scopes, days=days)
        bounds = await self._check_scopes(decision, roles, scopes, key_bounds.checked(bounds))
        now = self._clock.now()
        narrowed = None if scopes is None else tuple(sorted(set(scopes)))
        prefix, until = key_format.prefix(self._environment, key_id), now + timedelta(days=days)
        about = ApiKey(key_id, tenant, name, prefix, tuple(roles), narrowed, now, until, bounds=bounds)
        async with self._gate.transaction(decision) as work:
            key = await self._issue(work, about, caller)
            work.record(fields=about.roles)
        return IssuedKey(about, key)

    async def _issue(self, work: GateTransaction, about: ApiKey, caller: Caller) -> Secret[str]:
        """Store a new key and return it. Raises Conflict where the tenant is closed."""
        if await work.connection.fetchval(_TENANT_STATE) != "active":
            raise Conflict("This tenant is closed, so no key of it would work")
        key = key_format.new_secret(self._environment, about.id)
        digest = key_format.digest(key.reveal())
        await api_key_rows.insert(work.connection, about, digest=digest, by=caller.principal.id)
        return key

    async def _decide_creation(self, caller: Caller, *, tenant: UUID, key_id: UUID) -> Decision:
        """Decide in the tenant's own log; a tenant that nobody made gets no log, so its refusal is in the caller's."""
        named, there = await away(self._gate, caller, tenant)
        target = named or caller.principal.tenant
        act = _act(caller, Permission.APIKEY_CREATE, Action.APIKEY_CREATE, tenant=target, key_id=key_id)
        decision = await self._gate.decide(caller, act)
        if not there:
            async with self._gate.reading(decision):  # whose key was revoked is told nothing
                raise NotFound("There is no such tenant")
        return decision

    async def rotate(
        self, caller: Caller, *, tenant: UUID, key_id: UUID, overlap: timedelta, days: int | None = None
    ) -> IssuedKey:
        """Issue a key in the place of another, with its name, roles, scopes and bounds; that one ends after `overlap`.

        It lives as long as the old one was made for, unless `days` says. Raises Forbidden, Validation, NotFound,
        Conflict where the old key has ended or was replaced already.
        """
        now = self._clock.now()
        act = _act(caller, Permission.APIKEY_CREATE, Action.APIKEY_ROTATE, tenant=tenant, key_id=key_id)
        decision = await self._gate.decide(caller, act)
        await must_be_theirs(self._gate, decision)
        if not timedelta() <= overlap <= LONGEST_OVERLAP:
            raise Validation(fields=(FieldProblem("/overlap_hours", "out-of-range"),))
        new = uuid7()
        async with self._gate.transaction(decision) as work:
            old = await api_key_rows.held(work.connection, key_id)
            if old.revoked_at is not None or old.expires_at <= now or old.replaced_by is not None:
                raise Conflict("This key has ended, or another took its place already")
            lives = old.expires_at - old.created_at if days is None else timedelta(days=days)
            await self._check(tenant, name=old.name, roles=old.roles, scopes=old.scopes, days=lives.days)
            bounds = self._passed_on(decision, old.roles, old.scopes, old.bounds)
            prefix = key_format.prefix(self._environment, new)
            about = replace(old, id=new, prefix=prefix, created_at=now, expires_at=now + lives, bounds=bounds)
            about = replace(about, last_used_at=None, lineage=old.lineage or old.id)
            key = await self._issue(work, about, caller)
            ends = min(old.expires_at, now + overlap)
            await api_key_rows.retire(work.connection, key_id, ends=ends, by=new)
            work.record(fields=old.roles)
            work.record(action=Action.APIKEY_CREATE, resource_id=str(new), fields=old.roles)
        return IssuedKey(about, key, ends)

    async def change(self, caller: Caller, *, tenant: UUID, key_id: UUID, bounds: Bounds) -> ApiKey:
        """Give a key other bounds, which hold within half a minute. Raises Forbidden, Validation, NotFound.

        A key that is narrowed or bounded itself changes none: it could widen its own.
        """
        act = _act(caller, Permission.APIKEY_CREATE, Action.APIKEY_CHANGE, tenant=tenant, key_id=key_id)
        decision = await self._gate.decide(caller, act)
        await must_be_theirs(self._gate, decision)
        bounds = key_bounds.checked(bounds)
        principal = caller.principal
        if principal.scopes is not None or key_bounds.of(principal) != _NO_BOUNDS:
            await self._gate.failed(decision, error=Forbidden.code)
            raise Forbidden("A key that is narrowed or bounded itself changes no bounds")
        async with self._gate.transaction(decision) as work:
            about = await api_key_rows.held(work.connection, key_id)
            if about.revoked_at is not None:
                raise Conflict("This key was revoked")
            await api_key_rows.bind(work.connection, key_id, bounds)
            work.record(fields=("networks", "records", "requests"))
        return replace(about, bounds=bounds)

    async def list(self, caller: Caller, *, tenant: UUID) -> list[ApiKey]:
        """Return the keys of `tenant`, newest first, at most 1,000; never a digest, let alone a key."""
        decision = await self._gate.decide(
            caller, _act(caller, Permission.APIKEY_READ, Action.APIKEY_LIST, tenant=tenant)
        )
        async with self._gate.transaction(decision) as work:
            found = await api_key_rows.newest(work.connection)
            work.record(count=len(found))
        return found

    async def read(self, caller: Caller, *, tenant: UUID, key_id: UUID) -> ApiKey:
        """Return what may be known of one key. Raises NotFound."""
        act = _act(caller, Permission.APIKEY_READ, Action.APIKEY_LIST, tenant=tenant, key_id=key_id)
        decision = await self._gate.decide(caller, act)
        async with self._gate.transaction(decision) as work:
            found = await api_key_rows.by_id(work.connection, key_id)
            work.record(count=1)
        return found

    async def revoke(self, caller: Caller, *, tenant: UUID, key_id: UUID) -> None:
        """Revoke a key: the next request with it is refused on every worker. Raises NotFound."""
        decision = await self._gate.decide(
            caller, _act(caller, Permission.APIKEY_REVOKE, Action.APIKEY_REVOKE, tenant=tenant, key_id=key_id)
        )
        async with self._gate.transaction(decision) as work:
            if not await api_key_rows.revoke(work.connection, key_id, at=self._clock.now()):
                raise NotFound("There is no such key, or it was revoked before")
            work.record()

    async def _check(
        self, tenant: UUID, *, name: str, roles: Sequence[str], scopes: Sequence[str] | None, days: int
    ) -> None:
        settings = await self._gate.tenants.load(tenant)
        known = [self._gate.policy.role(role, settings) for role in roles]
        problems = [
            FieldProblem(f"/roles/{place}", "unknown-role")
            for place, role in enumerate(known)
            if role is None or not role.issuable
        ]
        if not roles:
            problems.append(FieldProblem("/roles", "required"))
        elif len(set(roles)) != len(roles):
            problems.append(FieldProblem("/roles", "duplicate"))
        problems += _unknown_scopes(scopes or ())
        if not 1 <= days <= LONGEST_DAYS:
            problems.append(FieldProblem("/days", "out-of-range"))
        if not _is_name(name):
            problems.append(FieldProblem("/name", "malformed"))
        if problems:
            raise Validation(fields=tuple(problems))

    async def _check_scopes(
        self, decision: Decision, roles: Sequence[str], scopes: Sequence[str] | None, bounds: Bounds
    ) -> Bounds:
        """Return the bounds of what is issued; refuses, on record, what a narrowed or bounded key may not pass on."""
        try:
            return self._passed_on(decision, roles, scopes, bounds)
        except Forbidden as refused:
            await self._gate.failed(decision, error=refused.code)
            raise

    def _passed_on(
        self, decision: Decision, roles: Sequence[str], wanted: Sequence[str] | None, bounds: Bounds
    ) -> Bounds:
        """Return `bounds` as whoever acts may pass them on. Raises Forbidden.

        A narrowed key passes on none but its own roles, and no scope that it lacks; a bounded one nothing less bounded.
        """
        principal = decision.caller.principal
        held = scopes.held(principal)
        narrower = held is None or (
            wanted is not None and held.hold(scopes.read(wanted)) and set(roles) <= set(principal.roles)
        )
        if not narrower:
            raise Forbidden("A key whose scopes are narrowed can't issue one that may do more")
        passed = key_bounds.inherited(bounds, key_bounds.of(principal))
        if passed is None:
            raise Forbidden("A key that is bounded can't issue one that is less so")
        return passed


def _unknown_scopes(asked: Sequence[str]) -> list[FieldProblem]:
    problems = [
        FieldProblem(f"/scopes/{place}", "unknown-scope") for place, one in enumerate(asked) if not scopes.known(one)
    ]
    return [*problems, FieldProblem("/scopes", "too-long")] if len(asked) > _MOST_SCOPES else problems


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
