"""A database that is behind what this host remembers of it, or says something else: noticed before anything is served.

Rules: a database that is ahead is fine where what is remembered is a prefix of it, for another host may have gone on; a
log that is gone, shorter, or another one is a setback. The threats are an old state put back as a whole, which by
itself is in perfect order, and a tail cut off where a batch ended. An operator who restored a backup on purpose accepts
it, on record (`restore`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from wellkeep.base.errors import Misconfigured
from wellkeep.crypto.errors import BadProof
from wellkeep.crypto.merkle import Frontier
from wellkeep.db.connection import Connection
from wellkeep.ledger.checkpoint import Checkpoint
from wellkeep.ledger.seal import log_of
from wellkeep.ledger.splice import Head
from wellkeep.ledger.tile_store import TileStore
from wellkeep.ledger.tiles import root_at

_HEADS = 'SELECT tenant_id, epoch, origin, size, leaf, "time", frontier FROM ledger.all_heads()'


class How(StrEnum):
    """In what a log is not the one that is remembered."""

    GONE = "gone"
    SHORTER = "shorter"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Setback:
    """A log that is not what it was: what is remembered of it, and its size in the database (0 where it is gone)."""

    tenant: UUID
    epoch: int
    how: How
    size: int
    remembered: Checkpoint


class LedgerBehind(Misconfigured):
    """The database's ledger is not the one that this host remembers: nothing is served on it."""

    def __init__(self, setbacks: list[Setback]) -> None:
        """Name the first of `setbacks`, and what can be done."""
        first = setbacks[0]
        super().__init__(
            f"The ledger in this database is behind what this host remembers: {len(setbacks)} of its logs, the first "
            f"{first.remembered.origin} ({first.how}: {first.size} entries there, {first.remembered.size} remembered). "
            "Either a backup was restored, or somebody rewrote it. Look first: wellkeep ledger verify. To go on from a "
            "backup that you restored on purpose: wellkeep ledger accept-restore --reason …"
        )
        self.setbacks = setbacks


async def heads_of(connection: Connection) -> dict[str, Head]:
    """Return the head of every log of every epoch, by its origin; `connection` is wk_ledger's."""
    rows = await connection.fetch(_HEADS)
    return {
        name: Head(tenant, epoch, name, size, leaf, time, tuple(frontier))
        for tenant, epoch, name, size, leaf, time, frontier in rows
    }


async def setbacks(connection: Connection, remembered: Mapping[str, Checkpoint]) -> list[Setback]:
    """Return in which logs the database is not what is `remembered`, the root log's first."""
    heads = await heads_of(connection) if remembered else {}
    found = []
    for name, checkpoint in sorted(remembered.items()):
        tenant, epoch = log_of(name)
        head = heads.get(name)
        how = How.GONE if head is None else await _difference(connection, head, checkpoint)
        if how is not None:
            found.append(Setback(tenant, epoch, how, 0 if head is None else head.size, checkpoint))
    return sorted(found, key=lambda one: (one.tenant.int, one.epoch))


async def _difference(connection: Connection, head: Head, checkpoint: Checkpoint) -> How | None:
    if head.size < checkpoint.size:
        return How.SHORTER
    try:
        if head.size == checkpoint.size:
            root = Frontier(size=head.size, hashes=head.frontier).root()
        else:
            root = await root_at(TileStore(connection, tenant=head.tenant, epoch=head.epoch), checkpoint.size)
    except BadProof:
        return How.OTHER
    return None if root == checkpoint.root else How.OTHER
