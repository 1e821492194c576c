"""What is asked of the gate, and what it answered: callers, acts, decisions.

Immutable values without I/O. A `Decision` is the only thing that the gate's other doors accept, so whoever wants to
read or change anything has been decided upon first.
"""

from __future__ import annotations

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


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What the policy said about one act of one caller.

    `rule` is the id of the rule that decided (`role:clinician/record:read`, `deny:no-role` …). `groups` are the field
    groups the caller may see with it. `purpose` is the one it holds for: declared, or the role's own.
    """

    caller: Caller
    act: Act
    tenant: UUID
    allowed: bool
    rule: str
    groups: frozenset[str]
    purpose: Purpose | None


class TenantSettings(msgspec.Struct, frozen=True, gc=False):
    """What of a tenant's settings bears on decisions."""

    purpose_required: bool = False
    closed: bool = False
    exists: bool = True
