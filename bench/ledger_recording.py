"""A writer with its checkpointer, as every process of a deployment has them: what the benchmarks of the ledger run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

from wellkeep.base.clock import SystemClock
from wellkeep.db.pool import Pool
from wellkeep.findings.grammar import Kind, Severity
from wellkeep.ledger.checkpoint import CheckpointSigner
from wellkeep.ledger.checkpointer import Checkpointer
from wellkeep.ledger.memory import Memory
from wellkeep.ledger.seal import SealKey
from wellkeep.ledger.splice import Head
from wellkeep.ledger.writer import LedgerWriter


class Loud:
    """A reporter for which anything reported ends the benchmark."""

    def note(self, tenant: UUID, *, kind: Kind, severity: Severity, key: str, detail: Mapping[str, str | int]) -> None:
        raise SystemExit(f"a finding during the benchmark: {kind} {severity} {key} {detail} {tenant}")


@asynccontextmanager
async def recording(
    pool: Pool, home: Path, *, host: str, seal: SealKey, signer: CheckpointSigner, signing: bool = True
) -> AsyncIterator[tuple[LedgerWriter, Checkpointer]]:
    """Run both over wk_ledger's `pool`; `home` is where they remember. Unsigned where `signing` is false."""
    clock, reporter = SystemClock(), Loud()

    def grown(heads: Iterable[Head]) -> None:
        if signing:
            checkpointer.grown(heads)

    checkpointer = Checkpointer(
        pool,
        signer=signer,
        seal_keys={seal.key_id: seal},
        memory=Memory(home / "remembered"),
        clock=clock,
        reporter=reporter,
    )
    await checkpointer.start()
    writer = LedgerWriter(pool, host=host, seal_key=seal, clock=clock, reporter=reporter, grown=grown)
    await writer.start()
    try:
        yield writer, checkpointer
    finally:
        await writer.stop()
        await checkpointer.stop()
