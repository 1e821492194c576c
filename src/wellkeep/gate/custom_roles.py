"""Roles that a tenant makes for itself: what they may hold at most, and how they are read.

Rules: a tenant gives away what it has. A role of its own holds permissions that a role of the package has which keys
and people may be given, acts for purposes that such a role acts for, and never takes such a role's name. What belongs
to the platform or to one's own account is nobody's to give. What opens records stands apart from what administers: no
role that runs the place opens PHI, whoever wrote it down. The threat is an administrator who makes a role for reading,
and a row that was changed behind our back: so each process checks what it reads, and leaves out what is too much.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from wellkeep.base.permissions import Permission
from wellkeep.base.purpose import Purpose
from wellkeep.gate.acts import OwnRules, Role
from wellkeep.gate.policy import FIELD_GROUPS, RoleSet

_HIDDEN = re.compile(r"[a-z][a-z0-9_]{0,62}\.[a-z][a-z0-9_]{0,62}")
_NOT_OPENING = frozenset(
    {Permission.SUBJECT_CREATE, Permission.SUBJECT_READ, Permission.SUBJECT_MERGE, Permission.SUBJECT_ERASE}
)
"""They touch a patient and open nothing: ids alone."""


def grantable(roles: RoleSet) -> frozenset[Permission]:
    """Return the permissions that a tenant may put into a role of its own."""
    held = frozenset[Permission]().union(*(role.permissions for role in roles.roles.values() if role.issuable))
    return held - roles.platform_only - roles.people.own


def opening(roles: RoleSet) -> frozenset[Permission]:
    """Return the permissions that open what is in records, or let it be put there."""
    return roles.phi - _NOT_OPENING


def problems(role: Role, roles: RoleSet) -> tuple[tuple[str, str], ...]:
    """Return what is wrong with a tenant's own `role`, each as the path and a code; none where it is within bounds."""
    found = []
    if role.name in roles.roles:
        found.append(("/name", "taken"))
    if role.permissions - grantable(roles):
        found.append(("/permissions", "not-grantable"))
    opens = role.permissions & opening(roles)
    if opens and role.permissions & roles.people.administrative:
        found.append(("/permissions", "opens-and-administers"))
    if role.groups - FIELD_GROUPS:
        found.append(("/groups", "not-allowed"))
    if not all(map(_HIDDEN.fullmatch, role.hidden)):
        found.append(("/hidden", "malformed"))
    if role.purposes - _purposes(role.permissions & roles.phi, roles):
        found.append(("/purposes", "not-allowed"))
    if role.default_purpose not in role.purposes:
        found.append(("/default_purpose", "not-allowed"))
    return tuple(found)


def _purposes(phi: frozenset[Permission], roles: RoleSet) -> frozenset[Purpose]:
    """Return the purposes that a role with these permissions upon PHI may act for; any, where it has none."""
    if not phi:
        return frozenset(Purpose)
    alike = (role for role in roles.roles.values() if role.issuable and role.permissions & phi)
    return frozenset[Purpose]().union(*(role.purposes for role in alike))


def digest(role: Role) -> bytes:
    """Return SHA-256 of `role` as it stands in the tenant's log: its parts by name, each list sorted, as JSON."""
    parts = {
        "default_purpose": role.default_purpose.value,
        "groups": sorted(role.groups),
        "hidden": sorted(role.hidden),
        "name": role.name,
        "permissions": sorted(role.permissions),
        "purposes": sorted(role.purposes),
    }
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).digest()


def read(row: Mapping[str, Any]) -> Role | None:
    """Return the role of a row of `access.custom_role`; None where it names what this version does not know."""
    try:
        return Role(
            name=row["name"],
            permissions=frozenset(map(Permission, row["permissions"])),
            groups=frozenset(row["groups"]),
            purposes=frozenset(map(Purpose, row["purposes"])),
            default_purpose=Purpose(row["default_purpose"]),
            hidden=frozenset(row["hidden"]),
        )
    except ValueError:
        return None


def own_rules(
    tenant: UUID, rows: Iterable[Mapping[str, Any]], *, care_team: Iterable[str], roles: RoleSet
) -> OwnRules | None:
    """Return what `tenant` decided about roles, without what goes beyond its bounds; None where it decided nothing."""
    made = [role for role in map(read, rows) if role is not None and not problems(role, roles)]
    bound = frozenset(care_team)
    if not made and not bound:
        return None
    told = hashlib.sha256(tenant.bytes)
    for role in sorted(made, key=lambda one: one.name):
        told.update(digest(role))
    for name in sorted(bound):
        told.update(name.encode().ljust(64, b"\x00"))
    return OwnRules(told.digest(), {role.name: role for role in made}, bound)
