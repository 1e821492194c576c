"""Making the long ledger: three months that are over, then `entries` through the real path, then a full verification.

The past is spliced by the ledger's own splicer with the clock of then, sealed with the same key, and stored by COPY as
the database's owner could; `ledger.append_batch` takes no time but the present. Everything after it goes through the
writer, 256 callers, batches of up to 500, with the checkpointer beside it. A build that is stopped goes on; one that is
stopped in the past begins anew.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from ledger_scale_deployment import HOST, SEAL, Accesses, Deployment
from wellkeep.db.connection import Connection
from wellkeep.ledger.event import PreparedEvent
from wellkeep.ledger.splice import Head, Spliced, Splicer, Submitted
from wellkeep.ledger.verify import verify
from wellkeep.ledger.writer import LedgerWriter

CALLERS = 256
CHUNK = 20_000
PAST_SHARE, PAST_MONTHS, PAST_BATCH = 0.2, 3, 200
_PAST_SEED, _SEED = 1, 1_000
_STORED_AT_ONCE = 50

_ENTRY_COLUMNS = (
    *("tenant_id", "epoch", "seq", "event_id", "time", "actor", "action", "purpose", "resource_type", "resource_id"),
    *("subject", "outcome", "request", "leaf", "entry"),
)
_SEAL_COLUMNS = ("tenant_id", "epoch", "size", "key_id", "leaf", "root", "mac")
_SUBJECT_COLUMNS = ("tenant_id", "subject", "epoch", "seq", "time")
_MONTH = "SELECT ledger.provide_partition($1)"
_LOG = """
INSERT INTO ledger.log (tenant_id, epoch, origin, size, leaf, "time", frontier) VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_SIZES = "SELECT coalesce(sum(size), 0)::bigint FROM ledger.log"


async def build(home: Path, *, entries: int) -> None:
    """Make the deployment in `home`, or go on, until it holds `entries` that came through the real path."""
    if (home / "past.begun").exists():
        print("the past was not finished: it begins anew")
        with Deployment(home):
            pass
        shutil.rmtree(home)
    with Deployment(home, wanted=entries) as deployment:
        noted = deployment.noted
        await deployment.provision()
        if not noted.past:
            (home / "past.begun").touch()
            noted.past = await _past(deployment, round(entries * PAST_SHARE))
            noted.write(home)
            (home / "past.begun").unlink()
        noted.entries = await _sizes(deployment) - noted.past
        if not noted.verified:
            await _present(deployment, entries)
            await _housekeeping(deployment)
            await _verified(deployment)
            noted.verified = True
        noted.write(home)


# ------------------------------------------------------------------------------------------------------- the past


def _id_of(moment: datetime) -> UUID:
    """Return a UUIDv7 of that time."""
    return UUID(int=int(moment.timestamp() * 1000) << 80 | 0x7 << 76 | 0b10 << 62 | secrets.randbits(62))


async def _past(deployment: Deployment, count: int) -> int:
    """Store the past and return how many entries it has."""
    splicer, accesses = Splicer(host=HOST, seal_key=SEAL), Accesses(_PAST_SEED)
    now = deployment.clock.now()
    first = now - timedelta(days=30 * PAST_MONTHS)
    batches = -(-count // PAST_BATCH)
    step = (now - timedelta(days=2) - first) / batches
    heads: dict[UUID, Head] = {}
    administrator = await asyncpg.connect(**deployment.server.endpoint().arguments())
    began, spliced, made = time.perf_counter(), [], 0
    for number in range(batches):
        moment = first + number * step
        taken = accesses.take(PAST_BATCH, new_id=partial(_id_of, moment))
        batch = splicer.splice(heads, [Submitted(tenant, each, outbox=False) for tenant, each in taken], now=moment)
        heads |= batch.heads
        spliced.append(batch)
        made += len(batch.entries)
        if len(spliced) == _STORED_AT_ONCE or number == batches - 1:
            await _store(administrator, spliced)
            spliced.clear()
            _said("past", made, count, began, made)
    for head in heads.values():
        await administrator.execute(_LOG, *head[:6], list(head.frontier))
    await administrator.close()
    return made


async def _store(administrator: Connection, spliced: list[Spliced]) -> None:
    entries: list[tuple[Any, ...]] = []
    seals: list[tuple[Any, ...]] = []
    subjects: list[tuple[Any, ...]] = []
    for batch in spliced:
        times = [step[7] for step in batch.steps]
        for step, seq, event_id, *columns in batch.entries:
            tenant, epoch = batch.steps[step - 1][:2]
            entries.append((tenant, epoch, seq, event_id, times[step - 1], *columns))
        for tenant, epoch, _, _, _, size, leaf, _, _, key_id, root, mac in batch.steps:
            seals.append((tenant, epoch, size, key_id, leaf, root, mac))
        subjects.extend(batch.subjects)
        await administrator.execute(_MONTH, times[0])
    for table, names, rows in (
        ("entry", _ENTRY_COLUMNS, entries),
        ("seal", _SEAL_COLUMNS, seals),
        ("entry_subject", _SUBJECT_COLUMNS, subjects),
    ):
        await administrator.copy_records_to_table(table, schema_name="ledger", columns=names, records=rows)


# ---------------------------------------------------------------------------------------------------- the present


async def _present(deployment: Deployment, entries: int) -> None:
    """Append until `entries` came through the real path."""
    began, before = time.perf_counter(), deployment.noted.entries
    async with deployment.recording() as (writer, checkpointer):
        while deployment.noted.entries < entries:
            accesses = Accesses(_SEED + deployment.noted.entries)
            taken = iter(accesses.take(min(CHUNK, entries - deployment.noted.entries)))
            await asyncio.gather(*(_caller(writer, taken) for _ in range(CALLERS)))
            deployment.noted.entries = await _sizes(deployment) - deployment.noted.past
            deployment.noted.write(deployment.home)
            _said("present", deployment.noted.entries, entries, began, deployment.noted.entries - before)
        assert await checkpointer.sign_now()


async def _caller(writer: LedgerWriter, taken: Iterator[tuple[UUID, PreparedEvent]]) -> None:
    for tenant, event in taken:
        await writer.append(tenant, [event])


def _said(what: str, done: int, of: int, began: float, since: int) -> None:
    rate = since / (time.perf_counter() - began)
    print(f"{what}: {done:,} of {of:,}, {rate:,.0f}/s, {max(of - done, 0) / rate:,.0f} s to go", flush=True)


async def _sizes(deployment: Deployment) -> int:
    administrator = await asyncpg.connect(**deployment.server.endpoint().arguments())
    found: int = await administrator.fetchval(_SIZES)
    await administrator.close()
    return found


async def _housekeeping(deployment: Deployment) -> None:
    administrator = await asyncpg.connect(**deployment.server.endpoint().arguments())
    for statement in ("VACUUM (ANALYZE)", "CHECKPOINT"):
        await administrator.execute(statement, timeout=3600)
    await administrator.close()


async def _verified(deployment: Deployment) -> None:
    """Verify everything; a benchmark of a ledger that does not hold says nothing."""
    connection = await asyncpg.connect(**deployment.server.endpoint("wk_migrate").arguments())
    began = time.perf_counter()
    report = await verify(connection, keys={SEAL.key_id: SEAL})
    seconds = time.perf_counter() - began
    await connection.close()
    assert report.ok, report.bad
    print(f"verified: {report.entries:,} entries in {report.logs} logs, {seconds:.0f} s", flush=True)
