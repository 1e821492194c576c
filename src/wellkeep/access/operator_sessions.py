"""Log-ins to the database past the application: how one is announced, and whether one that is seen was. Pure.

Rules: who connects as anything but a server's own roles says so first, with an entry of the root log that holds the
hash of a name made for that one session; the session shows the name. The first session that shows it is bound to it by
a second entry, whose id follows from the first one's: whoever shows the name again, or after five minutes, or as
another role, was not announced. So the record of what was announced is the ledger alone, and who would forge it forges
that.

The threat is the superuser's password in other hands, or in the hands of somebody who would rather not be asked. A name
can be read by other superusers while its session lives; it is of no use by then.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import ip_address
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from wellkeep.base.ids import derived, earliest, uuid7
from wellkeep.base.principal import ActorType, AuthMethod
from wellkeep.db.connection_log import Session
from wellkeep.db.roles import SERVICE_ROLES
from wellkeep.gate.acts import Caller
from wellkeep.ledger.event import Action, Event, Outcome, system_event

GOOD_FOR: Final = timedelta(minutes=5)
"""After an announcement; it is also how far clocks of ours may differ."""
WATCHER: Final = "watch"
OTHER: Final = "other"
"""Stands for a role whose name has letters that the ledger takes in no name."""

_PREFIX = "wk-session-"
_SECRET_BYTES = 15
_NAME = re.compile(rf"{_PREFIX}(?P<id>[0-9a-f]{{32}})[A-Za-z0-9_-]{{20}}")
_ROLE = re.compile(r"[a-z][a-z_]*[0-9]{0,2}")
_LONGEST = 63


class Judgement(StrEnum):
    """What is to be said of a session."""

    ANNOUNCED = "announced"
    UNANNOUNCED = "unannounced"
    REPLAYED = "replayed"
    LATE = "late"
    OTHER_ROLE = "other-role"


class Announcement(NamedTuple):
    """An entry to be made before connecting, and the name (`application_name`) to connect under."""

    entry: Event
    name: str


class _Resource(msgspec.Struct):
    id: str = ""


class _Actor(msgspec.Struct):
    id: str
    type: ActorType


class _Event(msgspec.Struct):
    id: UUID
    action: str
    outcome: str
    actor: _Actor
    request: UUID
    digest: str = ""
    resource: _Resource = msgspec.field(default_factory=_Resource)


class Entered(msgspec.Struct):
    """What is read of an entry of the root log."""

    event: _Event
    time: datetime


read_entry = msgspec.json.Decoder(Entered).decode


def is_service(role: str) -> bool:
    """Say whether `role` is one that servers log in as."""
    return role in SERVICE_ROLES


def announce(caller: Caller, role: str, *, reason: bytes | None = None) -> Announcement:
    """Make the announcement of one session of `role`; `reason` is the hash of why, where that was said."""
    event = uuid7()
    secret = base64.urlsafe_b64encode(os.urandom(_SECRET_BYTES)).decode()
    name = f"{_PREFIX}{event.hex}{secret}"
    entry = Event(
        id=event,
        action=Action.OPERATOR_SESSION,
        actor_type=caller.principal.type,
        actor_id=caller.principal.id,
        method=caller.principal.method,
        roles=caller.principal.roles,
        outcome=Outcome.AUTHORISED,
        request=caller.request,
        resource_type="role",
        resource_id=known_role(role),
        digest=hashlib.sha256(name.encode()).digest(),
        reason=reason,
    )
    return Announcement(entry, name)


def announced_by(session: Session) -> UUID | None:
    """Return the id of the entry that the name of `session` points to, if it is such a name."""
    found = _NAME.fullmatch(session.name)
    return None if found is None else UUID(found["id"])


def bound_id(announcement: UUID) -> UUID:
    """Return the id of the entry that binds an announcement to its session: there can be but one."""
    return _derived(announcement.int >> 80, b"bound\n" + announcement.bytes)


def unannounced_id(session: Session) -> UUID:
    """Return the id of the entry of a session that nobody announced: the same whoever sees it, and when."""
    return _derived(session.started * 1000, b"seen\n" + _place(session))


def binding(session: Session) -> bytes:
    """Return what the binding entry holds of `session`: 32 bytes that no other session has."""
    return hashlib.sha256(b"wellkeep/session/v1\n" + _place(session) + b"\n" + session.name.encode()).digest()


def judge(session: Session, announcement: Entered | None, bound: str | None) -> Judgement:
    """Say what `session` is, by the entry that its name points to, and by what that is bound to (hex), if it is."""
    if announcement is None or not _fits(session, announcement):
        return Judgement.UNANNOUNCED
    if announcement.event.resource.id != known_role(session.role):
        return Judgement.OTHER_ROLE
    if bound is not None:
        return Judgement.ANNOUNCED if bound == binding(session).hex() else Judgement.REPLAYED
    if abs(session.started - announcement.time.timestamp()) > GOOD_FOR.total_seconds():
        return Judgement.LATE
    return Judgement.ANNOUNCED


def bound_entry(session: Session, announcement: Entered) -> Event:
    """Return the entry that a session which was announced has begun."""
    return Event(
        id=bound_id(announcement.event.id),
        action=Action.OPERATOR_SESSION,
        actor_type=announcement.event.actor.type,
        actor_id=announcement.event.actor.id,
        method=AuthMethod.LOCAL,
        outcome=Outcome.DONE,
        request=announcement.event.request,
        resource_type="role",
        resource_id=known_role(session.role),
        ip=_source(session),
        digest=binding(session),
    )


def unannounced_entry(session: Session, judged: Judgement) -> Event:
    """Return the entry of a session that was not announced."""
    return system_event(
        unannounced_id(session),
        Action.OPERATOR_SESSION,
        actor=WATCHER,
        resource_type="role",
        resource_id=known_role(session.role),
        ip=_source(session),
        error=judged.value,
        digest=binding(session),
    )


def known_role(role: str) -> str:
    """Return `role` as entries and findings name it."""
    return role if len(role) <= _LONGEST and _ROLE.fullmatch(role) else OTHER


def _source(session: Session) -> str | None:
    """Return the address as the ledger spells it; None for the socket, and for what is none."""
    try:
        return None if session.address is None else str(ip_address(session.address.partition("%")[0]))
    except ValueError:
        return None


def _fits(session: Session, announcement: Entered) -> bool:
    event = announcement.event
    digest = hashlib.sha256(session.name.encode()).hexdigest()
    return (event.action, event.outcome, event.digest) == (Action.OPERATOR_SESSION, Outcome.AUTHORISED, digest)


def _place(session: Session) -> bytes:
    return f"{session.pid}.{session.started}".encode()


def _derived(milliseconds: int, of: bytes) -> UUID:
    return derived(earliest(milliseconds), b"wellkeep/session/v1\n" + of)
