"""What is asked of the gate, and what it answered: callers, acts, decisions.

Immutable values without I/O. A `Decision` is the only thing that the gate's other doors accept, so whoever wants to
read or change anything has been decided upon first.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from uuid import UUID

import msgspec

from wellkeep.base.permissions import Permission
from wellkeep.base.principal import Principal
from wellkeep.base.purpose import Purpose
from wellkeep.ledger.event import Action


class Caller(msgspec.Struct, frozen=True, gc=False):
    """Who asks, what for, and from where.

    `purpose` is what the request itself declared, or None. `request` is the id of the request, `ip` the textual address
    of the peer, `agent` 16 hex digits of the hash of its user agent.
    """

    principal: Principal
    purpose: Purpose | None
    request: UUID
    ip: str | None = None
    agent: str | None = None


class Act(msgspec.Struct, frozen=True, gc=False):
    """What is to be done, and to what.

    `resource_type` is a name (`[a-z][a-z0-9_]*`), `resource_id` an opaque id of ours. `collection` is the collection's
    name in its tenant, for explanations alone. `tenant` is given only by a platform principal that acts upon another
    tenant; where it is None, the act is upon the caller's own.
    """

    permission: Permission
    action: Action
    resource_type: str
    resource_id: str | None = None
    subject: UUID | None = None
    collection: str | None = None
    tenant: UUID | None = None


class Reach(StrEnum):
    """Whose records a decision covers: everybody's, the caller's own patients', or those whose glass was broken."""

    ALL = "all"
    CARE_TEAM = "care-team"
    BREAK_GLASS = "break-glass"


class Sight(msgspec.Struct, frozen=True, gc=False):
    """What a rule lets be seen: field groups, and of these the `hidden` fields not, each `group:collection.field`."""

    rule: str
    groups: frozenset[str]
    hidden: frozenset[str] = frozenset()


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What the policy said about one act of one caller.

    `rule` is the id of the rule that decided (`role:clinician/record:read`, `deny:no-role` …). `groups` are the field
    groups the caller may see with it, but for the `hidden` fields. `purpose` is the one it holds for: declared, or the
    role's own. `reach` says of whose records; where it is not all, `Gate.must_reach` comes before anything of a patient
    is disclosed or changed. `beyond` is what is seen of all other patients, where roles that are bound to nobody permit
    the act as well; None: nothing.
    """

    caller: Caller
    act: Act
    tenant: UUID
    allowed: bool
    rule: str
    groups: frozenset[str]
    purpose: Purpose | None
    reach: Reach = Reach.ALL
    hidden: frozenset[str] = frozenset()
    beyond: Sight | None = None


class Role(msgspec.Struct, frozen=True):
    """One role: what it may do, which field groups it sees, what for.

    `default_purpose` stands in where a request declares none. A role that is not `issuable` is given to no key and no
    person. `hidden` are fields (`collection.field`) that it does not see, whatever their group.
    """

    name: str
    permissions: frozenset[Permission]
    groups: frozenset[str]
    purposes: frozenset[Purpose]
    default_purpose: Purpose
    issuable: bool = True
    hidden: frozenset[str] = frozenset()


class OwnRules(msgspec.Struct, frozen=True):
    """What a tenant decided about roles: those of its own by name, and which roles are bound to the care team.

    `digest` tells these rules from any other tenant's, and from the same tenant's before and after.
    """

    digest: bytes
    roles: Mapping[str, Role]
    care_team: frozenset[str]


class TenantSettings(msgspec.Struct, frozen=True, gc=False):
    """What of a tenant's settings bears on decisions.

    `second_factor`: everybody there must sign in with one, not the administrators alone. `own` is None where the tenant
    decided nothing about roles.
    """

    purpose_required: bool = False
    second_factor: bool = False
    closed: bool = False
    exists: bool = True
    own: OwnRules | None = None
