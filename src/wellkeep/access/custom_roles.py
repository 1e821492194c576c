"""Roles that a tenant makes for itself, beside those of the package: made, changed, deleted, each an entry.

Rules: what a role may hold is bounded (`gate.custom_roles`); nobody changes a role that they hold, nor by a key of
theirs, so that nobody widens what somebody else granted them; a change holds on every worker within five seconds. The
entry names the role, its revision and SHA-256 over all that it holds. Deleting one takes it from everybody who has it,
in the same transaction, and their sessions end; its name is free again once no standing key carries it and no provider
gives it, for who held the old role would have the new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from wellkeep.access.review_hands import must_not_hold
from wellkeep.base.clock import Clock
from wellkeep.base.errors import Conflict, FieldProblem, Internal, NotFound, Validation
from wellkeep.base.permissions import Permission
from wellkeep.base.purpose import Purpose
from wellkeep.db.connection import Connection, Record
from wellkeep.gate import custom_roles
from wellkeep.gate.acts import Act, Caller, Role
from wellkeep.gate.gate import Gate
from wellkeep.ledger.actions import Action

MOST_ROLES = 100
_COLUMNS = """
SELECT name, permissions, groups, purposes, default_purpose, hidden, revision, changed_at, changed_by, deleted_at
FROM access.custom_role
"""
_LIST = _COLUMNS + "WHERE deleted_at IS NULL ORDER BY name"
_HELD = _COLUMNS + "WHERE name = $1 FOR UPDATE"
_COUNT = "SELECT count(*) FROM access.custom_role WHERE deleted_at IS NULL"
_CARRIED = """
SELECT EXISTS (SELECT FROM access.api_key WHERE $1 = ANY (roles) AND revoked_at IS NULL AND expires_at > $2)
  OR EXISTS (SELECT FROM access.provider_role WHERE role = $1)
"""
_PUT = """
INSERT INTO access.custom_role (tenant_id, name, permissions, groups, purposes, default_purpose, hidden, revision,
  digest, changed_at, changed_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $9, $10)
ON CONFLICT (tenant_id, name) DO UPDATE SET permissions = $3, groups = $4, purposes = $5, default_purpose = $6,
  hidden = $7, revision = access.custom_role.revision + 1, digest = $8, changed_at = $9, changed_by = $10,
  deleted_at = NULL
