"""A person who acts before there is a session: who signs in, takes an invitation, or shows a second factor.

Rule: such a principal is made here alone, by code that has just checked what it was shown; it stands for one act, about
that person's own account, and no role comes with it.
"""

from __future__ import annotations

from uuid import UUID

from wellkeep.base.permissions import Permission
from wellkeep.base.principal import ActorType, AuthMethod, Principal
from wellkeep.gate.acts import Act, Caller
from wellkeep.ledger.event import Action


def at_the_door(*, tenant: UUID, person: UUID, request: UUID, ip: str | None, agent: str | None) -> Caller:
    """Return the caller of a person who just showed who they are and has no session yet."""
    principal = Principal(type=ActorType.PERSON, id=str(person), tenant=tenant, roles=(), method=AuthMethod.NONE)
    return Caller(principal, None, request, ip, agent)


def own(action: Action, person: UUID, *, enrolling: bool = False, resource: str = "person") -> Act:
    """Return an act about one's own account; `enrolling`: what is open to who has shown no second factor."""
    permission = Permission.ACCOUNT_ENROL if enrolling else Permission.ACCOUNT_USE
    return Act(permission, action, resource, resource_id=str(person))
