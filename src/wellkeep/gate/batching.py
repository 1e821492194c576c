"""Natural batching: requests that wait at the same time share one SQL call.

Rules
- Each function has a lane of its own, so reads and writes never share a call. At most `FLIGHTS` calls of a lane are in
  the air and at most `ROWS` elements in each; no timer holds one back. A call boards after `TURNS` turns of the event
  loop: whoever's request lies in the sockets already comes along, and an idle loop turns in microseconds.
- Every element carries the signed token of its own tenant for the very connection it travels on. One call may hold many
  tenants; the database enters each one's wall in turn.
- A caller gets the rows of its own element or an error, never another's: a position outside the batch fails the batch.
- If a call fails and is known to be rolled back, its elements run again one by one, so that one poisoned element fails
  alone. A read is harmless to repeat; a change whose outcome is unknown is never repeated.
- Who is cancelled while waiting is skipped. A change whose caller leaves while it is in the air is handed to `orphan`:
  it is committed, so its entry must be chained.
- What waits is bounded: beyond `WAITING` the answer is 503 at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import msgspec
import structlog

from wellkeep.base.errors import DatabaseUnavailable, Internal, WellkeepError
from wellkeep.base.turns import pass_turns
from wellkeep.db.connection import Connection, Record
from wellkeep.db.pool import Pool, discard, is_gone
from wellkeep.gate.calls import Answers, BatchedSql, Row
from wellkeep.gate.outcomes import Fate, fate, outcome_unknown, refusal, worth_another_try
from wellkeep.ledger.event import PreparedEvent

ROWS = 64
FLIGHTS = 2
TURNS = 3
WAITING = 2048
_TRIES = 4
_REPEATABLE = (Fate.NOT_SENT, Fate.ROLLED_BACK)

_log = structlog.get_logger("wellkeep.gate")

MakeRow = Callable[[str], Row]


class Unfinished(msgspec.Struct, frozen=True):
    """A change whose events lie in the outbox once it is committed; `done` are the statuses that say that it is."""

    tenant: UUID
    prepared: list[PreparedEvent]
    done: frozenset[str] = frozenset()


Orphan = Callable[[Unfinished, Answers], None]


@dataclass(slots=True, eq=False)
class Waiting:
    """One element that waits for its call; `keep` is what an orphaned change leaves to be finished."""

    tenant: UUID
    make_row: MakeRow
    future: asyncio.Future[Answers]
    keep: Unfinished | None = None


class Lane:
    """The queue of one batched function and its flights."""

    def __init__(self, *, batch: BatchedSql, pool: Pool, orphan: Orphan) -> None:
        """Serve `batch` over connections of `pool`; `orphan` gets the changes whose caller has left."""
        self._batch = batch
        self._pool = pool
        self._orphan = orphan
        self._waiting: deque[Waiting] = deque()
        self._flights: set[asyncio.Task[None]] = set()
        self._boarding = False
        self._loop = asyncio.get_running_loop()

    def submit(self, tenant: UUID, make_row: MakeRow, *, keep: Unfinished | None = None) -> asyncio.Future[Answers]:
        """Queue one element and return the future of its rows; raises DatabaseUnavailable where too many wait."""
        if len(self._waiting) >= WAITING:
            raise DatabaseUnavailable("Too many requests wait for the database; try again", retry_after=1)
        future: asyncio.Future[Answers] = self._loop.create_future()
        self._waiting.append(Waiting(tenant, make_row, future, keep))
        self._take_off_if_needed()
        return future

    async def stop(self) -> None:
        """Refuse what still waits and let what is in the air land."""
        self._refuse_waiting()
        if self._flights:
            await asyncio.wait(self._flights)

    def _take_off_if_needed(self) -> None:
        # A flight that is still boarding takes along whoever comes meanwhile: a second one would fly empty.
        if self._waiting and not self._boarding and len(self._flights) < FLIGHTS:
            self._boarding = True
            flight = self._loop.create_task(self._fly())
            self._flights.add(flight)
            flight.add_done_callback(self._landed)

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        if flight.cancelled():
            # The process is going down: a new flight would be cancelled as well, and nobody would be told.
            self._refuse_waiting()
        elif (fault := flight.exception()) is not None:
            _log.error("gate.flight_failed", kind=type(fault).__name__)
            self._refuse_waiting()
        else:
            self._take_off_if_needed()

    def _refuse_waiting(self) -> None:
        for waiting in self._board(len(self._waiting)):
            _fail(waiting, DatabaseUnavailable())

    async def _fly(self) -> None:
        try:
            async with self._pool.connection(packed=self._batch.packed) as connection:
                while batch := await self._boarded():
                    if is_gone(connection):
                        self._waiting.extendleft(reversed(batch))  # nothing was sent: the next flight takes them
                        break
                    self._take_off_if_needed()
                    if not await self._serve(connection, batch):
                        discard(connection)  # a statement may still be running there
                        break
        except WellkeepError:
            # No connection: whoever waits now would wait for the same database, so all are told and none hangs.
            self._refuse_waiting()
        finally:
            self._boarding = False

    async def _boarded(self) -> list[Waiting]:
        self._boarding = True
        await pass_turns(TURNS)
        self._boarding = False
        return self._board(ROWS)

    def _board(self, most: int) -> list[Waiting]:
        boarded: list[Waiting] = []
        waiting = self._waiting
        while waiting and len(boarded) < most:
            one = waiting.popleft()
            if not one.future.done():
                boarded.append(one)
        # One tenant's elements side by side, else as they came: a function enters a context once for all of them.
        boarded.sort(key=_tenant)
        return boarded

    async def _serve(self, connection: Connection, batch: list[Waiting]) -> bool:
        """Answer everyone in `batch`, and say whether the connection is good for another call."""
        try:
            return await self._call(connection, batch)
        except BaseException:
            for waiting in batch:
                _fail(waiting, outcome_unknown() if self._batch.kind == "write" else DatabaseUnavailable())
            raise

    async def _call(self, connection: Connection, batch: list[Waiting]) -> bool:
        rows = self._rows(connection, batch)
        sent = [waiting for waiting in batch if not waiting.future.done()]
        if not sent:
            return True
        try:
            answers = await connection.fetch(self._batch.sql, rows)
        except Exception as error:  # noqa: BLE001  # whatever it is, each caller must be told
            what = fate(error)
            if what in _REPEATABLE and (len(sent) > 1 or worth_another_try(error)):
                return await self._one_by_one(connection, sent)
            return self._give_up(sent, error, what)
        self._deliver(sent, answers)
        return True

    async def _one_by_one(self, connection: Connection, batch: list[Waiting]) -> bool:
        usable = True
        for waiting in batch:
            if usable:
                usable = await self._alone(connection, waiting)
            else:
                _fail(waiting, DatabaseUnavailable("Nothing was done; try again"))
        return usable

    def _rows(self, connection: Connection, batch: list[Waiting]) -> list[Row]:
        rows: list[Row] = []
        for waiting in batch:
            try:
                rows.append(waiting.make_row(self._pool.token(connection, tenant=waiting.tenant)))
            except Exception:  # noqa: BLE001  # one element that can't be written down must not take the others along
                _fail(waiting, Internal("The request could not be put to the database"))
        return rows

    async def _alone(self, connection: Connection, waiting: Waiting) -> bool:
        tries = _TRIES
        while not waiting.future.done() and (rows := self._rows(connection, [waiting])):
            tries -= 1
            try:
                answers = await connection.fetch(self._batch.sql, rows)
            except Exception as error:  # noqa: BLE001  # whatever it is, the caller must be told
                what = fate(error)
                if what is not Fate.ROLLED_BACK or not worth_another_try(error) or not tries:
                    return self._give_up([waiting], error, what)
            else:
                self._deliver([waiting], answers)
        return True

    def _give_up(self, batch: list[Waiting], error: Exception, what: Fate) -> bool:
        for waiting in batch:
            _fail(waiting, refusal(error, fate=what, kind=self._batch.kind, codes=self._pool.codes))
        return what is not Fate.UNKNOWN

    def _deliver(self, batch: list[Waiting], answers: Answers) -> None:
        last = len(batch)
        shares: list[list[Record]] = [[] for _ in batch]
        for answer in answers:
            position = answer["i"]
            if not isinstance(position, int) or not 1 <= position <= last:
                # Committed or not, no row can be given to anyone: whose it is, is not known.
                for waiting in batch:
                    _fail(waiting, Internal("The database answered for an element that was not asked for"))
                return
            shares[position - 1].append(answer)
        for waiting, share in zip(batch, shares, strict=True):
            if not waiting.future.done():
                waiting.future.set_result(share)
            elif waiting.keep is not None:
                self._orphan(waiting.keep, share)


def _tenant(waiting: Waiting) -> int:
    return waiting.tenant.int


def _fail(waiting: Waiting, error: WellkeepError) -> None:
    if not waiting.future.done():
        waiting.future.set_exception(error)
