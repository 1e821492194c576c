"""One sink's stream in one process: take the turn, send what is due, move the cursor, and never stop for good.

Rules: the turn is kept while something is under way, and a cursor is moved only by who still has it; after a failure
everybody waits, longer each time, at random within bounds, and at least as long as the receiver asked for; a batch that
did not arrive is sent again, a smaller one each time, so that a slow receiver gets on, too. What goes wrong is a code.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import SystemRandom
from uuid import UUID

import structlog

from wellkeep.base.clock import Clock, iso
from wellkeep.base.errors import WellkeepError
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.sink_settings import SinkSettings
from wellkeep.egress.errors import EgressRefused, EgressUnreachable
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.ledger.append import Reporter
from wellkeep.ledger.sinks.batch import Batch, plan
from wellkeep.ledger.sinks.desk import Desk
from wellkeep.ledger.sinks.receiver import Receiver
from wellkeep.ledger.sinks.records import Gap
from wellkeep.ledger.sinks.trouble import SinkTrouble, Trouble

BATCH_ENTRIES = 200
BATCH_BYTES = 256 * 1024

_log = structlog.get_logger("wellkeep.ledger")


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: between looks with and without the turn, until the turn is lost, and what bounds each delivery."""

    look: float = 1.0
    wait: float = 5.0
    hold: float = 15.0
    keep: float = 5.0
    send: float = 60.0
    first_pause: float = 1.0
    longest_pause: float = 60.0
    measure: float = 15.0
    failing: float = 300.0


