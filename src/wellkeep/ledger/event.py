"""The event: one thing that happened, as canonical JSON in which each key has a closed grammar.

Rules: a key is there or absent, never null; nothing but what `grammar` admits; at most `EVENT_LIMIT` bytes, so that
an entry stays within 32 KiB. A list that does not fit is split into several events of one request, `part` i of n, all
to be durable before the first field is opened. The bytes made here are the bytes that are hashed: nobody serialises
an event a second time.

The encoder is orjson with sorted keys, which equals RFC 8785 on what the grammars admit: ASCII keys and strings,
integers below 2^53, no floats. That is the subset of `crypto.canonical`; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple, TypedDict, Unpack
from uuid import UUID

import msgspec
import orjson

from wellkeep.base.ids import derived
from wellkeep.base.principal import ActorType, AuthMethod
from wellkeep.base.purpose import Purpose
from wellkeep.ledger import grammar
from wellkeep.ledger.actions import Action, Outcome
from wellkeep.ledger.grammar import EventRefused, refuse

__all__ = [
    "ENTRY_LIMIT",
    "EVENT_LIMIT",
    "Action",
    "Event",
    "EventRefused",
    "Outcome",
    "PreparedEvent",
    "SystemFacts",
    "prepare",
    "split",
    "system_event",
]

ENTRY_LIMIT = 32 * 1024
"""The longest entry in bytes; the tile format's own limit is 64 KiB."""

EVENT_LIMIT = ENTRY_LIMIT - 512
"""The longest event in bytes: what is left of an entry beside log, prev, seq, time and v."""

