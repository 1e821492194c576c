"""From a decision to the event that is entered: who, what, why, from where, by which rule.

Rule: what an entry says about caller and decision comes from the decision alone. A room adds the facts of its act:
which records, which fields, how many, with what digest.
"""

from __future__ import annotations

from typing import TypedDict, Unpack
from uuid import UUID

import msgspec

from wellkeep.base.ids import uuid7
from wellkeep.base.principal import AuthMethod
from wellkeep.gate.acts import Decision
from wellkeep.ledger.event import EVENT_LIMIT, Action, Event, Outcome, PreparedEvent, prepare, split

_SURELY_FITS = (EVENT_LIMIT - 2048) // (63 + 3)
"""Names and ids that fit together whatever they are: the longest name has 63 bytes, and 2 KiB is ample for the rest."""


class Facts(TypedDict, total=False):
    """What a room adds to an entry; `action`, `resource_id` and `subject` stand in for the act's own where given."""

    action: Action
    resource_type: str
    resource_id: str | None
    subject: UUID | None
    subjects: tuple[UUID, ...]
    records: tuple[UUID, ...]
    fields: tuple[str, ...]
    count: int | None
    digest: bytes | None
    prior: bytes | None
    revision: int | None
    span: tuple[int, int, int] | None
    reason: bytes | None


def event(decision: Decision, *, outcome: Outcome, error: str | None = None, **facts: Unpack[Facts]) -> Event:
    """Return the event of `decision` with the `facts` of its act; its id is new."""
    caller, act = decision.caller, decision.act
    principal = caller.principal
    said: Facts = {
        "action": act.action,
        "resource_type": act.resource_type,
        "resource_id": act.resource_id,
        "subject": act.subject,
        **facts,
    }
    return Event(
        id=uuid7(),
        actor_type=principal.type,
        actor_id=principal.id,
        outcome=outcome,
        request=caller.request,
        method=principal.method,
        session=principal.credential if principal.method is AuthMethod.SESSION else None,
        roles=principal.roles,
        on_behalf_of=principal.on_behalf_of,
        mfa=principal.mfa,
        ip=caller.ip,
        agent=caller.agent,
        purpose=decision.purpose,
        error=error,
        rule=decision.rule,
        **said,
    )


def prepared_parts(whole: Event) -> list[PreparedEvent]:
    """Return `whole` as one or more prepared events that each fit an entry; raises EventRefused."""
    if _surely_fits(whole):
        return [prepare(whole)]
    return [prepare(part) for part in split(whole)]


def prepared_change(whole: Event) -> PreparedEvent:
    """Return `whole` as the one event that commits with its change; raises EventRefused.

    A change has one outbox row. Where the names of its fields don't fit, they are left out and their number stands in
    `count`: the digest of the revision covers every field all the same.
    """
    if not _surely_fits(whole) and len(split(whole)) > 1:
        whole = msgspec.structs.replace(whole, fields=(), count=whole.count or len(whole.fields))
    return prepare(whole)


def _surely_fits(whole: Event) -> bool:
    return len(whole.records) + len(whole.subjects) + len(whole.fields) <= _SURELY_FITS
