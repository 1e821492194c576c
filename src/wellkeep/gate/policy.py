"""The policy: pure, total, data in and decision out.

Rules, in the order in which they refuse (the first that does is the decision's `rule`):

1. `deny:tenant`: only a principal of the platform reaches another tenant, and never with a permission that touches PHI.
2. `deny:platform`: permissions of the platform belong to principals of the platform tenant.
3. `deny:closed`: a closed tenant takes no act but the platform's.
4. `deny:impersonation`: inside an impersonation there is no administration, and no account of one's own.
5. `deny:second-factor`: a person with an administrative role, or of a tenant where all must, who has shown none; all
   that is left to them is to set one up.
6. `deny:no-role`: no role of the principal has the permission. An unknown role has none. What is about one's own
   account is no role's: every person has it, and nobody else (`own:<permission>`).
7. `deny:purpose`: no role that has the permission acts for the declared purpose.
8. `deny:no-break-glass`: the declared purpose is break-glass, which is a person's own, for what the file names.
9. `deny:scope`: the key's scopes leave the permission out. Scopes narrow; they never grant.
10. `deny:no-person`: a word that somebody must give, or an emergency; no key gives it, whatever its roles.
11. `deny:step-up`: a dangerous act of a person who has not shown the second factor within the last ten minutes.
12. `deny:purpose-required`: the tenant demands a purpose of use and the request declared none.

Otherwise `role:<role>/<permission>`, with the field groups of those roles alone that grant this permission for this
purpose: what one role sees is not lent to what another may do. With a broken glass it is `break-glass:<role>/…`, and
the groups that the file adds for it. A masked impersonation sees no field at all.

A tenant has roles of its own beside the file's, whose names they never take, and may bind roles to the care team: what
bound roles give about patients then holds for one's own patients, and what the others give for everybody, so that one
more role never takes anything away. A role may hide fields of its groups; hidden is what no role with that group shows.

The threat is a grant that nobody wrote down. So there is no default grant, no wildcard and no role without a file or a
row in the tenant's log. What is worked out for one tenant's own rules is kept under their digest, for nobody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar
from uuid import UUID

import msgspec

from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.permissions import Permission
from wellkeep.base.principal import ActorType, Principal
from wellkeep.base.purpose import Purpose
from wellkeep.gate.acts import Act, Caller, Decision, OwnRules, Reach, Role, Sight, TenantSettings

FIELD_GROUPS = frozenset({"clinical", "demographic", "contact", "identifier", "financial", "administrative"})
"""The groups that a field of a collection may be in."""

_NOTHING: frozenset[str] = frozenset()
_CELLS_KEPT = 4096


class People(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What holds for persons, in addition to their roles.

    `own` are the permissions about one's own account, `enrolling` those left to who must show a second factor and did
    not, `administrative` those whose holders must, `step_up` those for which it must have been shown just now. No key
    has what is in `never_keys`, whatever its roles.
    """

    own: frozenset[Permission]
    enrolling: frozenset[Permission]
    administrative: frozenset[Permission]
    step_up: frozenset[Permission]
    never_keys: frozenset[Permission]


