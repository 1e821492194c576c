"""The writer: one task a process, which chains what callers hand in, many entries with one commit.

Rules: a caller hears of success after the commit and not before; it takes what is there (at most 500 entries or 1 MB)
after a few turns of the event loop, so that whoever is about to ask comes along, and no timer holds it back; the
queue is bounded, and a full one refuses instead of growing; whatever goes wrong ends as LedgerUnavailable, so nothing
is read or changed without its entry; it mends itself, because a connection is borrowed for a second at most and a
broken one is thrown away. A cancelled caller's read is skipped; a cancelled caller's change is chained all the same,
for it is committed already.

The outbox holds what a change left to be chained. All of it is drained at start and at once after the writer has
recovered; what then is still there after a second (its process died, or could not append) with the next look at it.
Who drains what somebody else is chaining does no harm: a row is chained once. Waiting would: while its outbox is
older than two seconds the gate refuses a tenant's changes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final
from uuid import UUID

import msgspec
import structlog

from wellkeep.base.clock import Clock
from wellkeep.base.errors import LedgerUnavailable
from wellkeep.base.turns import pass_turns
from wellkeep.db.connection import Connection
from wellkeep.db.pool import Pool, is_gone
from wellkeep.ledger.append import Appender, Grown, Reporter
from wellkeep.ledger.checkpoint import Checkpoint
from wellkeep.ledger.event import PreparedEvent
from wellkeep.ledger.outbox import drain, oldest_seconds
from wellkeep.ledger.seal import SealKey
from wellkeep.ledger.splice import Appended, Place, Splicer, Submitted

BATCH_ENTRIES: Final = 500
BATCH_BYTES: Final = 1_000_000
QUEUE_ENTRIES: Final = 20_000
QUEUE_BYTES: Final = 64_000_000
TURNS: Final = 3
"""Of the event loop, before a batch is taken."""
LEFTOVER_SECONDS: Final = 1.0
"""Younger rows are still being chained by those who wrote them."""

_TICK_SECONDS = 1.0
_PROVIDE_SECONDS = 3600.0
_STOP_SECONDS = 15.0
_RETRY_AFTER = 2

_PROVIDE = "SELECT ledger.provide_partitions()"

_log = structlog.get_logger("wellkeep.ledger")


class _Waiting(msgspec.Struct):
    """One call of `append` on its way."""

    tenant: UUID
    events: Sequence[PreparedEvent]
    size: int
    answer: asyncio.Future[list[Appended]]
    outbox: bool


class LedgerWriter:
    """Chains events for everything in a process; made once, started and stopped with it."""

    def __init__(
        self,
        pool: Pool,
        *,
        host: str,
        seal_key: SealKey,
        older_keys: Sequence[SealKey] = (),
        clock: Clock,
        reporter: Reporter,
        grown: Grown | None = None,
        seen: Iterable[Checkpoint] = (),
    ) -> None:
        """`pool` is wk_ledger's (one connection is enough); `host` names the deployment's logs.

        `older_keys` are seal keys under which outbox rows may still lie; `grown` is told of heads once they are
        durable; to a log that is behind what was `seen` of it nothing is appended. Raises Misconfigured where `host` is
        no DNS name.
        """
        self._pool = pool
        self._seal_key = seal_key
        self._keys = (seal_key, *older_keys)
        self._clock = clock
        self._reporter = reporter
        splicer = Splicer(host=host, seal_key=seal_key)
        self._appender = Appender(splicer, clock=clock, reporter=reporter, grown=grown, seen=seen)
        self._queue: deque[_Waiting] = deque()
        self._entries = 0
        self._bytes = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._failed = False
        self._recovering = False
        self._due = False
        self._ages: dict[UUID, float] = {}
        self._measured_at = 0.0
        self._provided_at: float | None = None
        self._drains: list[tuple[float, asyncio.Future[int]]] = []

    @property
    def healthy(self) -> bool:
        """Whether the writer runs and what it did last worked."""
        return self._task is not None and not self._task.done() and not self._failed

    def outbox_age(self, tenant: UUID) -> float:
        """Return for how many seconds the tenant's oldest outbox row has waited, as far as is known; 0.0 without one.

        Measured every second; while it can't be measured, what was seen last grows older.
        """
        age = self._ages.get(tenant)
        return 0.0 if age is None else age + self._clock.monotonic() - self._measured_at

    async def start(self) -> None:
        """Start the task and drain the outbox's leftovers; a database that is away now may come later."""
        self._stopping = False
        self._task = asyncio.create_task(self._run(), name="ledger-writer")

    async def stop(self) -> None:
        """Chain what is queued, for at most 15 seconds, then stop; what remains is refused."""
        task, self._stopping = self._task, True
        self._wake.set()
        if task is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP_SECONDS):
                    await asyncio.shield(task)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._task = None
        self._refuse(self._queue)
        self._queue.clear()
        self._refuse_drains()

    async def append(self, tenant: UUID, events: Sequence[PreparedEvent], *, outbox: bool = False) -> list[Appended]:
        """Chain `events` in their order into the log of `tenant` and return their places, once they are durable.

        `outbox` says that each has a row there, in a transaction that is committed. An event id that is chained already
        returns its old place. Raises LedgerUnavailable where that can't be known: then nothing may be disclosed, and
        nothing is appended a second time.
        """
        if not events:
            return []
        size = 0
        for prepared in events:
            size += len(prepared.encoded)
        if self._stopping or self._task is None or self._task.done():
            raise LedgerUnavailable(retry_after=_RETRY_AFTER)
        if self._entries + len(events) > QUEUE_ENTRIES or self._bytes + size > QUEUE_BYTES:
            raise LedgerUnavailable("The ledger's queue is full; try again", retry_after=_RETRY_AFTER)
        answer: asyncio.Future[list[Appended]] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(tenant, events, size, answer, outbox))
        self._entries += len(events)
        self._bytes += size
        self._wake.set()
        return await answer

    def outboxed(self, tenant: UUID, prepared: PreparedEvent) -> bytes:
        """Return what the outbox row of an event holds, for whoever writes it together with a change."""
        return self._seal_key.outboxed(tenant=tenant, event=prepared.encoded)

    async def drain_outbox(self, *, older_than: float = LEFTOVER_SECONDS) -> int:
        """Chain the outbox rows that are at least `older_than` seconds old and return how many were.

        Zero where another process is draining. Raises LedgerUnavailable where it can't be done.
        """
        if self._stopping or self._task is None or self._task.done():
            raise LedgerUnavailable(retry_after=_RETRY_AFTER)
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._drains.append((older_than, answer))
        self._wake.set()
        return await answer

    async def _run(self) -> None:
        self._recovering = True
        ticker = asyncio.create_task(self._tick(), name="ledger-ticker")
        try:
            await self._maintain()
            while self._queue or self._drains or not self._stopping:
                await self._goes_on()
                if self._due or self._drains:
                    await self._maintain()
                await self._commit()
        finally:
            ticker.cancel()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self._due = True
            self._wake.set()

    def _take(self) -> list[_Waiting]:
        """Take callers from the queue up to the batch's bounds; one call is never divided."""
        batch: list[_Waiting] = []
        entries = size = 0
        queue = self._queue
        while queue:
            first = queue[0]
            count = len(first.events)
            if batch and (entries + count > BATCH_ENTRIES or size + first.size > BATCH_BYTES):
                break
            queue.popleft()
            self._entries -= count
            self._bytes -= first.size
            if first.outbox or not first.answer.done():
                entries += count
                size += first.size
                batch.append(first)
        return batch

    async def _commit(self) -> None:
        """Chain batch after batch over one connection, until something else is due or the connection is no more."""
        batch = await self._board()
        if not batch:
            return
        try:
            async with self._pool.connection() as connection:
                while batch:
                    places = await self._appender.append(connection, _submitted(batch))
                    self._appender.committed()
                    self._failed = False
                    answered, batch = batch, []
                    for waiting in answered:
                        _answer(waiting, places)
                    if await self._goes_on() and not is_gone(connection):
                        batch = await self._board()
        except Exception as error:  # noqa: BLE001  # logged; a writer that died of one batch would end all access
            self._fail(error)
            self._refuse(batch)
        except BaseException:
            self._refuse(batch)
            raise

    async def _board(self) -> list[_Waiting]:
        """Let those along who are about to ask, and take a batch."""
        await pass_turns(TURNS)
        return self._take()

    async def _goes_on(self) -> bool:
        """Wait for callers; say whether there are some, and nothing else to do first."""
        if not self._queue:
            self._wake.clear()
            if not (self._drains or self._due or self._stopping):
                await self._wake.wait()
        return bool(self._queue) and not (self._drains or self._due)

    async def _maintain(self) -> None:
        """Measure the outbox; drain it where that is due, asked for, or owed after a failure."""
        self._due = False
        drains, self._drains = self._drains, []
        older = min((older for older, _ in drains), default=LEFTOVER_SECONDS)
        try:
            async with self._pool.connection() as connection:
                drained = 0
                await self._provide(connection)
                await self._measure(connection)
                if drains or self._recovering or max(self._ages.values(), default=0.0) > LEFTOVER_SECONDS:
                    seconds = timedelta(seconds=0.0 if self._recovering else older)
                    drained = await drain(
                        connection, self._appender, keys=self._keys, older=seconds, reporter=self._reporter
                    )
                    await self._measure(connection)
        except Exception as error:  # noqa: BLE001  # logged, and tried again with the next tick
            self._fail(error)
            for _, answer in drains:
                _refuse_one(answer)
            return
        self._failed = self._recovering = False
        for _, answer in drains:
            if not answer.done():
                answer.set_result(drained)

    async def _provide(self, connection: Connection) -> None:
        """Make the coming months' partitions, once an hour: without one, nothing could be appended."""
        now = self._clock.monotonic()
        if self._provided_at is None or now - self._provided_at > _PROVIDE_SECONDS:
            await connection.execute(_PROVIDE)
            self._provided_at = now

    async def _measure(self, connection: Connection) -> None:
        self._ages = await oldest_seconds(connection)
        self._measured_at = self._clock.monotonic()

    def _fail(self, error: Exception) -> None:
        self._failed = self._recovering = True
        self._provided_at = None
        self._appender.forget()
        _log.error("ledger.append_failed", kind=type(error).__name__)

    def _refuse(self, waiting: Sequence[_Waiting] | deque[_Waiting]) -> None:
        for each in waiting:
            _refuse_one(each.answer)

    def _refuse_drains(self) -> None:
        for _, answer in self._drains:
            _refuse_one(answer)
        self._drains.clear()


def _submitted(batch: list[_Waiting]) -> list[Submitted]:
    """Return the events of `batch` in their order, each id once for each tenant."""
    submitted: dict[Place, Submitted] = {}
    for waiting in batch:
        tenant, outbox = waiting.tenant, waiting.outbox
        number = tenant.int
        for prepared in waiting.events:
            place = (number, prepared.event.id.int)
            if place not in submitted:
                submitted[place] = Submitted(tenant, prepared, outbox)
    return list(submitted.values())


def _answer(waiting: _Waiting, places: dict[Place, Appended]) -> None:
    if waiting.answer.done():
        return
    tenant = waiting.tenant.int
    try:
        waiting.answer.set_result([places[tenant, prepared.event.id.int] for prepared in waiting.events])
    except KeyError:
        _refuse_one(waiting.answer)


def _refuse_one(answer: asyncio.Future[list[Appended]] | asyncio.Future[int]) -> None:
    if not answer.done():
        answer.set_exception(LedgerUnavailable(retry_after=_RETRY_AFTER))
