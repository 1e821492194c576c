"""Roles, from the reviewed file of the package.

Rules: an unknown permission, group or purpose stops the start, because a misspelt grant is not the one that was
reviewed; a record permission can't be given to reach another tenant. The digest of the file goes into the root log
whenever it is loaded: who could do what at any time is answered by the ledger and the file's history.
"""

from __future__ import annotations

import hashlib
import tomllib
from importlib.resources import files
from uuid import UUID

import msgspec

from wellkeep.base.errors import Misconfigured
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.purpose import Purpose
from wellkeep.gate.acts import Role
from wellkeep.gate.gate import Gate
from wellkeep.gate.policy import FIELD_GROUPS, Glass, People, RoleSet
from wellkeep.ledger.event import Action, SystemFacts, system_event

_FILE = "roles.toml"


class _RoleText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    permissions: frozenset[Permission]
    groups: frozenset[str]
    purposes: frozenset[Purpose]
    default_purpose: Purpose
    issuable: bool = True


class _Phi(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    permissions: frozenset[Permission]
    purpose_demanded: frozenset[Permission]


class _Platform(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    only: frozenset[Permission]
    across: frozenset[Permission]


class _SteppingIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    permissions: frozenset[Permission]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    phi: _Phi
    platform: _Platform
    people: People
    impersonation: _SteppingIn
    break_glass: Glass
    roles: dict[str, _RoleText]


class MatrixCell(msgspec.Struct, frozen=True):
    """One cell: whether `role` has `permission`, and which field groups it then sees, for which purposes."""

    role: str
    permission: Permission
    allowed: bool
    groups: tuple[str, ...]
    purposes: tuple[str, ...]


def load() -> RoleSet:
    """Return the roles of the package's own file; raises Misconfigured where it does not hold together."""
    return parse(files("wellkeep.definitions").joinpath(_FILE).read_bytes())


def parse(raw: bytes) -> RoleSet:
    """Return the roles that `raw`, the bytes of a TOML file, defines; raises Misconfigured."""
    try:
        text = msgspec.convert(tomllib.loads(raw.decode("utf-8")), _File)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError):
        raise Misconfigured(f"{_FILE} does not have the form of a role file. Reinstall wellkeep.") from None
    roles = {}
    for name, role in text.roles.items():
        if not role.groups <= FIELD_GROUPS:
            raise Misconfigured(f"{_FILE}: the role {name} sees a field group that does not exist")
        if role.default_purpose not in role.purposes:
            raise Misconfigured(f"{_FILE}: the default purpose of the role {name} is not one of its purposes")
        roles[name] = Role(
            name, role.permissions, role.groups, role.purposes, role.default_purpose, issuable=role.issuable
        )
    if text.platform.across & text.phi.permissions:
        raise Misconfigured(f"{_FILE}: a permission that touches PHI reaches another tenant")
    if not text.phi.purpose_demanded <= text.phi.permissions:
        raise Misconfigured(f"{_FILE}: a purpose is demanded for a permission that touches no PHI")
    _check_people(text)
    return RoleSet(
        roles=roles,
        phi=text.phi.permissions,
        purpose_demanded=text.phi.purpose_demanded,
        platform_only=text.platform.only,
        across=text.platform.across,
        people=text.people,
        stepping_in=text.impersonation.permissions,
        glass=text.break_glass,
        digest=hashlib.sha256(raw).digest(),
    )


def _check_people(text: _File) -> None:
    """Raise Misconfigured where what holds for persons contradicts itself, or the roles."""
    people, glass = text.people, text.break_glass
    if not people.enrolling <= people.own:
        raise Misconfigured(f"{_FILE}: setting up a second factor is about one's own account")
    if any(people.own & role.permissions for role in text.roles.values()):
        raise Misconfigured(f"{_FILE}: what is about one's own account is no role's to give")
    if text.impersonation.permissions & (people.administrative | people.own):
        raise Misconfigured(f"{_FILE}: an impersonation administers nothing")
    if not glass.permissions <= text.phi.permissions or not glass.groups <= FIELD_GROUPS:
        raise Misconfigured(f"{_FILE}: a broken glass opens records and field groups that exist")


def matrix(roles: RoleSet) -> list[MatrixCell]:
    """Return every role by permission, for the documentation and for the proof that tries each cell over the API."""
    cells = []
    for role in roles.roles.values():
        for permission in Permission:
            allowed = permission in role.permissions
            bound = allowed and permission in roles.phi
            cells.append(
                MatrixCell(
                    role=role.name,
                    permission=permission,
                    allowed=allowed,
                    groups=tuple(sorted(role.groups)) if allowed else (),
                    purposes=tuple(sorted(role.purposes)) if bound else (),
                )
            )
    return cells


async def announce(gate: Gate, roles: RoleSet, *, event: UUID | None = None) -> UUID:
    """Enter in the root log that these roles are in force; returns the event's id. Raises LedgerUnavailable.

    `event` is its id, and its request's, where several processes may enter the same: it is chained once.
    """
    facts = SystemFacts(resource_type="definition", resource_id="roles", digest=roles.digest)
    entry = system_event(event or uuid7(), Action.DEFINITIONS_LOADED, actor="wellkeep", **facts)
    await gate.enter(entry, tenant=PLATFORM_TENANT)
    return entry.id
