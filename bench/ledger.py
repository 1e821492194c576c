"""The ledger against what it costs to keep no ledger: `make bench NAME=ledger`.

Side by side in interleaved rounds on one embedded PostgreSQL (fsync on, on this machine's disk), 64 callers, events of
383 bytes. The ledger runs as in production: entries in monthly partitions, the checkpointer beside the writer in the
same process and loop, signing every log that grew each 0.8 seconds, keeping tiles, and remembering in a file, synced,
what it signed; uvloop and the collector's settings are the server's, for both sides.

- `vs_copy_1`, `vs_copy_16`: entries per second of the writer against the same natural batching (one task, one
  connection, at most 500 rows, the same few turns of the loop, no lingering) doing one unchained COPY a batch into an
  audit table as one would keep without a ledger: partitioned by month too, with the same search columns, a unique event
  id and the same searches indexed (actor, action, subject, time, and the partial ones), but no chain, leaves, seals,
  heads, tiles, checkpoints or roles. Each row has the time at which it was handed in. For 1 and 16 tenants. Bar: 0.6.
  `vs_one_time_1` and `vs_one_time_16` are of the same table with one time for all rows of a batch: PostgreSQL then
  keeps one index entry for many rows, which no search that pages row by row could use. A table without those indexes
  answers no search, so it is no peer; `vs_bare_1` and `vs_bare_16` show that ratio (of one table, not partitioned).
- `vs_insert`: against a bare unchained INSERT per call into that table, on a connection per caller. Bar: 1.5.
- `append_cpu_us`: CPU per entry of this process and all of PostgreSQL's, reaped children and the last checkpoint
  included. Bar: 70. `append_16_cpu_us`: the same with 16 tenants.
- `verify_cpu_us`: CPU per entry of a full verification, the same way. Bar: 6. `verify_python_us` is our own share.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from uuid import UUID

import asyncpg
import uvloop

from ledger_recording import recording
from measure import cpu_seconds
from wellkeep.api.server import settle
from wellkeep.base.clock import SystemClock
from wellkeep.base.ids import uuid7
from wellkeep.base.principal import ActorType, AuthMethod
from wellkeep.base.secrets import Secret
from wellkeep.db import provision
from wellkeep.db.context import ContextKey
from wellkeep.db.embedded import EmbeddedServer
from wellkeep.db.pool import Limits, Pool
from wellkeep.ledger.actions import Action, Outcome
from wellkeep.ledger.checkpoint import CheckpointSigner
from wellkeep.ledger.checkpointer import Checkpointer
from wellkeep.ledger.event import Event, PreparedEvent, prepare
from wellkeep.ledger.seal import SealKey
from wellkeep.ledger.verify import verify
from wellkeep.ledger.writer import BATCH_ENTRIES, TURNS, LedgerWriter

PLAIN = """
CREATE TABLE public.plain (tenant_id uuid, event_id uuid, time timestamptz, actor text COLLATE "C",
    action text COLLATE "C", purpose text COLLATE "C", resource_type text COLLATE "C", resource_id text COLLATE "C",
    subject uuid, outcome text COLLATE "C", request uuid, event bytea) PARTITION BY RANGE (time);
CREATE TABLE public.bare (LIKE public.plain);
CREATE INDEX ON public.plain (tenant_id, time);
CREATE INDEX ON public.plain (tenant_id, actor, time);
CREATE INDEX ON public.plain (tenant_id, action, time);
CREATE INDEX ON public.plain (tenant_id, subject, time) WHERE subject IS NOT NULL;
CREATE INDEX ON public.plain (tenant_id, purpose, time) WHERE purpose NOT IN ('TREAT', 'HOPERAT');
CREATE INDEX ON public.plain (tenant_id, outcome, time) WHERE outcome IN ('denied', 'failed');
CREATE INDEX ON public.plain (tenant_id, resource_id, time) WHERE outcome = 'denied';
"""
MONTHS = """
DO $$
DECLARE
    month timestamptz := date_trunc('month', now(), 'UTC') - interval '1 month';
BEGIN
    FOR number IN 1 .. 5 LOOP
        EXECUTE format('CREATE TABLE public.plain_%s PARTITION OF public.plain FOR VALUES FROM (%L) TO (%L)',
                       number, month, month + interval '1 month');
        EXECUTE format('CREATE UNIQUE INDEX ON public.plain_%s (tenant_id, event_id)', number);
        month := month + interval '1 month';
    END LOOP;