class Glass(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a broken glass widens: these permissions, where a role has them for it, by these field groups."""

    permissions: frozenset[Permission]
    groups: frozenset[str]


class RoleSet(msgspec.Struct, frozen=True):
    """All roles, and what is special about some permissions; `digest` is the SHA-256 of the file they came from.

    `people` is what holds for persons alone, `stepping_in` for staff in a customer's account, `glass` for emergencies.
    `phi` are the permissions that touch PHI, `purpose_demanded` those for which no purpose is guessed where the tenant
    demands one, `platform_only` those of platform principals, `across` those they may use upon another tenant.
    """

    roles: Mapping[str, Role]
    phi: frozenset[Permission]
    purpose_demanded: frozenset[Permission]
    platform_only: frozenset[Permission]
    across: frozenset[Permission]
    people: People
    stepping_in: frozenset[Permission]
    glass: Glass
    digest: bytes


class _Cell(msgspec.Struct, frozen=True):
    """What a tuple of roles gives for one permission and one declared purpose."""

    rule: str
    allowed: bool
    groups: frozenset[str]
    purpose: Purpose | None
    reach: Reach = Reach.ALL
    hidden: frozenset[str] = _NOTHING
    beyond: Sight | None = None


_CellKey = tuple[tuple[str, ...], Permission, Purpose | None]


class Policy:
    """Decides acts by the roles it was given; keeps the answers it has worked out already."""

    def __init__(self, roles: RoleSet) -> None:
        """Take `roles` as they are for the life of the process."""
        self.roles = roles
        self._about_patients = roles.phi | {Permission.LEDGER_READ}
        self._cells: dict[_CellKey, _Cell] = {}
        self._own_cells: dict[tuple[bytes, _CellKey], _Cell] = {}
        self._administrative: dict[tuple[bytes, tuple[str, ...]], bool] = {}

    def decide(self, caller: Caller, act: Act, *, settings: TenantSettings) -> Decision:
        """Decide `act` of `caller` in a tenant with these `settings`; never raises."""
        principal = caller.principal
        purpose = caller.purpose
        permission = act.permission
        home = principal.tenant
        tenant = act.tenant or home
        own = settings.own if tenant == home else None
        cell = self._cells.get((principal.roles, permission, purpose)) if own is None else None
        if cell is None:
            cell = self._kept((principal.roles, permission, purpose), own)
        refusal = self._refusal(principal, permission, tenant, settings)
        if refusal is None and principal.type is ActorType.PERSON:
            refusal = self._refusal_of_person(principal, permission, settings, own)
        if refusal is None and permission in self.roles.people.own:
            if principal.type is ActorType.PERSON:
                return Decision(caller, act, tenant, True, f"own:{permission.value}", _NOTHING, purpose)
        elif refusal is None and cell.allowed:
            refusal = self._missing(principal, act, cell)
            if refusal is None and purpose is None and settings.purpose_required:
                refusal = "deny:purpose-required" if permission in self.roles.purpose_demanded else None
            if refusal is None:
                if principal.masked:
                    cell = _masked(cell)
                return Decision(
                    *(caller, act, tenant, True, cell.rule, cell.groups, cell.purpose),
                    *(cell.reach, cell.hidden, cell.beyond),
                )
        return Decision(caller, act, home, False, refusal or cell.rule, _NOTHING, purpose)

    def role(self, name: str, settings: TenantSettings) -> Role | None:
        """Return the role of that name in a tenant with these `settings`: the file's, or the tenant's own."""
        return self._role(name, settings.own)

    def _role(self, name: str, own: OwnRules | None) -> Role | None:
        known = self.roles.roles.get(name)
        return own.roles.get(name) if known is None and own is not None else known

    def _missing(self, principal: Principal, act: Act, cell: _Cell) -> str | None:
        """Return what this principal lacks for what its roles permit."""
        permission, scopes = act.permission, principal.scopes
        if scopes is not None and permission not in scopes and (act.collection, permission) not in principal.within:
            return "deny:scope"
        person = principal.type is ActorType.PERSON
        if not person and permission in self.roles.people.never_keys:
            return "deny:no-person"
        if cell.reach is Reach.BREAK_GLASS and (not person or principal.impersonation is not None):
            return "deny:no-break-glass"
        if person and not principal.fresh and permission in self.roles.people.step_up:
            return "deny:step-up"
        return None

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

    def _refusal_of_person(
        self, principal: Principal, permission: Permission, settings: TenantSettings, own: OwnRules | None
    ) -> str | None:
        if principal.impersonation is not None:
            return None if permission in self.roles.stepping_in else "deny:impersonation"
        if not principal.mfa and permission not in self.roles.people.enrolling:
            must = settings.second_factor or self.administers(principal.roles, own)
            return "deny:second-factor" if must else None
        return None

    def administers(self, roles: tuple[str, ...], own: OwnRules | None = None) -> bool:
        """Say whether one of these roles has an administrative permission, so that a second factor is a must."""
        key = (b"" if own is None else own.digest, roles)
        known = self._administrative.get(key)
        if known is None:
            wanted = self.roles.people.administrative
            held = (self._role(name, own) for name in roles)
            known = any(wanted & role.permissions for role in held if role is not None)
            _keep(self._administrative, key, known)
        return known

    def _kept(self, key: _CellKey, own: OwnRules | None) -> _Cell:
        """Return the cell of `key`, worked out now or earlier; without rules of the tenant's own it is everybody's."""
        if own is None:
            cell = self._cell(*key, own)
            if len(self._cells) < _CELLS_KEPT:
                self._cells[key] = cell
            return cell
        known = self._own_cells.get((own.digest, key))
        if known is None:
            known = self._cell(*key, own)
            _keep(self._own_cells, (own.digest, key), known)
        return known

    def _cell(
        self, roles: tuple[str, ...], permission: Permission, purpose: Purpose | None, own: OwnRules | None
    ) -> _Cell:
        known = [role for name in roles if (role := self._role(name, own)) is not None]
        granting = [role for role in known if permission in role.permissions]
        if not granting:
            return _Cell("deny:no-role", False, _NOTHING, purpose)
        bound = permission in self.roles.phi
        effective = purpose or granting[0].default_purpose
        if effective is Purpose.BREAK_GLASS and bound:
            return self._glass(granting, permission)
        if bound:
            granting = [role for role in granting if effective in role.purposes]
            if not granting:
                return _Cell("deny:purpose", False, _NOTHING, purpose)
        whole = _sight(granting, permission)
        tied = frozenset[str]() if own is None or permission not in self._about_patients else own.care_team
        free = [role for role in granting if role.name not in tied]
        beyond = _sight(free, permission) if free else None
        if beyond is not None and (beyond.groups, beyond.hidden) == (whole.groups, whole.hidden):
            return _Cell(beyond.rule, True, beyond.groups, effective, Reach.ALL, beyond.hidden)
        return _Cell(whole.rule, True, whole.groups, effective, Reach.CARE_TEAM, whole.hidden, beyond)

    def _glass(self, granting: list[Role], permission: Permission) -> _Cell:
        granting = [role for role in granting if Purpose.BREAK_GLASS in role.purposes]
        if not granting:
            return _Cell("deny:purpose", False, _NOTHING, Purpose.BREAK_GLASS)
        if permission not in self.roles.glass.permissions:
            return _Cell("deny:no-break-glass", False, _NOTHING, Purpose.BREAK_GLASS)
        seen = _sight(granting, permission)
        groups = self.roles.glass.groups | seen.groups
        rule = f"break-glass:{granting[0].name}/{permission.value}"
        hidden = frozenset(one for one in seen.hidden if one.partition(":")[0] not in self.roles.glass.groups)
        return _Cell(rule, True, groups, Purpose.BREAK_GLASS, Reach.BREAK_GLASS, hidden)


def _sight(granting: list[Role], permission: Permission) -> Sight:
    """Return what these roles show together: a field is hidden where each role that sees its group hides it."""
    groups = frozenset[str]().union(*(role.groups for role in granting))
    hidden = set[str]()
    if any(role.hidden for role in granting):
        for group in groups:
            by_role = [role.hidden for role in granting if group in role.groups]
            hidden |= {f"{group}:{field}" for field in by_role[0].intersection(*by_role[1:])}
    return Sight(f"role:{granting[0].name}/{permission.value}", groups, frozenset(hidden))


def _masked(cell: _Cell) -> _Cell:
    beyond = None if cell.beyond is None else Sight(cell.beyond.rule, _NOTHING)
    return msgspec.structs.replace(cell, groups=_NOTHING, beyond=beyond)


_K = TypeVar("_K")
_V = TypeVar("_V")


def _keep(kept: dict[_K, _V], key: _K, value: _V) -> None:
    """Keep `value`; who has filled the room begins anew, so that no tenant's changes of its rules stay for ever."""
    if len(kept) >= _CELLS_KEPT:
        kept.clear()
    kept[key] = value
