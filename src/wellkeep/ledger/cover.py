"""Covers: once a minute the root log says how far each tenant's log has come.

Rules: one entry of the root log holds the Merkle root over the newest checkpoints of the logs that grew, in the order
of their origins; the checkpoints themselves lie beside it. Only what a key of ours signed, of entries that are there,
is covered; where the newest checkpoint is none such, a finding tells, and the newest below it that is one is covered:
else a made-up row would keep a log uncovered for ever. Cover and outbox row commit together, so no cover is without its
entry for longer than a crash. The threat is a tenant's log that is cut off or deleted: only the root log is anchored
outside, and it vouches for all the others, at a cost that does not grow with them.

    leaf i = SHA-256(0x00 | body of checkpoint i)      digest = root of the tree over the leaves (RFC 6962)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.crypto.merkle import Frontier, leaf_hash
from wellkeep.db.connection import Connection, Record
from wellkeep.db.pool import Pool
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.ledger.append import Reporter
from wellkeep.ledger.checkpoint import Checkpoint, CheckpointSigner, signed_by
from wellkeep.ledger.event import Action, PreparedEvent, SystemFacts, prepare, system_event
from wellkeep.ledger.splice import Appended

MOST: Final = 10_000
"""Logs under one entry; what is left over has its turn with the next."""
BELOW: Final = 64
"""Checkpoints that are looked at in a log whose newest is not ours; a log with more such waits until it has grown."""

_TAKE = "SELECT ledger.take_cover()"
_UNCOVERED = "SELECT tenant_id, epoch, origin, head, size, root, signature FROM ledger.uncovered($1)"
_BELOW = "SELECT size, root, signature FROM ledger.uncovered_before($1, $2, $3, $4)"
_ADD = "SELECT ledger.add_cover($1, $2, $3)"


class Chain(Protocol):
    """What chains the entry: the ledger's writer."""

    def outboxed(self, tenant: UUID, prepared: PreparedEvent) -> bytes:
        """Return what the outbox row of an event holds."""
        ...

    async def append(self, tenant: UUID, events: Sequence[PreparedEvent], *, outbox: bool = False) -> list[Appended]:
        """Chain events and return their places, once they are durable."""
        ...


def cover_root(checkpoints: Iterable[Checkpoint]) -> bytes:
    """Return the digest that an entry holds of the checkpoints under it, in their order."""
    tree = Frontier()
    tree.extend([leaf_hash(each.body().encode("ascii")) for each in checkpoints])
    return tree.root()


async def cover(pool: Pool, writer: Chain, *, signers: Sequence[CheckpointSigner], reporter: Reporter) -> int:
    """Enter how far the logs have come that grew since the last time; return how many, 0 where another is at it.

    `pool` is wk_ledger's. Raises LedgerUnavailable and what the pool raises; what is committed is chained later.
    """
    async with pool.transaction() as connection:
        if not await connection.fetchval(_TAKE):
            return 0
        newest = [await _newest(connection, row, signers, reporter) for row in await connection.fetch(_UNCOVERED, MOST)]
        logs = [log for log in newest if log is not None]
        if not logs:
            return 0
        prepared = _entry([log.checkpoint for log in logs])
        covered = [(log.tenant, log.epoch, log.checkpoint.size, log.checkpoint.root) for log in logs]
        waiting = writer.outboxed(PLATFORM_TENANT, prepared)
        await connection.execute(_ADD, prepared.event.id, covered, waiting)
    await writer.append(PLATFORM_TENANT, [prepared], outbox=True)
    return len(covered)


class _Log(NamedTuple):
    """A log that has grown, and the checkpoint that says how far."""

    tenant: UUID
    epoch: int
    checkpoint: Checkpoint


async def _newest(
    connection: Connection, row: Record, signers: Sequence[CheckpointSigner], reporter: Reporter
) -> _Log | None:
    """Return the log of `row` with its newest checkpoint that can be covered, None where there is none.

    Of a newer one that is not ours, or of entries that are not there, a finding tells.
    """
    tenant, epoch, origin, head, size, root, signature = row
    checkpoint = Checkpoint(origin, size, root)
    if size <= head and signed_by(signers, checkpoint, signature):
        return _Log(tenant, epoch, checkpoint)
    reporter.note(
        tenant,
        kind=Kind.LEDGER_BROKEN,
        severity=Severity.CRITICAL,
        key=finding_key(Kind.LEDGER_BROKEN, "checkpoint"),
        detail={"what": "checkpoint", "size": size},
    )
    for older in await connection.fetch(_BELOW, tenant, epoch, min(size, head + 1), BELOW):
        checkpoint = Checkpoint(origin, older["size"], older["root"])
        if signed_by(signers, checkpoint, older["signature"]):
            return _Log(tenant, epoch, checkpoint)
    return None


def _entry(checkpoints: Sequence[Checkpoint]) -> PreparedEvent:
    root = cover_root(checkpoints)
    facts = SystemFacts(resource_type="ledger", count=len(checkpoints), digest=root)
    return prepare(system_event(uuid7(), Action.LEDGER_COVERED, actor="ledger", **facts))