END $$
"""

CALLERS = 64
EVENT_BYTES = 383
KEY = SealKey("bench", Secret(bytes(32)))

AGAINST = {
    "vs_copy_1": ("ledger_1", "copy_1"),
    "vs_copy_16": ("ledger_16", "copy_16"),
    "vs_one_time_1": ("ledger_1", "one_time_1"),
    "vs_one_time_16": ("ledger_16", "one_time_16"),
    "vs_insert": ("ledger_1", "insert"),
    "vs_bare_1": ("ledger_1", "bare_1"),
    "vs_bare_16": ("ledger_16", "bare_16"),
}

COSTS = {"append_cpu_us": "ledger_1", "append_16_cpu_us": "ledger_16", "copy_16_cpu_us": "copy_16"}

INSERT = "INSERT INTO public.plain VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"

Append = Callable[[UUID, PreparedEvent], Awaitable[object]]


def make(count: int) -> list[PreparedEvent]:
    """Return reads of 300 patients' records, 383 bytes each."""
    actor, subjects = str(uuid7()), [uuid7() for _ in range(300)]
    events = []
    for i in range(count):
        event = Event(
            id=uuid7(),
            action=Action.RECORD_READ,
            actor_type=ActorType.API_KEY,
            actor_id=actor,
            method=AuthMethod.API_KEY,
            outcome=Outcome.AUTHORISED,
            request=uuid7(),
            resource_type="patient_contacts",
            resource_id=str(subjects[i % 300]),
            subject=subjects[i % 300],
        )
        events.append(prepare(event))
    assert len(events[0].encoded) == EVENT_BYTES, len(events[0].encoded)
    return events


def cpu(postmaster: int) -> tuple[float, float]:
    """Return the seconds of CPU used so far by this process, and by PostgreSQL with what it has reaped."""
    mine = resource.getrusage(resource.RUSAGE_SELF)
    return mine.ru_utime + mine.ru_stime, cpu_seconds(postmaster)


def plain_row(tenant: UUID, prepared: PreparedEvent, now: datetime) -> tuple[object, ...]:
    """Return the row of the audit table that holds no chain."""
    event = prepared.event
    return (
        tenant,
        event.id,
        now,
        event.actor_id,
        event.action,
        event.purpose,
        event.resource_type,
        event.resource_id,
        event.subject,
        event.outcome,
        event.request,
        prepared.encoded,
    )


class CopyQueue:
    """The writer's queue without a ledger: what is there goes into one COPY.

    `one_time` writes one time for all rows of a batch; otherwise each row has the time at which it was handed in.
    """

    def __init__(self, connection: asyncpg.Connection, table: str, *, one_time: bool = False) -> None:
        self._connection = connection
        self._table = table
        self._one_time = one_time
        self._clock = SystemClock()
        self._queue: deque[tuple[UUID, PreparedEvent, datetime, asyncio.Future[None]]] = deque()
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def append(self, tenant: UUID, event: PreparedEvent) -> None:
        done = asyncio.get_running_loop().create_future()
        self._queue.append((tenant, event, self._clock.now(), done))
        self._wake.set()
        await done

    def stop(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
            for _ in range(TURNS):
                await asyncio.sleep(0)
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH_ENTRIES))]
            now = self._clock.now() if self._one_time else None
            await self._connection.copy_records_to_table(
                self._table,
                schema_name="public",
                records=[plain_row(tenant, event, now or moment) for tenant, event, moment, _ in batch],
            )
            for *_, done in batch:
                done.set_result(None)


async def drive(append: Append, events: list[PreparedEvent], tenants: list[UUID]) -> float:
    """Append all `events` with 64 callers and return the entries per second."""
    numbers = iter(range(len(events)))

    async def caller() -> None:
        for number in numbers:
            await append(tenants[number % len(tenants)], events[number])

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return len(events) / (time.perf_counter() - started)


class Inserts:
    """One INSERT a call, on a connection per caller."""

    def __init__(self, connections: Sequence[asyncpg.Connection]) -> None:
        self._free = deque(connections)
        self._clock = SystemClock()

    async def append(self, tenant: UUID, event: PreparedEvent) -> None:
        connection = self._free.popleft()
        try:
            await connection.execute(INSERT, *plain_row(tenant, event, self._clock.now()))
        finally:
            self._free.append(connection)


@asynccontextmanager
async def ledger(server: EmbeddedServer, home: Path) -> AsyncIterator[tuple[LedgerWriter, Checkpointer]]:
    """Run a writer with its checkpointer, as every process of a deployment has them."""
    limits = Limits(min_size=1, max_size=3)
    signer = CheckpointSigner(Secret(b"s" * 32))
    async with (
        Pool(server.endpoint("wk_ledger"), context_key=None, limits=limits) as pool,
        recording(pool, home, host="bench.test", seal=KEY, signer=signer) as both,
    ):
        yield both


