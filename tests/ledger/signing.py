"""A writer with a checkpointer beside it, as every process of a deployment has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from database import Database
from ledger.making import HOST, KEYS, SEAL_KEY, Reports
from wellkeep.base.clock import Clock, SystemClock
from wellkeep.base.secrets import Secret
from wellkeep.db.connection import Record
from wellkeep.db.pool import Limits, Pool
from wellkeep.ledger.checkpoint import Checkpoint, CheckpointSigner
from wellkeep.ledger.checkpointer import Checkpointer
from wellkeep.ledger.memory import Memory
from wellkeep.ledger.writer import LedgerWriter

SIGNER = CheckpointSigner(Secret(b"s" * 32))


@dataclass
class Signing:
    """The parts, which run."""

    writer: LedgerWriter
    checkpointer: Checkpointer
    memory: Memory
    pool: Pool
    reports: Reports


@asynccontextmanager
async def signing(
    database: Database, path: Path, *, clock: Clock | None = None, period: float = 0.05, catch_up: float = 60.0
) -> AsyncIterator[Signing]:
    """Run both on `database`; what is remembered lies in `path`."""
    reports, told = Reports(), clock or SystemClock()
    memory = Memory(path / "ledger" / "remembered")
    async with database.pool("wk_ledger", limits=Limits(max_size=3)) as pool:
        checkpointer = Checkpointer(
            pool,
            signer=SIGNER,
            seal_keys=KEYS,
            memory=memory,
            clock=told,
            reporter=reports,
            period=period,
            catch_up=catch_up,
        )
        await checkpointer.start()
        writer = LedgerWriter(
            pool,
            host=HOST,
            seal_key=SEAL_KEY,
            clock=told,
            reporter=reports,
            grown=checkpointer.grown,
            seen=memory.load().values(),
        )
        await writer.start()
        try:
            yield Signing(writer, checkpointer, memory, pool, reports)
        finally:
            await writer.stop()
            await checkpointer.stop()


def checkpoint_of(row: Record, origin: str) -> Checkpoint:
    """Return the checkpoint that a stored row says."""
    return Checkpoint(origin, row["size"], row["root"])


async def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds, for a minute at most."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # what is waited for is another task's state
            await asyncio.sleep(0.02)
