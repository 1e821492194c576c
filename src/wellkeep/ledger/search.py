"""Searching a tenant's entries, for whoever may read its ledger.

Rules: under the tenant's signed context, so no other tenant's entry can come out; the newest first; a keyset cursor, so
a page costs the same wherever it is. What comes out are the stored entries themselves. The filters are columns that
repeat what the entries say; `verify` is what says that they do.

One index is walked, from the newest entry backwards, and the other filters are asked of what it finds. It is the index
of the rarest filter: which one that is, is found by counting, up to a bound. Where every filter is common and their
combination is not, a page ends after `BUDGET` entries, short or empty, and says where to go on: no search holds a
connection for as long as the ledger is long. The threat is a question that stops the server for everybody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple
from uuid import UUID

from wellkeep.base.purpose import Purpose
from wellkeep.db.connection import Connection
from wellkeep.ledger import search_walks
from wellkeep.ledger.actions import Action, Outcome
from wellkeep.ledger.search_walks import BUDGET, INDEXED_OUTCOMES, INDEXED_PURPOSES, Walk

__all__ = ["BUDGET", "EVER", "LIMIT", "NEVER", "Filters", "Found", "FoundPage", "Place", "search"]

LIMIT: Final = 200
"""The longest page."""

_COMMON_PURPOSES = frozenset(Purpose) - INDEXED_PURPOSES
_COMMON_OUTCOMES = frozenset(Outcome) - INDEXED_OUTCOMES
EVER: Final = datetime(1, 1, 2, tzinfo=UTC)
NEVER: Final = datetime(9999, 12, 30, tzinfo=UTC)
"""Before and after every entry."""
_SINCE = "SELECT l.epoch, ledger.seq_since(l.epoch, $1) AS seq, l.size FROM ledger.log AS l ORDER BY l.epoch"

PLANNED = """
SELECT set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_seqscan', 'off', true),
       set_config('enable_bitmapscan', 'off', true), set_config('enable_sort', 'off', true),
       set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)
"""
"""For the transaction of a search: one plan for good, by the order of an index. A plan that gathers first and sorts
then reads all that fits, and the planner chooses it where it believes that little does."""


class Place(NamedTuple):
    """An entry's place in its tenant's logs; a page goes on before the last one's."""

    epoch: int
    seq: int


NEWEST: Final = Place(2**31 - 1, 2**63 - 1)
OLDEST: Final = Place(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What an entry must be to be found; None where it does not matter. `since` is included, `until` is not."""

    actor: str | None = None
    subject: UUID | None = None
    action: Action | None = None
    purpose: Purpose | None = None
    outcome: Outcome | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """An entry as it is stored: its place, its leaf hash and its bytes."""

    place: Place
    leaf: bytes
    entry: bytes


@dataclass(frozen=True, slots=True)
class FoundPage:
    """Entries, the newest first, and the place before which the next page goes on: None where there is nothing more."""

    entries: list[Found]
    following: Place | None


class Window(NamedTuple):
    """Which entries may come out: before one place, from another on, in these times (for the months to look into)."""

    before: Place
    after: Place
    since: datetime
    until: datetime

    @property
    def arguments(self) -> tuple[object, ...]:
        """The first six arguments of every walk."""
        return (*self.before, *self.after, self.since, self.until)


async def search(
    connection: Connection, filters: Filters, *, before: Place | None = None, limit: int = LIMIT
) -> FoundPage:
    """Return up to `limit` (at most 200) entries that fit all filters, the newest first.

    `connection` is wk_app's, inside a transaction under the tenant's context. `before` is where the page before said
    that the next one goes on. A page that is not full has a next one all the same where `following` says so. Raises
    what the connection raises.
    """
    limit = max(1, min(limit, LIMIT))
    await connection.execute(PLANNED)
    span = await window(connection, since=filters.since, until=filters.until, before=before)
    walk, value = await _rarest(connection, span, filters)
    asked = (filters.actor, _text(filters.action), _text(filters.purpose), _text(filters.outcome))
    rows = await connection.fetch(walk.rows, *span.arguments, value, *asked, limit)
    found = [Found(Place(row["epoch"], row["seq"]), row["leaf"], row["entry"]) for row in rows]
    full = len(found) == limit
    if _asks_on_the_way(filters) and (walk.branches > 1 or not full):
        end = await connection.fetchrow(walk.end, *span.arguments, value)
        if end is not None and not (full and found[-1].place >= (end["epoch"], end["seq"])):
            reached = Place(end["epoch"], end["seq"])
            return FoundPage([one for one in found if one.place >= reached], reached)
    return FoundPage(found, found[-1].place if full else None)


async def window(
    connection: Connection, *, since: datetime | None, until: datetime | None, before: Place | None = None
) -> Window:
    """Return the window of entries from `since` to before `until` that stand before the place `before`."""
    after, end = OLDEST, before or NEWEST
    if since is not None:
        after = await _first_at(connection, since)
    if until is not None:
        end = min(end, await _first_at(connection, until))
    return Window(end, after, since or EVER, until or NEVER)


async def _first_at(connection: Connection, moment: datetime) -> Place:
    """Return the first place at or after `moment`; past the end where nothing is."""
    for row in await connection.fetch(_SINCE, moment):
        if row["seq"] < row["size"]:
            return Place(row["epoch"], row["seq"])
    return NEWEST


async def _rarest(connection: Connection, span: Window, filters: Filters) -> tuple[Walk, str | UUID | None]:
    """Return the walk along the index that holds the fewest entries of this window, and for which value.

    A subject's is taken unseen: nobody is looked at as often as the busiest programs look.
    """
    if filters.subject is not None:
        return search_walks.BY_SUBJECT, filters.subject
    usable = [
        (walk, value)
        for walk, value in (
            (search_walks.BY_OUTCOME, _indexed(filters.outcome, INDEXED_OUTCOMES)),
            (search_walks.BY_PURPOSE, _indexed(filters.purpose, INDEXED_PURPOSES)),
            (search_walks.BY_ACTION, _text(filters.action)),
            (search_walks.BY_ACTOR, filters.actor),
        )
        if value is not None
    ]
    if len(usable) > 1:
        counts = [await connection.fetchval(walk.count, *span.arguments, value) for walk, value in usable]
        return usable[counts.index(min(counts))]
    return usable[0] if usable else (search_walks.ALL, None)


def _asks_on_the_way(filters: Filters) -> bool:
    """Say whether a walk asks anything of its entries beside what its index is followed for."""
    words = (filters.actor, filters.subject, filters.action, filters.purpose, filters.outcome)
    return (
        sum(word is not None for word in words) > 1
        or filters.purpose in _COMMON_PURPOSES
        or filters.outcome in _COMMON_OUTCOMES
    )


def _indexed(word: Purpose | Outcome | None, indexed: frozenset[Purpose] | frozenset[Outcome]) -> str | None:
    return word.value if word in indexed and word is not None else None


def _text(word: Action | Purpose | Outcome | None) -> str | None:
    return None if word is None else word.value