async def run(server: EmbeddedServer, home: Path, *, rounds: int, count: int) -> dict[str, float]:
    """Return the medians over `rounds` rounds of `count` events each way."""
    await provision.provision(
        server.endpoint(database="postgres"),
        database="wellkeep",
        passwords=server.passwords,
        deployment_id=uuid7(),
        environment="bench",
        context_key=ContextKey(Secret(os.urandom(32))),
    )
    postmaster = server.pid
    assert postmaster is not None
    async with AsyncExitStack() as stack:
        connections = [await asyncpg.connect(**server.endpoint().arguments()) for _ in range(CALLERS + 2)]
        for connection in connections:
            stack.push_async_callback(connection.close)
        await connections[0].execute(PLAIN)
        await connections[0].execute(MONTHS)
        writer, checkpointer = await stack.enter_async_context(ledger(server, home))
        copy, bare = CopyQueue(connections[0], "plain"), CopyQueue(connections[1], "bare")
        packed = CopyQueue(connections[0], "plain", one_time=True)
        for queue in (copy, bare, packed):
            stack.callback(queue.stop)
        inserts = Inserts(connections[2:])

        async def chained(tenant: UUID, event: PreparedEvent) -> None:
            await writer.append(tenant, [event])

        ways: dict[str, Append] = {
            "bare": bare.append,
            "copy": copy.append,
            "one_time": packed.append,
            "ledger": chained,
        }
        result = await measure_appends(ways, inserts.append, checkpointer, postmaster, rounds=rounds, count=count)
    return result | await measure_verify(server, postmaster, rounds)


async def measure_appends(
    ways: Mapping[str, Append], insert: Append, checkpointer: Checkpointer, postmaster: int, *, rounds: int, count: int
) -> dict[str, float]:
    """Drive `count` events each way in `rounds` rounds; return the medians of the ratios and of the CPU per entry."""
    found: dict[str, list[float]] = {name: [] for name in (*AGAINST, *COSTS)}
    for number in range(rounds + 1):
        tenants = [uuid7() for _ in range(16)]
        speed: dict[str, float] = {}
        cost: dict[str, tuple[float, float]] = {}
        phases = [(f"{name}_{many}", way, tenants[:many]) for many in (1, 16) for name, way in ways.items()]
        for name, append, among in (*phases, ("insert", insert, tenants[:1])):
            events = make(count)
            if append is ways["ledger"]:
                await drive(append, make(len(among)), among)  # opens the logs, which happens once in their lives
            before = cpu(postmaster)
            speed[name] = await drive(append, events, among)
            if append is ways["ledger"]:
                assert await checkpointer.sign_now()  # what is left of the work counts on our side too
            after = cpu(postmaster)
            cost[name] = ((after[0] - before[0]) / count * 1e6, (after[1] - before[1]) / count * 1e6)
        said = "  ".join(f"{name} {speed[name]:.0f}/s {cost[name][0]:.0f}+{cost[name][1]:.0f}µs" for name in speed)
        print(f"round {number}: {said}", flush=True)
        if number:  # the first one warms up
            for name, (ours, theirs) in AGAINST.items():
                found[name].append(speed[ours] / speed[theirs])
            for name, phase in COSTS.items():
                found[name].append(sum(cost[phase]))
    return {name: round(statistics.median(values), 2) for name, values in found.items()}


async def measure_verify(server: EmbeddedServer, postmaster: int, rounds: int) -> dict[str, float]:
    """Return the CPU of a full verification per entry: all of it, and Python's."""
    total, python = [], []
    connection = await asyncpg.connect(**server.endpoint("wk_migrate").arguments())
    for number in range(rounds + 1):
        before = cpu(postmaster)
        report = await verify(connection, keys={KEY.key_id: KEY})
        after = cpu(postmaster)
        assert report.ok, report.bad
        if number:
            total.append((sum(after) - sum(before)) / report.entries * 1e6)
            python.append((after[0] - before[0]) / report.entries * 1e6)
    await connection.close()
    return {
        "verify_cpu_us": round(statistics.median(total), 2),
        "verify_python_us": round(statistics.median(python), 2),
    }


def main() -> int:
    """Run, print the rounds, and the results as one JSON object on the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--count", type=int, default=6000)
    options = parser.parse_args()
    settle()
    home = Path(tempfile.mkdtemp(prefix="wk-bench-", dir="/var/tmp"))
    home.chmod(0o711)
    server = EmbeddedServer(home, "bench", settings={"max_connections": "100"})
    try:
        server.start()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as each process of the server does
            result = runner.run(run(server, home, rounds=options.rounds, count=options.count))
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
