"""The accounting of disclosures of one patient (45 CFR 164.528): who saw or changed what of theirs, when and why.

Rules: it tells more than the law asks, which leaves treatment, payment and operations out: everything that the ledger
holds about the patient, denied attempts included. It spans six years before the day it is asked for, unless told
otherwise. It is an entry itself, durable before anything is shown. It holds no PHI: ids, codes, names of fields, of
collections and of keys.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, time
from typing import Final
from uuid import UUID

import msgspec

from wellkeep.access.actors import actor_names
from wellkeep.assembly.disclosure_words import attempted, what, who, why
from wellkeep.assembly.ledger_search import NO_COLLECTION, place, position
from wellkeep.base.clock import Clock
from wellkeep.base.ids import parse_uuid
from wellkeep.base.permissions import Permission
from wellkeep.base.principal import ActorType
from wellkeep.db.connection import Connection
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.gate.gate import Gate
from wellkeep.keys.cursors import Cursors
from wellkeep.ledger.actions import Action
from wellkeep.ledger.disclosures import Naming, Patient, naming
from wellkeep.ledger.search import PLANNED, Place, window
from wellkeep.vault.disclosures import Person, person

YEARS: Final = 6
"""How far an accounting goes back (164.528(a)(1))."""

MOST_AT_ONCE: Final = 5_000
"""How many a whole accounting holds: what is beyond is asked for by a shorter span."""

_PAGE: Final = 200


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who it was: id and kind as the ledger has them, the name that the key or person has, and all of it in words."""

    type: str
    id: str
    name: str | None
    roles: tuple[str, ...]
    on_behalf_of: str | None
    words: str


class Doing(msgspec.Struct, frozen=True, kw_only=True):
    """What was done or tried: `records` are the patient's own; `count` is what the entry says of all patients."""

    action: str
    words: str
    collections: tuple[str, ...]
    fields: tuple[str, ...]
    records: tuple[UUID, ...]
    count: int | None


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why: the purpose of use, in its code and in words, and the rule that permitted or refused it."""

    purpose: str | None
    words: str
    rule: str | None


class Disclosure(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to the patient's data; `id`, `epoch` and `seq` name the entry, to ask for its proof."""

    time: datetime
    who: Actor
    what: Doing
    why: Reason
    ip: str | None
    outcome: str
    error: str | None
    subject: UUID
    id: UUID
    epoch: int
    seq: int
    request: UUID


class Accounting(msgspec.Struct, frozen=True, kw_only=True):
    """Disclosures of one patient, the newest first; `merged` are ids joined into theirs, `cursor` null at the end."""

    subject: UUID
    merged: tuple[UUID, ...]
    made_at: datetime
    since: datetime
    until: datetime | None
    disclosures: list[Disclosure]
    cursor: str | None


class Disclosures:
    """Makes accountings for whoever may read the ledger of their tenant."""

    def __init__(self, *, gate: Gate, cursors: Cursors, clock: Clock) -> None:
        """Read through `gate`; `cursors` sign where a page ends."""
        self._gate = gate
        self._cursors = cursors
        self._clock = clock

    async def page(
        self,
        caller: Caller,
        subject: UUID,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int,
        cursor: str | None = None,
    ) -> Accounting:
        """Return one page, of up to `limit` (at most 200); it may be shorter and have a cursor all the same.

        Raises Forbidden, NotFound, Validation for a cursor of another query, LedgerUnavailable.
        """
        decision = await self._decide(caller, subject)
        query = _query(subject, since, until)
        before = None
        if cursor is not None:
            held = self._cursors.verify(cursor, tenant=decision.tenant, collection=NO_COLLECTION, query=query)
            before = place(held)
        found, following = await self._account(decision, subject, since, until, before=before, most=limit)
        if following is None:
            return found
        end = self._cursors.sign(position(following), tenant=decision.tenant, collection=NO_COLLECTION, query=query)
        return msgspec.structs.replace(found, cursor=end)

    async def whole(
        self, caller: Caller, subject: UUID, *, since: datetime | None = None, until: datetime | None = None
    ) -> tuple[Accounting, bool]:
        """Return the accounting in one piece, up to 5,000 of its newest entries, and whether that is all of it.

        Raises Forbidden, NotFound, LedgerUnavailable.
        """
        decision = await self._decide(caller, subject)
        found, following = await self._account(decision, subject, since, until, before=None, most=MOST_AT_ONCE)
        return found, following is None

    async def _decide(self, caller: Caller, subject: UUID) -> Decision:
        act = Act(Permission.LEDGER_READ, Action.SUBJECT_DISCLOSURES, "subject", str(subject), subject=subject)
        return await self._gate.must_reach(await self._gate.decide(caller, act), subject)

    async def _account(
        self,
        decision: Decision,
        subject: UUID,
        since: datetime | None,
        until: datetime | None,
        *,
        before: Place | None,
        most: int,
    ) -> tuple[Accounting, Place | None]:
        now = self._clock.now()
        begin = since or six_years_before(min(now, until or now))
        async with self._gate.reading(decision) as connection:
            about = await person(connection, subject)
            found, following = await _gather(connection, about, begin, until, before=before, most=most)
            names = await actor_names(connection, _actors(found))
        await self._gate.disclose(decision, subject=subject, count=len(found))
        told = [_disclosure(one, about, names) for one in found]
        accounting = Accounting(
            subject=about.subject,
            merged=about.merged,
            made_at=now,
            since=begin,
            until=until,
            disclosures=told,
            cursor=None,
        )
        return accounting, following


