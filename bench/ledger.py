"""The ledger against what it costs to keep no ledger: `make bench NAME=ledger`.

Side by side in interleaved rounds on one embedded PostgreSQL (fsync on, on this machine's disk), 64 callers, events of
383 bytes:

- `vs_copy_1`, `vs_copy_16`: entries per second of the writer against the same natural batching (one task, one
  connection, at most 500 rows, the same few turns of the loop, no lingering) doing one unchained COPY a batch into an
  audit table as one would keep without a ledger: the same search columns and the same five searches indexed (event id,
  actor, action, subject, time), but no chain, leaves, seals, heads or roles. For 1 and 16 tenants. Bar: 0.6. A table
  without those indexes answers no search, so it is no peer; `vs_bare_1` and `vs_bare_16` show that ratio all the same.
- `vs_insert`: against a bare unchained INSERT per call into that table, on a connection per caller. Bar: 1.5.
- `append_cpu_us`: CPU per entry of this process and all of PostgreSQL's, reaped children included. Bar: 70.
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
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from uuid import UUID

import asyncpg

from wellkeep.base.clock import SystemClock
from wellkeep.base.ids import uuid7
from wellkeep.base.principal import ActorType, AuthMethod
from wellkeep.base.secrets import Secret
from wellkeep.db import provision
from wellkeep.db.context import ContextKey
from wellkeep.db.embedded import EmbeddedServer
from wellkeep.db.pool import Limits, Pool
from wellkeep.findings.grammar import Kind, Severity
from wellkeep.ledger.actions import Action, Outcome
from wellkeep.ledger.event import Event, PreparedEvent, prepare
from wellkeep.ledger.seal import SealKey
from wellkeep.ledger.verify import verify
from wellkeep.ledger.writer import BATCH_ENTRIES, TURNS, LedgerWriter

PLAIN = """
CREATE TABLE public.plain (tenant_id uuid, event_id uuid, time timestamptz, actor text, action text,
    purpose text, resource_type text, resource_id text, subject uuid, outcome text, request uuid, event bytea);
CREATE TABLE public.bare (LIKE public.plain);
ALTER TABLE public.plain ADD PRIMARY KEY (tenant_id, event_id);
CREATE INDEX ON public.plain (tenant_id, time);
CREATE INDEX ON public.plain (tenant_id, actor, time);
CREATE INDEX ON public.plain (tenant_id, action, time);
CREATE INDEX ON public.plain (tenant_id, subject, time);
"""

CALLERS = 64
EVENT_BYTES = 383
KEY = SealKey("bench", Secret(bytes(32)))
TICKS = os.sysconf("SC_CLK_TCK")

AGAINST = {
    "vs_copy_1": ("ledger_1", "copy_1"),
    "vs_copy_16": ("ledger_16", "copy_16"),
    "vs_insert": ("ledger_1", "insert"),
    "vs_bare_1": ("ledger_1", "bare_1"),
    "vs_bare_16": ("ledger_16", "bare_16"),
}

Append = Callable[[UUID, PreparedEvent], Awaitable[object]]


class Loud:
    """A reporter for which anything reported ends the benchmark."""

    def note(self, tenant: UUID, *, kind: Kind, severity: Severity, key: str, detail: Mapping[str, str | int]) -> None:
        raise SystemExit(f"a finding during the benchmark: {kind} {severity} {key} {detail} {tenant}")


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
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        fields = text.rsplit(")", 1)[1].split()
        if int(stat.parent.name) == postmaster:
            total += sum(int(part) for part in fields[11:15])
        elif int(fields[1]) == postmaster:
            total += sum(int(part) for part in fields[11:13])
    return mine.ru_utime + mine.ru_stime, total / TICKS


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
    """The writer's queue without a ledger: what is there goes into one COPY."""

    def __init__(self, connection: asyncpg.Connection, table: str) -> None:
        self._connection = connection
        self._table = table
        self._queue: deque[tuple[UUID, PreparedEvent, asyncio.Future[None]]] = deque()
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def append(self, tenant: UUID, event: PreparedEvent) -> None:
        done = asyncio.get_running_loop().create_future()
        self._queue.append((tenant, event, done))
        self._wake.set()
        await done

    def stop(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        clock = SystemClock()
        while True:
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
            for _ in range(TURNS):
                await asyncio.sleep(0)
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH_ENTRIES))]
            now = clock.now()
            await self._connection.copy_records_to_table(
                self._table,
                schema_name="public",
                records=[plain_row(tenant, event, now) for tenant, event, _ in batch],
            )
            for _, _, done in batch:
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


