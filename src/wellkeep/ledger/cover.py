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
from wellkeep.base.turns import give_way
from wellkeep.crypto.merkle import Frontier, leaf_hash
from wellkeep.db.connection import Connection, Record
from wellkeep.db.pool import Pool
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.ledger.append import Reporter
from wellkeep.ledger.checkpoint import Checkpoint, CheckpointSigner, signed_by
from wellkeep.ledger.event import Action, PreparedEvent, SystemFacts, prepare, system_event
from wellkeep.ledger.splice import Appended

MOST: Final = 10_000
"""Logs under one entry; those that are left over stand under the next one, made at once."""
BELOW: Final = 64
"""Checkpoints that are looked at in a log whose newest is not ours; a log with more such waits until it has grown."""

_AT_ONCE = 16

_TAKE = "SELECT ledger.take_cover()"
_UNCOVERED = "SELECT tenant_id, epoch, origin, head, size, root, signature FROM ledger.uncovered($1, $2)"
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
    covered, after = 0, ""
    while True:
        async with pool.transaction() as connection:
            if not await connection.fetchval(_TAKE):
                return covered
            rows = await connection.fetch(_UNCOVERED, after, MOST)
            logs = await _newest(connection, rows, signers, reporter)
            prepared = await _covered(connection, logs, writer) if logs else None
        if prepared is not None:
            await writer.append(PLATFORM_TENANT, [prepared], outbox=True)
        covered += len(logs)
        if len(rows) < MOST:
            return covered
        after = rows[-1]["origin"]


class _Log(NamedTuple):
    """A log that has grown, and the checkpoint that says how far."""

    tenant: UUID
    epoch: int
    checkpoint: Checkpoint


async def _newest(
    connection: Connection, rows: Sequence[Record], signers: Sequence[CheckpointSigner], reporter: Reporter
) -> list[_Log]:
    """Return the logs of `rows` with their newest checkpoint that can be covered, without those that have none."""
    logs = []
    for count, row in enumerate(rows, start=1):
        log = await _newest_of(connection, row, signers, reporter)
        if log is not None:
            logs.append(log)
        if count % _AT_ONCE == 0:
            await give_way()
    return logs


async def _newest_of(
    connection: Connection, row: Record, signers: Sequence[CheckpointSigner], reporter: Reporter
) -> _Log | None:
    """Return the log of `row`; of a newer checkpoint that is not ours, or of entries that are not there, report."""
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


async def _covered(connection: Connection, logs: Sequence[_Log], writer: Chain) -> PreparedEvent:
    """Store what is covered together with the outbox row of its entry, and return the entry's event."""
    prepared = _entry([log.checkpoint for log in logs])
    rows = [(log.tenant, log.epoch, log.checkpoint.size, log.checkpoint.root) for log in logs]
    await connection.execute(_ADD, prepared.event.id, rows, writer.outboxed(PLATFORM_TENANT, prepared))
    return prepared


def _entry(checkpoints: Sequence[Checkpoint]) -> PreparedEvent:
    root = cover_root(checkpoints)
    facts = SystemFacts(resource_type="ledger", count=len(checkpoints), digest=root)
    return prepare(system_event(uuid7(), Action.LEDGER_COVERED, actor="ledger", **facts))