class Stream:
    """Delivers the ledger to one receiver, in turn with the other processes."""

    def __init__(
        self, sink: SinkSettings, *, desk: Desk, receiver: Receiver, clock: Clock, reporter: Reporter, pace: Pace
    ) -> None:
        """Describe a stream; nothing is read before `run`."""
        self._sink = sink
        self._desk = desk
        self._receiver = receiver
        self._clock = clock
        self._reporter = reporter
        self._pace = pace
        self._random = SystemRandom()
        self._opened = False
        self._failures = 0
        self._most = BATCH_ENTRIES
        self._measured: float | None = None
        self._kept: float | None = None
        self._reported: float | None = None
        self._told: set[tuple[UUID, int, int]] = set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            try:
                pause = await self._turn()
            except WellkeepError as error:
                _log.warning("ledger.sink_waits", sink=self._sink.name, error=error.code)
                pause = self._pace.wait
            except Exception as fault:  # noqa: BLE001 -- a fault of ours: its class is said, and it is tried again
                _log.error("ledger.sink_broke", sink=self._sink.name, error=type(fault).__name__)
                pause = self._pace.wait
            await asyncio.sleep(pause)

    async def stop(self) -> None:
        """Give the turn back. Raises DatabaseUnavailable; then it ends by itself."""
        await self._desk.release()

    async def _turn(self) -> float:
        """Deliver whatever is due, where it is our turn; return how long to wait then."""
        if not self._opened:
            await self._desk.open()
            self._opened = True
        if not await self._ours():
            return self._pace.wait
        while True:
            await self._measure()
            batch = await self._next()
            if not batch.records:
                return self._pace.look
            trouble = await self._delivered(batch)
            if trouble is not None:
                return await self._fail(trouble)
            if not await self._desk.moved(batch.moves):
                self._kept = None
                return self._pace.wait
            self._kept = self._clock.monotonic()
            self._failures = 0
            self._most = min(self._most * 2, BATCH_ENTRIES)
            self._told.clear()

    async def _ours(self, *, for_sure: bool = False) -> bool:
        """Take or keep the turn; one that was kept a moment ago is ours without asking, unless asked `for_sure`."""
        now = self._clock.monotonic()
        if for_sure or self._kept is None or now - self._kept >= self._pace.keep:
            self._kept = now if await self._desk.take() else None
        return self._kept is not None

    async def _next(self) -> Batch:
        logs = (await self._desk.due())[: self._most]
        each = max(self._most // len(logs), 1) if logs else 1
        entries = await self._desk.entries(logs, each=each) if logs else []
        most = BATCH_BYTES * self._most // BATCH_ENTRIES
        batch = plan(logs, entries, time=iso(self._clock.now()), most=most)
        for gap in batch.gaps:
            self._report_gap(gap)
        return batch

    async def _delivered(self, batch: Batch) -> SinkTrouble | None:
        """Send `batch` within its time and keep the turn meanwhile; return what went wrong, if anything did."""
        sending = asyncio.create_task(self._send(batch), name=f"ledger-sink-{self._sink.name}")
        try:
            while True:
                done, _ = await asyncio.wait({sending}, timeout=self._pace.keep)
                if done:
                    return sending.result()
                if not await self._ours(for_sure=True):
                    return SinkTrouble(Trouble.IN_USE)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _send(self, batch: Batch) -> SinkTrouble | None:
        try:
            async with asyncio.timeout(self._pace.send):
                await self._receiver.send(batch.records)
        except SinkTrouble as trouble:
            return trouble
        except EgressRefused:
            return SinkTrouble(Trouble.REFUSED)
        except EgressUnreachable as unreachable:
            return SinkTrouble(unreachable.trouble)
        except TimeoutError:
            return SinkTrouble(Trouble.TIMED_OUT)
        except Exception as fault:  # noqa: BLE001 -- a fault of ours must not end the stream in silence
            _log.error("ledger.sink_broke", sink=self._sink.name, error=type(fault).__name__)
            return SinkTrouble(Trouble.INTERNAL)
        return None

    async def _fail(self, trouble: SinkTrouble) -> float:
        pace = self._pace
        growing: float = min(pace.first_pause * 2**self._failures, pace.longest_pause)
        pause = max(growing * self._random.uniform(0.5, 1.0), trouble.retry_after)
        self._failures = min(self._failures + 1, 32)
        self._most = max(self._most // 2, 1)
        self._kept = None
        seconds = await self._desk.failed(trouble.code, pause=pause)
        _log.warning("ledger.sink_failed", sink=self._sink.name, error=trouble.code)
        if seconds >= pace.failing:
            self._report(trouble.code, seconds)
        return min(pause, pace.longest_pause)

    async def _measure(self) -> None:
        """Look now and then how far behind the sink is."""
        now = self._clock.monotonic()
        if self._measured is None or now - self._measured >= self._pace.measure:
            self._measured = now
            behind = await self._desk.lag()
            if behind.seconds > self._sink.max_lag_seconds:
                self._report("behind", behind.seconds, count=behind.entries)

    def _report(self, error: str, seconds: float, **more: int) -> None:
        """Report that the sink fails or lags, every five minutes while it lasts."""
        now = self._clock.monotonic()
        if self._reported is not None and now - self._reported < self._pace.failing:
            return
        self._reported = now
        self._reporter.note(
            PLATFORM_TENANT,
            kind=Kind.LEDGER_SINK_FAILED,
            severity=Severity.HIGH,
            key=finding_key(Kind.LEDGER_SINK_FAILED, self._sink.name),
            detail={"sink": self._sink.name, "error": error, "seconds": int(seconds), **more},
        )

    def _report_gap(self, gap: Gap) -> None:
        """Report a gap when it is found, once however often its batch is sent."""
        place = (gap.tenant, gap.epoch, gap.first)
        if place in self._told:
            return
        self._told.add(place)
        key = finding_key(Kind.LEDGER_SINK_GAP, self._sink.name, gap.tenant, gap.epoch)
        self._reporter.note(
            PLATFORM_TENANT,
            kind=Kind.LEDGER_SINK_GAP,
            severity=Severity.HIGH,
            key=key,
            detail={
                "sink": self._sink.name,
                "log": str(gap.tenant),
                "epoch": gap.epoch,
                "seq": gap.first,
                "count": gap.end - gap.first,
                "what": gap.why.value,
            },
        )