async def run(server: EmbeddedServer, *, rounds: int, count: int) -> dict[str, float]:
    """Return the medians over `rounds` rounds of `count` events each way."""
    administrator = server.endpoint()
    key = ContextKey(Secret(os.urandom(32)))
    await provision.provision(
        server.endpoint(database="postgres"),
        database="wellkeep",
        passwords=server.passwords,
        deployment_id=uuid7(),
        environment="bench",
        context_key=key,
    )
    postmaster = server.pid
    assert postmaster is not None
    plain = await asyncpg.connect(**administrator.arguments())
    await plain.execute(PLAIN)
    inserters = [await asyncpg.connect(**administrator.arguments()) for _ in range(CALLERS)]
    free = deque(inserters)
    loading = await asyncpg.connect(**administrator.arguments())
    clock = SystemClock()

    async def insert(tenant: UUID, event: PreparedEvent) -> None:
        connection = free.popleft()
        try:
            await connection.execute(
                "INSERT INTO public.plain VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
                *plain_row(tenant, event, clock.now()),
            )
        finally:
            free.append(connection)

    ratios: dict[str, list[float]] = {name: [] for name in (*AGAINST, "append_cpu_us")}
    async with Pool(server.endpoint("wk_ledger"), context_key=None, limits=Limits(max_size=2)) as pool:
        writer = LedgerWriter(pool, host="bench.test", seal_key=KEY, clock=clock, reporter=Loud())
        await writer.start()
        copy, bare = CopyQueue(plain, "plain"), CopyQueue(loading, "bare")

        async def chained(tenant: UUID, event: PreparedEvent) -> None:
            await writer.append(tenant, [event])

        for number in range(rounds + 1):
            tenants = [uuid7() for _ in range(16)]
            speed: dict[str, float] = {}
            for name, append, among in (
                ("bare_1", bare.append, tenants[:1]),
                ("copy_1", copy.append, tenants[:1]),
                ("ledger_1", chained, tenants[:1]),
                ("bare_16", bare.append, tenants),
                ("copy_16", copy.append, tenants),
                ("ledger_16", chained, tenants),
                ("insert", insert, tenants[:1]),
            ):
                events = make(count)
                before = cpu(postmaster)
                speed[name] = await drive(append, events, among)
                after = cpu(postmaster)
                if name == "ledger_1" and number:
                    ratios["append_cpu_us"].append((sum(after) - sum(before)) / count * 1e6)
            print(f"round {number}: " + "  ".join(f"{name} {rate:.0f}/s" for name, rate in speed.items()))
            if number:  # the first one warms up
                for name, (ours, theirs) in AGAINST.items():
                    ratios[name].append(speed[ours] / speed[theirs])
        copy.stop()
        bare.stop()
        await writer.stop()
    result = {name: round(statistics.median(values), 2) for name, values in ratios.items()}
    for connection in (plain, loading, *inserters):
        await connection.close()
    return result | await measure_verify(server, postmaster, rounds)


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
    home = Path(tempfile.mkdtemp(prefix="wk-bench-", dir="/var/tmp"))
    home.chmod(0o711)
    server = EmbeddedServer(home, "bench", settings={"max_connections": "100"})
    try:
        server.start()
        result = asyncio.run(run(server, rounds=options.rounds, count=options.count))
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
