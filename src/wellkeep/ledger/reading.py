"""Reading an event back from its bytes, as strictly as it was written.

Rule: what is read is written again and must give the same bytes, so nothing passes here that `Event.encode` would not
have made: no unknown key, no other spelling, no free text. The threat is a row of the outbox that did not come from the
gate, on its way into a record that is kept for years.
"""

from __future__ import annotations

from uuid import UUID

import msgspec

from wellkeep.base.principal import ActorType, AuthMethod
from wellkeep.base.purpose import Purpose
from wellkeep.ledger.actions import Action, Outcome
from wellkeep.ledger.event import Event, PreparedEvent
from wellkeep.ledger.grammar import refuse, unpack_id


class _Actor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    type: ActorType
    roles: tuple[str, ...] = ()
    on_behalf_of: str | None = None


class _Auth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    method: AuthMethod
    mfa: bool


class _Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ip: str | None = None
    agent: str | None = None


class _Resource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: str | None = None
    id: str | None = None


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    i: int | None = None
    n: int | None = None


class _Span(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    epoch: int
    first: int = msgspec.field(name="from")
    end: int = msgspec.field(name="to")


class _Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: UUID
    action: Action
    actor: _Actor
    auth: _Auth
    outcome: Outcome
    request: UUID
    session: UUID | None = None
    source: _Source = _Source()
    purpose: Purpose | None = None
    resource: _Resource = _Resource()
    subject: UUID | None = None
    fields: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    count: int | None = None
    error: str | None = None
    rule: str | None = None
    digest: str | None = None
    prior: str | None = None
    revision: int | None = None
    span: _Span | None = None
    reason: str | None = None
    part: _Part = _Part()


_decoder = msgspec.json.Decoder(_Event)


def parse(encoded: bytes) -> PreparedEvent:
    """Return the event whose canonical bytes these are; raises EventRefused for anything else."""
    try:
        event = _event(_decoder.decode(encoded))
    except ValueError:  # what msgspec raises derives from it, and may quote a value
        raise refuse("form") from None
    if event.encode() != encoded:
        raise refuse("form")
    return PreparedEvent(event, encoded)


def _event(wire: _Event) -> Event:
    """Return what was read as an event; raises ValueError and EventRefused."""
    return Event(
        id=wire.id,
        action=wire.action,
        actor_type=wire.actor.type,
        actor_id=wire.actor.id,
        roles=wire.actor.roles,
        on_behalf_of=wire.actor.on_behalf_of,
        session=wire.session,
        method=wire.auth.method,
        mfa=wire.auth.mfa,
        ip=wire.source.ip,
        agent=wire.source.agent,
        purpose=wire.purpose,
        resource_type=wire.resource.type,
        resource_id=wire.resource.id,
        subject=wire.subject,
        fields=wire.fields,
        records=tuple(unpack_id("records", text) for text in wire.records),
        subjects=tuple(unpack_id("subjects", text) for text in wire.subjects),
        count=wire.count,
        outcome=wire.outcome,
        error=wire.error,
        request=wire.request,
        rule=wire.rule,
        digest=None if wire.digest is None else bytes.fromhex(wire.digest),
        prior=None if wire.prior is None else bytes.fromhex(wire.prior),
        revision=wire.revision,
        span=None if wire.span is None else (wire.span.epoch, wire.span.first, wire.span.end),
        reason=None if wire.reason is None else bytes.fromhex(wire.reason),
        part=wire.part.i,
        parts=wire.part.n,
    )
