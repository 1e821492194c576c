"""The policy: pure, total, data in and decision out.

Rules, in the order in which they refuse (the first that does is the decision's `rule`):

1. `deny:tenant`: only a principal of the platform reaches another tenant, and never with a permission that touches PHI.
2. `deny:platform`: permissions of the platform belong to principals of the platform tenant.
3. `deny:closed`: a closed tenant takes no act but the platform's.
4. `deny:no-role`: no role of the principal has the permission. An unknown role has none.
5. `deny:scope`: the key's scopes leave the permission out. Scopes narrow; they never grant.
6. `deny:purpose-required`: the tenant demands a purpose of use and the request declared none.
7. `deny:purpose`: no role that has the permission acts for the declared purpose.

Otherwise `role:<role>/<permission>`, with the field groups of those roles alone that grant this permission for this
purpose: what one role sees is not lent to what another may do.

The threat is a grant that nobody wrote down. So there is no default grant, no wildcard and no role without a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import msgspec

from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.permissions import Permission
from wellkeep.base.principal import Principal
from wellkeep.base.purpose import Purpose
from wellkeep.gate.acts import Act, Caller, Decision, TenantSettings

FIELD_GROUPS = frozenset({"clinical", "demographic", "contact", "identifier", "financial", "administrative"})
"""The groups that a field of a collection may be in."""

_NO_GROUPS: frozenset[str] = frozenset()
_CELLS_KEPT = 4096


class Role(msgspec.Struct, frozen=True):
    """One role: what it may do, which field groups it sees, what for.

    `default_purpose` stands in where a request declares none. A role that is not `issuable` is never given to a key.
    """

    name: str
    permissions: frozenset[Permission]
    groups: frozenset[str]
    purposes: frozenset[Purpose]
    default_purpose: Purpose
    issuable: bool = True


class RoleSet(msgspec.Struct, frozen=True):
    """All roles, and what is special about some permissions; `digest` is the SHA-256 of the file they came from.

    `phi` are the permissions that touch PHI, `purpose_demanded` those for which no purpose is guessed where the tenant
    demands one, `platform_only` those of platform principals, `across` those they may use upon another tenant.
    """

    roles: Mapping[str, Role]
    phi: frozenset[Permission]
    purpose_demanded: frozenset[Permission]
    platform_only: frozenset[Permission]
    across: frozenset[Permission]
    digest: bytes


class _Cell(msgspec.Struct, frozen=True):
    """What a tuple of roles gives for one permission and one declared purpose."""

    rule: str
    allowed: bool
    groups: frozenset[str]
    purpose: Purpose | None


class Policy:
    """Decides acts by the roles it was given; keeps the answers it has worked out already."""

    def __init__(self, roles: RoleSet) -> None:
        """Take `roles` as they are for the life of the process."""
        self.roles = roles
        self._cells: dict[tuple[tuple[str, ...], Permission, Purpose | None], _Cell] = {}

    def decide(self, caller: Caller, act: Act, *, settings: TenantSettings) -> Decision:
        """Decide `act` of `caller` in a tenant with these `settings`; never raises."""
        principal = caller.principal
        purpose = caller.purpose
        permission = act.permission
        cell = self._cells.get((principal.roles, permission, purpose))
        if cell is None:
            cell = self._work_out(principal.roles, permission, purpose)
        home = principal.tenant
        tenant = act.tenant or home
        refusal = self._refusal(principal, permission, tenant, settings)
        if refusal is None and cell.allowed:
            scopes = principal.scopes
            if scopes is not None and permission not in scopes:
                refusal = "deny:scope"
            elif purpose is None and settings.purpose_required and permission in self.roles.purpose_demanded:
                refusal = "deny:purpose-required"
            else:
                return Decision(caller, act, tenant, True, cell.rule, cell.groups, cell.purpose)
        return Decision(caller, act, home, False, refusal or cell.rule, _NO_GROUPS, purpose)

    def _refusal(
        self, principal: Principal, permission: Permission, tenant: UUID, settings: TenantSettings
    ) -> str | None:
        home = principal.tenant
        if tenant != home and (home != PLATFORM_TENANT or permission not in self.roles.across):
            return "deny:tenant"
        if home != PLATFORM_TENANT:
            if permission in self.roles.platform_only:
                return "deny:platform"
            if settings.closed:
                return "deny:closed"
        return None

    def _work_out(self, roles: tuple[str, ...], permission: Permission, purpose: Purpose | None) -> _Cell:
        cell = self._cell(roles, permission, purpose)
        if len(self._cells) < _CELLS_KEPT:
            self._cells[(roles, permission, purpose)] = cell
        return cell

    def _cell(self, roles: tuple[str, ...], permission: Permission, purpose: Purpose | None) -> _Cell:
        known = [self.roles.roles[name] for name in roles if name in self.roles.roles]
        granting = [role for role in known if permission in role.permissions]
        if not granting:
            return _Cell("deny:no-role", False, _NO_GROUPS, purpose)
        bound = permission in self.roles.phi
        effective = purpose or granting[0].default_purpose
        if bound:
            granting = [role for role in granting if effective in role.purposes]
            if not granting:
                return _Cell("deny:purpose", False, _NO_GROUPS, purpose)
        groups = frozenset[str]().union(*(role.groups for role in granting))
        return _Cell(f"role:{granting[0].name}/{permission.value}", True, groups, effective)
