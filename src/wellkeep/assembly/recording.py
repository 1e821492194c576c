"""What records: the ledger's writer, the checkpointer beside it, and what this host remembers of the ledger.

Rule: before anything is appended, the database is held against what is remembered outside it.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

from wellkeep.assembly.home import Home
from wellkeep.assembly.seal_keys import seal_keys
from wellkeep.base.clock import Clock
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.settings import Settings
from wellkeep.db.pool import Pool
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.keys.deployment import DeploymentKeys
from wellkeep.ledger.checkpoint import CheckpointSigner
from wellkeep.ledger.checkpointer import Checkpointer
from wellkeep.ledger.memory import Memory
from wellkeep.ledger.restore import remembered_after
from wellkeep.ledger.setback import LedgerBehind, Setback, heads_of, setbacks
from wellkeep.ledger.writer import LedgerWriter


@dataclass(frozen=True, slots=True)
class Recording:
    """The parts that record; not started yet. With `setbacks`, they must not be."""

    writer: LedgerWriter
    checkpointer: Checkpointer
    signers: tuple[CheckpointSigner, ...]
    memory: Memory
    setbacks: list[Setback]
    odd: int = 0
    """Lines of what is remembered that nobody can read: with any, nothing is appended either."""

    async def start(self, stack: AsyncExitStack) -> None:
        """Start them, and have `stack` stop them: the writer first, so that what it wrote last is signed."""
        if not self.setbacks and not self.odd:
            await self.checkpointer.start()
            stack.push_async_callback(self.checkpointer.stop)
            await self.writer.start()
            stack.push_async_callback(self.writer.stop)


async def open_recording(
    home: Home,
    settings: Settings,
    pool: Pool,
    *,
    keys: DeploymentKeys,
    clock: Clock,
    findings: Findings,
    behind: bool,
) -> Recording:
    """Make the parts over `pool` (wk_ledger's). Raises LedgerBehind unless `behind` says to look at it all the same."""
    memory = Memory(home.resolve(settings.ledger.memory))
    found, odd = await _compare(pool, memory, findings, behind=behind)
    if found and not behind:
        raise LedgerBehind(found)
    seals = seal_keys(keys)
    newest, *older = seals.values()
    signers = tuple(CheckpointSigner(key.secret) for key in keys.checkpoints)
    checkpointer = Checkpointer(
        pool,
        signer=signers[0],
        seal_keys=seals,
        memory=memory,
        clock=clock,
        reporter=findings,
    )
    writer = LedgerWriter(
        pool,
        host=settings.host,
        seal_key=newest,
        older_keys=older,
        clock=clock,
        reporter=findings,
        grown=checkpointer.grown,
        seen=() if found or odd else memory.load().values(),
    )
    return Recording(writer, checkpointer, signers, memory, found, odd)


async def _compare(pool: Pool, memory: Memory, findings: Findings, *, behind: bool) -> tuple[list[Setback], int]:
    """Return in what the database differs from what is remembered, and how many lines of that are odd.

    A host that remembers nothing begins to. Raises Misconfigured for odd lines, unless `behind` says to go on.
    """
    remembered, odd = memory.salvage() if behind else (memory.load(), 0)
    async with pool.connection() as connection:
        if remembered or odd:
            return await setbacks(connection, remembered), odd
        heads = await heads_of(connection)
    if heads:
        # A new host, or one whose file was taken away or emptied so that an older database would pass.
        findings.note(
            PLATFORM_TENANT,
            kind=Kind.LEDGER_BEHIND,
            severity=Severity.MEDIUM,
            key=finding_key(Kind.LEDGER_BEHIND, "unremembered"),
            detail={"what": "unremembered", "count": len(heads)},
        )
        memory.note(remembered_after(heads))
    return [], 0
