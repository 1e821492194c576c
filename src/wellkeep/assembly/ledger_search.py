"""A tenant's own ledger, page by page: the search is an entry itself, and durable before anything is shown."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeVar
from uuid import UUID

import msgspec

from wellkeep.access.actors import actor_names
from wellkeep.base.errors import FieldProblem, Validation
from wellkeep.base.ids import parse_uuid
from wellkeep.base.permissions import Permission
from wellkeep.base.purpose import Purpose
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.gate.gate import Gate
from wellkeep.keys.cursors import Cursors
from wellkeep.ledger.actions import Action, Outcome
from wellkeep.ledger.search import Filters, Found, Place, search

Word = TypeVar("Word", bound=StrEnum)

NO_COLLECTION: Final = 0
_EPOCH_BYTES: Final = 4
_SEQ_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class EntryPage:
    """One page of entries, newest first, each the stored entry's own JSON; `cursor` is None on the last.

    `names` says what the actors are called, and those on whose behalf they acted, by id; an entry itself holds ids.
    """

    entries: list[msgspec.Raw]
    cursor: str | None
    names: dict[str, str]


class LedgerSearch:
    """Searches entries for whoever may read the ledger of their tenant."""

    def __init__(self, *, gate: Gate, cursors: Cursors) -> None:
        """Read through `gate`; `cursors` sign where a page ends."""
        self._gate = gate
        self._cursors = cursors

    async def search(
        self,
        caller: Caller,
        *,
        actor: str | None = None,
        subject: UUID | None = None,
        action: str | None = None,
        purpose: str | None = None,
        outcome: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int,
        cursor: str | None = None,
    ) -> EntryPage:
        """Return one page of the entries that fit all filters, from `since` to before `until`.

        A page may be short, or empty, and have a cursor all the same: then there was more to look through than one
        request may. Raises Forbidden, LedgerUnavailable, and Validation for a word that does not exist or a cursor of
        another query.
        """
        act = Act(Permission.LEDGER_READ, Action.LEDGER_READ, "ledger", subject=subject)
        decision = await self._gate.must_reach_all(await self._gate.decide(caller, act))
        filters = Filters(
            actor=actor,
            subject=subject,
            action=_word(Action, "action", action),
            purpose=_word(Purpose, "purpose", purpose),
            outcome=_word(Outcome, "outcome", outcome),
            since=since,
            until=until,
        )
        return await self._page(decision, filters, limit=limit, cursor=cursor)

    async def _page(self, decision: Decision, filters: Filters, *, limit: int, cursor: str | None) -> EntryPage:
        query, tenant = _query(filters), decision.tenant
        before = None
        if cursor is not None:
            before = place(self._cursors.verify(cursor, tenant=tenant, collection=NO_COLLECTION, query=query))
        async with self._gate.reading(decision) as connection:
            found = await search(connection, filters, before=before, limit=limit)
            names = await actor_names(connection, _actors(found.entries))
        await self._gate.disclose(decision, count=len(found.entries), subject=filters.subject)
        following = None
        if found.following is not None:
            end = position(found.following)
            following = self._cursors.sign(end, tenant=tenant, collection=NO_COLLECTION, query=query)
        return EntryPage([msgspec.Raw(one.entry) for one in found.entries], following, names)


class _Actor(msgspec.Struct):
    id: str
    on_behalf_of: str | None = None


class _Event(msgspec.Struct):
    actor: _Actor


class _Entry(msgspec.Struct):
    event: _Event


_entry = msgspec.json.Decoder(_Entry).decode


def _actors(found: Sequence[Found]) -> set[UUID]:
    """Return the ids of who acted in these entries, and of those on whose behalf; operators have none."""
    actors = [_entry(one.entry).event.actor for one in found]
    named = {text for actor in actors for text in (actor.id, actor.on_behalf_of) if text is not None}
    return {identifier for text in named if (identifier := parse_uuid(text)) is not None}


def _word(vocabulary: type[Word], name: str, text: str | None) -> Word | None:
    if text is None:
        return None
    try:
        return vocabulary(text)
    except ValueError:
        raise Validation(fields=(FieldProblem(f"query/{name}", "not-one-of"),)) from None


def _query(filters: Filters) -> bytes:
    times = [moment and moment.isoformat() for moment in (filters.since, filters.until)]
    parts = ("ledger", filters.actor, filters.subject, filters.action, filters.purpose, filters.outcome, *times)
    return hashlib.sha256(msgspec.json.encode(parts)).digest()


def position(at: Place) -> bytes:
    """Return what a cursor holds of the place before which the next page goes on."""
    return at.epoch.to_bytes(_EPOCH_BYTES, "big") + at.seq.to_bytes(_SEQ_BYTES, "big")


def place(held: bytes) -> Place:
    """Return the place that `position` wrote."""
    return Place(int.from_bytes(held[:_EPOCH_BYTES], "big"), int.from_bytes(held[_EPOCH_BYTES:], "big"))
