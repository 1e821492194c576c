"""A tenant's own ledger, page by page: the search is an entry itself, and durable before anything is shown."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Final, TypeVar
from uuid import UUID

import msgspec

from wellkeep.access.actors import actor_names
from wellkeep.base.errors import FieldProblem, NotFound, Validation
from wellkeep.base.ids import parse_uuid
from wellkeep.base.permissions import Permission
from wellkeep.base.purpose import Purpose
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.gate.gate import Gate
from wellkeep.keys.cursors import Cursors
from wellkeep.ledger.actions import Action, Outcome
from wellkeep.ledger.search import Filters, Found, Place, search

Word = TypeVar("Word", bound=StrEnum)

HOURS: Final = 7 * 24
_PLACE = "SELECT epoch, seq FROM ledger.entry WHERE tenant_id = wk.tenant() AND event_id = $1"
_HOURS = """
SELECT at, (SELECT coalesce(sum(ledger.seq_since(l.epoch, at)), 0)::bigint FROM ledger.log AS l
            WHERE l.tenant_id = wk.tenant()) AS before
FROM unnest($1::timestamptz[]) AS at
"""
"""How many entries there are before each hour: found by halving, since time never runs backwards in a log."""

NO_COLLECTION: Final = 0
_EPOCH_BYTES: Final = 4
_SEQ_BYTES: Final = 8
_BESIDE: Final = 3
_SETTLED: Final = timedelta(minutes=10)
_MOST_TENANTS: Final = 256


@dataclass(frozen=True, slots=True)
class EntryPage:
    """One page of entries, newest first, each the stored entry's own JSON; `cursor` is None on the last.

    `names` says what the actors are called, and those on whose behalf they acted, by id; an entry itself holds ids.
    """

    entries: list[msgspec.Raw]
    cursor: str | None
    names: dict[str, str]


@dataclass(frozen=True, slots=True)
class Around:
    """The entries beside one in its log, each with its leaf hash, None at an end; `names` says who acted, by id."""

    before: Found | None
    after: Found | None
    names: dict[str, str]


@dataclass(frozen=True, slots=True)
class Hours:
    """How many entries there were in each of the last hours (UTC), the oldest, which began at `since`, first."""

    since: datetime
    counts: tuple[int, ...]


class LedgerSearch:
    """Searches entries for whoever may read the ledger of their tenant."""

    def __init__(self, *, gate: Gate, cursors: Cursors) -> None:
        """Read through `gate`; `cursors` sign where a page ends."""
        self._gate = gate
        self._cursors = cursors
        self._counted: dict[UUID, dict[datetime, int]] = {}

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

    async def around(self, caller: Caller, event: UUID) -> Around:
        """Return the entries before and after an event's, and what those are called who acted, on record.

        Raises Forbidden, NotFound, LedgerUnavailable.
        """
        act = Act(Permission.LEDGER_READ, Action.LEDGER_READ, "entry", resource_id=str(event))
        decision = await self._gate.must_reach_all(await self._gate.decide(caller, act))
        async with self._gate.reading(decision) as connection:
            row = await connection.fetchrow(_PLACE, event)
            if row is None:
                raise NotFound
            epoch, seq = row["epoch"], row["seq"]
            found = (await search(connection, Filters(), before=Place(epoch, seq + 2), limit=_BESIDE)).entries
            names = await actor_names(connection, _actors(found))
        await self._gate.disclose(decision, count=len(found))
        by_seq = {one.place.seq: one for one in found if one.place.epoch == epoch}
        return Around(by_seq.get(seq - 1), by_seq.get(seq + 1), names)

    async def hours(self, caller: Caller, *, until: datetime) -> Hours:
        """Return how many entries there were in each hour of the seven days that end with the hour of `until`.

        Raises Forbidden, LedgerUnavailable.
        """
        act = Act(Permission.LEDGER_READ, Action.LEDGER_READ, "hours")
        decision = await self._gate.must_reach_all(await self._gate.decide(caller, act))
        end = until.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        since = end - timedelta(hours=HOURS)
        marks = [since + timedelta(hours=place) for place in range(HOURS + 1)]
        known = {at: count for at, count in self._counted.get(decision.tenant, {}).items() if at >= since}
        async with self._gate.reading(decision) as connection:
            rows = await connection.fetch(_HOURS, [at for at in marks if at not in known])
        counted = known | {row["at"]: row["before"] for row in rows}
        self._keep(decision.tenant, {at: counted[at] for at in marks if at < until - _SETTLED})
        await self._gate.disclose(decision, count=HOURS)
        return Hours(since, tuple(counted[after] - counted[earlier] for earlier, after in pairwise(marks)))

    def _keep(self, tenant: UUID, counted: dict[datetime, int]) -> None:
        """Remember how many entries came before hours that are over: no entry is added there any more."""
        self._counted.pop(tenant, None)
        self._counted[tenant] = counted
        if len(self._counted) > _MOST_TENANTS:
            del self._counted[next(iter(self._counted))]

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
