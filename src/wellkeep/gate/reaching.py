"""Whose records a decision covers: asked of the attributes each time, and settled before anything is opened or changed.

Rules: a decision whose reach is not everybody opens no door of the gate until it was settled for the patients that the
act is about: then it covers these and no others. Out of reach, it holds with what roles bound to nobody show, where
there are any, and is refused otherwise. A new patient and a record of no patient are nobody's: a person's bound role
covers them, a broken glass does not. A key is no person and treats nobody. Nothing is remembered from one request to
the next.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

import msgspec

from wellkeep.base.attributes import Attributes
from wellkeep.base.ids import parse_uuid
from wellkeep.base.principal import ActorType
from wellkeep.gate.acts import Decision, Reach

NO_GLASS = "deny:no-break-glass"
NOT_THEIRS = "deny:care-team"


def person_of(decision: Decision) -> UUID | None:
    """Return the person whose relationships count: who was stepped into, where somebody was; None for a key."""
    principal = decision.caller.principal
    if principal.type is not ActorType.PERSON:
        return None
    return parse_uuid(principal.on_behalf_of or principal.id)


async def reached(attributes: Attributes, decision: Decision, subjects: Collection[UUID]) -> frozenset[UUID]:
    """Return those of `subjects` whose records `decision` covers, as it is now. Raises DatabaseUnavailable."""
    if decision.reach is Reach.ALL:
        return frozenset(subjects)
    person = person_of(decision)
    if person is None or not subjects:
        return frozenset()
    if decision.reach is Reach.CARE_TEAM:
        return await attributes.care_team(tenant=decision.tenant, person=person, subjects=subjects)
    return frozenset(subjects) & await attributes.broken_glass(tenant=decision.tenant, person=person)


def covers_nobodys(decision: Decision) -> bool:
    """Say whether `decision` covers what is of no patient yet."""
    return decision.reach is Reach.CARE_TEAM and person_of(decision) is not None


def near(decision: Decision) -> Decision:
    """Return `decision` settled for patients within its reach."""
    return msgspec.structs.replace(decision, reach=Reach.ALL, beyond=None)


def far(decision: Decision) -> Decision | None:
    """Return what of `decision` holds for everybody else, settled; None where nothing does."""
    sight = decision.beyond
    if sight is None:
        return None
    return msgspec.structs.replace(
        decision, reach=Reach.ALL, beyond=None, rule=sight.rule, groups=sight.groups, hidden=sight.hidden
    )


def refusal(decision: Decision) -> str:
    """Return the rule by which an act out of reach is refused."""
    return NO_GLASS if decision.reach is Reach.BREAK_GLASS else NOT_THEIRS