_BEGINNING = datetime.min.replace(tzinfo=UTC)


def six_years_before(moment: datetime) -> datetime:
    """Return the beginning of the day (UTC) six years before `moment`'s; of 29 February, the day before 1 March.

    Of the first years there are, the first day.
    """
    try:
        day = moment.astimezone(UTC).date()
    except OverflowError:
        return _BEGINNING
    if day.year <= YEARS:
        return _BEGINNING
    try:
        begin = day.replace(year=day.year - YEARS)
    except ValueError:
        begin = day.replace(year=day.year - YEARS, day=day.day - 1)
    return datetime.combine(begin, time(tzinfo=UTC))


async def _gather(
    connection: Connection,
    about: Person,
    since: datetime,
    until: datetime | None,
    *,
    before: Place | None,
    most: int,
) -> tuple[list[Naming], Place | None]:
    """Return up to `most` of what names the patient, from at most so many entries, and where to go on, or None."""
    await connection.execute(PLANNED)
    patient = Patient(frozenset((about.subject, *about.merged)), about.collections)
    found: list[Naming] = []
    following = before
    while most > 0:
        span = await window(connection, since=since, until=until, before=following)
        asked = min(most, _PAGE)
        named, following = await naming(connection, patient, span, most=asked)
        found += named
        most -= asked
        if following is None:
            break
        await asyncio.sleep(0)
    return found, following


def _actors(found: Sequence[Naming]) -> set[UUID]:
    """Return the ids of the keys and persons who acted, and of those on whose behalf."""
    named = {one.event.actor_id for one in found if one.event.actor_type in {ActorType.API_KEY, ActorType.PERSON}}
    named |= {one.event.on_behalf_of for one in found if one.event.on_behalf_of is not None}
    return {identifier for text in named if (identifier := parse_uuid(text)) is not None}


def _disclosure(one: Naming, about: Person, names: dict[str, str]) -> Disclosure:
    event = one.event
    mine = tuple(record for record in _named(one) if record in about.collections)
    name, account = names.get(event.actor_id), event.on_behalf_of
    return Disclosure(
        time=one.time,
        who=Actor(
            type=event.actor_type.value,
            id=event.actor_id,
            name=name,
            roles=event.roles,
            on_behalf_of=event.on_behalf_of,
            words=who(
                event.actor_type, event.actor_id, name, event.roles, account=account and names.get(account, account)
            ),
        ),
        what=_doing(one, mine, tuple(sorted({about.collections[record] for record in mine}))),
        why=Reason(
            purpose=None if event.purpose is None else event.purpose.value, words=why(event.purpose), rule=event.rule
        ),
        ip=event.ip,
        outcome=event.outcome.value,
        error=event.error,
        subject=_subject(one, about),
        id=event.id,
        epoch=one.place.epoch,
        seq=one.place.seq,
        request=event.request,
    )


def _doing(one: Naming, records: tuple[UUID, ...], collections: tuple[str, ...]) -> Doing:
    event = one.event
    action = attempted(event.action, event.rule)
    words = what(action, event.outcome, records=len(records), collections=collections, fields=event.fields)
    return Doing(
        action=action.value,
        words=words,
        collections=collections,
        fields=event.fields,
        records=records,
        count=event.count,
    )


def _named(one: Naming) -> tuple[UUID, ...]:
    """Return the records that an entry names, or the one that it is about."""
    if one.event.records:
        return one.event.records
    about = parse_uuid(one.event.resource_id or "")
    return () if about is None else (about,)


def _subject(one: Naming, about: Person) -> UUID:
    """Return under which of the patient's ids the entry names them."""
    ids = (about.subject, *about.merged)
    if one.event.subject in ids:
        return one.event.subject
    return next((subject for subject in one.event.subjects if subject in ids), about.subject)


def _query(subject: UUID, since: datetime | None, until: datetime | None) -> bytes:
    parts = ("disclosures", subject, since and since.isoformat(), until and until.isoformat())
    return hashlib.sha256(msgspec.json.encode(parts)).digest()