_SORTED = orjson.OPT_SORT_KEYS


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that happened, who did it, to what, and how it ended; checked when it is encoded.

    `fields` are names of fields; `records` the records named, `subjects` the patients where there are several (one
    alone is `subject`). `digest` is the SHA-256 of a revision's ciphertexts, `prior` of the same revision's before that
    was sealed anew. `rule` is the rule that decided, `error` an error's code, `agent` 16 hex digits of the hash of the
    user agent, `part` i of `parts` counts from 1. `span` is a run of entries of the log that `resource_id` names: its
    epoch, the first seq and the one after the last. `reason` is SHA-256(salt ‖ text) of a text that lies sealed beside
    the ledger.
    """

    id: UUID
    action: Action
    actor_type: ActorType
    actor_id: str
    outcome: Outcome
    request: UUID
    method: AuthMethod
    roles: tuple[str, ...] = ()
    on_behalf_of: str | None = None
    session: UUID | None = None
    mfa: bool = False
    ip: str | None = None
    agent: str | None = None
    purpose: Purpose | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    subject: UUID | None = None
    fields: tuple[str, ...] = ()
    records: tuple[UUID, ...] = ()
    subjects: tuple[UUID, ...] = ()
    count: int | None = None
    error: str | None = None
    rule: str | None = None
    digest: bytes | None = None
    prior: bytes | None = None
    revision: int | None = None
    span: tuple[int, int, int] | None = None
    reason: bytes | None = None
    part: int | None = None
    parts: int | None = None

    def encode(self) -> bytes:
        """Return the event as canonical JSON of at most EVENT_LIMIT bytes; raises EventRefused, which names the key."""
        encoded = self._encode()
        if len(encoded) > EVENT_LIMIT:
            raise refuse("size")
        return encoded

    def _encode(self) -> bytes:
        try:
            body: dict[str, Any] = {
                "action": _word("action", self.action, Action),
                "actor": self._actor(),
                "auth": {"method": _word("auth.method", self.method, AuthMethod), "mfa": self.mfa is True},
                "id": _uuid("id", self.id),
                "outcome": _word("outcome", self.outcome, Outcome),
                "request": _uuid("request", self.request),
            }
            if self.purpose is not None:
                body["purpose"] = _word("purpose", self.purpose, Purpose)
            self._put_place(body)
            self._put_lists(body)
            self._put_result(body)
        except (TypeError, ValueError, KeyError):
            raise refuse("type") from None
        return orjson.dumps(body, option=_SORTED)

    def _actor(self) -> dict[str, Any]:
        kind = _word("actor.type", self.actor_type, ActorType)
        actor: dict[str, Any] = {"id": grammar.actor_id(self.actor_type, self.actor_id), "type": kind}
        if self.roles:
            actor["roles"] = grammar.names("actor.roles", self.roles)
        if self.on_behalf_of is not None:
            actor["on_behalf_of"] = grammar.uuid_text("actor.on_behalf_of", self.on_behalf_of)
        return actor

    def _put_place(self, body: dict[str, Any]) -> None:
        if self.session is not None:
            body["session"] = _uuid("session", self.session)
        source = {}
        if self.ip is not None:
            source["ip"] = grammar.address(self.ip)
        if self.agent is not None:
            source["agent"] = grammar.agent(self.agent)
        if source:
            body["source"] = source
        if self.resource_type is not None:
            resource = {"type": grammar.name("resource.type", self.resource_type)}
            if self.resource_id is not None:
                resource["id"] = grammar.resource_id(self.resource_id)
            body["resource"] = resource
        elif self.resource_id is not None:
            raise refuse("resource.type")

    def _put_lists(self, body: dict[str, Any]) -> None:
        if self.subject is not None:
            body["subject"] = _uuid("subject", self.subject)
        if self.fields:
            body["fields"] = grammar.names("fields", self.fields)
        if self.records:
            body["records"] = grammar.pack_ids("records", self.records)
        if self.subjects:
            body["subjects"] = grammar.pack_ids("subjects", self.subjects)

    def _put_result(self, body: dict[str, Any]) -> None:
        if self.count is not None:
            body["count"] = grammar.number("count", self.count)
        if self.rule is not None:
            body["rule"] = grammar.rule(self.rule)
        if self.digest is not None:
            body["digest"] = grammar.digest("digest", self.digest)
        if self.prior is not None:
            body["prior"] = grammar.digest("prior", self.prior)
        if self.reason is not None:
            body["reason"] = grammar.digest("reason", self.reason)
        if self.span is not None:
            body["span"] = grammar.span(self.span)
        if self.revision is not None:
            body["revision"] = grammar.number("revision", self.revision, 1)
        if self.error is not None:
            body["error"] = grammar.error_code(self.error)
        if self.part is not None or self.parts is not None:
            parts = grammar.number("part", self.parts or 0, 1)
            body["part"] = {"i": grammar.number("part", self.part or 0, 1), "n": parts}
            if body["part"]["i"] > parts:
                raise refuse("part")


class SystemFacts(TypedDict, total=False):
    """What an event of the system itself may say beside who, what and how it ended."""

    resource_type: str
    resource_id: str | None
    ip: str | None
    count: int
    span: tuple[int, int, int] | None
    digest: bytes | None
    error: str


def system_event(
    event_id: UUID, action: Action, *, actor: str, outcome: Outcome = Outcome.DONE, **facts: Unpack[SystemFacts]
) -> Event:
    """Return the event of something that the system did of its own accord, `actor` names which part of it.

    Nobody asked for it: so it is its own request, and nobody was authenticated.
    """
    return Event(
        id=event_id,
        action=action,
        actor_type=ActorType.SYSTEM,
        actor_id=actor,
        method=AuthMethod.NONE,
        outcome=outcome,
        request=event_id,
        **facts,
    )


class PreparedEvent(NamedTuple):
    """An event and its bytes, checked and ready to be chained."""

    event: Event
    encoded: bytes

    def named_subjects(self) -> set[UUID]:
        """Return every patient that the event names, each once."""
        event = self.event
        named = set(event.subjects)
        if event.subject is not None:
            named.add(event.subject)
        return named


def prepare(event: Event) -> PreparedEvent:
    """Check and encode `event`; raises EventRefused."""
    return PreparedEvent(event, event.encode())


def split(event: Event) -> list[Event]:
    """Return `event` as one or more events that fit, `part` i of n, which together name what it names.

    The first keeps its id; the others' ids follow from it, so that splitting again gives the same events and an append
    repeated is found out. Raises EventRefused where even a part with empty lists is too long.
    """
    if len(event._encode()) <= EVENT_LIMIT:  # noqa: SLF001  # the length before the limit is applied
        return [event]
    bare = msgspec.structs.replace(event, fields=(), records=(), subjects=(), part=1, parts=grammar.MAX_NUMBER)
    room = EVENT_LIMIT - len(bare.encode()) - len('"fields":[],"records":[],"subjects":[],')
    parts = _fill(event, room)
    return [
        msgspec.structs.replace(
            event,
            id=_part_id(event.id, number),
            fields=tuple(part["fields"]),
            records=tuple(part["records"]),
            subjects=tuple(part["subjects"]),
            part=number,
            parts=len(parts),
        )
        for number, part in enumerate(parts, start=1)
    ]


def _fill(event: Event, room: int) -> list[dict[str, list[Any]]]:
    """Deal the lists of `event` out to as many parts as it takes, `room` bytes each, in their order."""
    parts: list[dict[str, list[Any]]] = []
    left = 0
    lists: tuple[tuple[str, Sequence[Any]], ...] = (
        ("fields", event.fields),
        ("records", event.records),
        ("subjects", event.subjects),
    )
    for key, values in lists:
        for value in values:
            cost = 3 + (len(value) if key == "fields" else 22)
            if not parts or cost > left:
                parts.append({"fields": [], "records": [], "subjects": []})
                left = room
            parts[-1][key].append(value)
            left -= cost
    return parts


def _part_id(first: UUID, number: int) -> UUID:
    """Return the id of part `number`, which follows from the first one's."""
    return first if number == 1 else derived(first, b"wellkeep/ledger/part\n" + first.bytes + number.to_bytes(4, "big"))


def _uuid(key: str, value: UUID) -> UUID:
    """Return `value` as the plain UUID that the encoder knows; a driver's own subclass is made one."""
    if value.__class__ is UUID:
        return value
    if not isinstance(value, UUID):
        raise refuse(key)
    return UUID(int=value.int)


def _word(key: str, value: StrEnum, vocabulary: type[StrEnum]) -> str:
    """Return the plain string of `value` where it is a member of `vocabulary`; a string that looks like it is not."""
    if value.__class__ is not vocabulary:
        raise refuse(key)
    return str(value)