RETURNING revision, changed_at, changed_by
"""
_DELETE = """
UPDATE access.custom_role SET deleted_at = $2, revision = revision + 1, changed_at = $2, changed_by = $3
WHERE name = $1 AND deleted_at IS NULL RETURNING revision
"""
_TAKE_AWAY = """
UPDATE access.role_grant SET revoked_at = $2, revoked_by = $3 WHERE role = $1 AND revoked_at IS NULL RETURNING id
"""
_HOLDER = "Nobody changes a role that they hold, nor by a key of theirs: ask a colleague who may"
_PARTS = ("permissions", "groups", "purposes", "default_purpose", "hidden")


class RoleView(msgspec.Struct, frozen=True, kw_only=True):
    """A role as it is shown; `revision` is None for one of the package, `bound` says that it reaches the care team."""

    name: str
    own: bool
    bound: bool
    issuable: bool
    permissions: tuple[str, ...]
    groups: tuple[str, ...]
    purposes: tuple[str, ...]
    default_purpose: str
    hidden: tuple[str, ...]
    revision: int | None = None
    changed_at: datetime | None = None
    changed_by: str | None = None


class CustomRoles:
    """The roles of each tenant's own, managed by its own people."""

    def __init__(self, *, gate: Gate, clock: Clock) -> None:
        """Act through `gate`."""
        self._gate = gate
        self._clock = clock

    async def list(self, caller: Caller) -> list[RoleView]:
        """Return the roles that there are in the caller's tenant: the package's, then its own."""
        decision = await self._gate.decide(caller, Act(Permission.ROLE_READ, Action.ROLE_READ, "role"))
        settings = await self._gate.tenants.load(decision.tenant)
        bound = frozenset[str]() if settings.own is None else settings.own.care_team
        async with self._gate.transaction(decision) as work:
            rows = await work.connection.fetch(_LIST)
            work.record(count=len(rows))
        built_in = [_view(role, None, bound=bound) for role in self._gate.policy.roles.roles.values()]
        return built_in + [
            _view(role, row, bound=bound) for row in rows if (role := custom_roles.read(dict(row))) is not None
        ]

    async def get(self, caller: Caller, name: str) -> RoleView:
        """Return the role of that name. Raises NotFound."""
        for view in await self.list(caller):
            if view.name == name:
                return view
        raise NotFound("There is no role of this name")

    async def put(self, caller: Caller, role: Role) -> RoleView:
        """Make `role`, or replace the one of its name; returns it as it then stands.

        Raises Validation (what is beyond the bounds), Forbidden for a role that the caller holds, Conflict.
        """
        act = Act(Permission.ROLE_CHANGE, Action.ROLE_CHANGED, "role", resource_id=role.name)
        decision = await self._gate.decide(caller, act)
        now, digest = self._clock.now(), custom_roles.digest(role)
        async with self._gate.transaction(decision) as work:
            self._check(role)
            await must_not_hold(work.connection, caller.principal, (role.name,), why=_HOLDER)
            row = await work.connection.fetchrow(_HELD, role.name)
            if row is None or row["deleted_at"] is not None:
                await _must_be_free(work.connection, role.name, now)
            before = None if row is None or row["deleted_at"] is not None else custom_roles.read(dict(row))
            stored = await work.connection.fetchrow(
                _PUT, decision.tenant, role.name, *_columns(role), digest, now, caller.principal.id
            )
            if stored is None:
                raise Internal("A role was not stored")
            different = tuple(name for name in _PARTS if before is None or getattr(before, name) != getattr(role, name))
            work.record(fields=different, digest=digest, revision=stored["revision"])
        self._gate.tenants.forget(decision.tenant)
        settings = await self._gate.tenants.load(decision.tenant)
        return _view(role, stored, bound=frozenset() if settings.own is None else settings.own.care_team)

    def _check(self, role: Role) -> None:
        problems = custom_roles.problems(role, self._gate.policy.roles)
        if problems:
            raise Validation(fields=tuple(FieldProblem(path, code) for path, code in problems))

    async def delete(self, caller: Caller, name: str) -> None:
        """Delete the role of that name, and take it from whoever has it. Raises NotFound, Forbidden."""
        act = Act(Permission.ROLE_CHANGE, Action.ROLE_CHANGED, "role", resource_id=name)
        decision = await self._gate.decide(caller, act)
        now, by = self._clock.now(), caller.principal.id
        async with self._gate.transaction(decision) as work:
            revision = await work.connection.fetchval(_DELETE, name, now, by)
            if revision is None:
                raise NotFound("There is no role of this name that is your own")
            taken = await work.connection.fetch(_TAKE_AWAY, name, now, by)
            work.record(fields=("deleted",), revision=revision, count=len(taken))
        self._gate.tenants.forget(decision.tenant)


def own_role(
    name: str,
    *,
    permissions: Sequence[Permission],
    groups: Sequence[str],
    purposes: Sequence[Purpose],
    default_purpose: Purpose,
    hidden: Sequence[str] = (),
) -> Role:
    """Return a tenant's own role of these parts."""
    return Role(
        name=name,
        permissions=frozenset(permissions),
        groups=frozenset(groups),
        purposes=frozenset(purposes),
        default_purpose=default_purpose,
        hidden=frozenset(hidden),
    )


async def _must_be_free(connection: Connection, name: str, now: datetime) -> None:
    """Raise Conflict where a new role of that name would be one too many, or somebody's at once."""
    if await connection.fetchval(_COUNT) >= MOST_ROLES:
        raise Conflict("A tenant has at most 100 roles of its own")
    if await connection.fetchval(_CARRIED, name, now):
        raise Conflict("A key or a provider gives a deleted role of this name: end that first, or choose another name")


def _columns(role: Role) -> tuple[object, ...]:
    return (
        sorted(role.permissions),
        sorted(role.groups),
        sorted(role.purposes),
        role.default_purpose.value,
        sorted(role.hidden),
    )


def _view(role: Role, row: Record | None, *, bound: frozenset[str]) -> RoleView:
    return RoleView(
        name=role.name,
        own=row is not None,
        bound=role.name in bound,
        issuable=role.issuable,
        permissions=tuple(sorted(role.permissions)),
        groups=tuple(sorted(role.groups)),
        purposes=tuple(sorted(role.purposes)),
        default_purpose=role.default_purpose.value,
        hidden=tuple(sorted(role.hidden)),
        revision=None if row is None else row["revision"],
        changed_at=None if row is None else row["changed_at"],
        changed_by=None if row is None else row["changed_by"],
    )
