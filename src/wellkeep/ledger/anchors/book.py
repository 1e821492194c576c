"""What the database remembers of anchors: what each took and answered, and how its attempts ended.

Rule: it is our own memory, as open to whoever owns the database as the entries: it says what to do next and how we
stand, and verification believes of it only what somebody else signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db.pool import Pool
from wellkeep.ledger.anchors.anchor import Consistency, Trouble
from wellkeep.ledger.checkpoint import Checkpoint, CheckpointSigner, note, signed_by
from wellkeep.ledger.seal import origin
from wellkeep.ledger.tile_store import TileStore
from wellkeep.ledger.tiles import consistency, root_at

_END = 'SELECT epoch, size, root, "time", signature FROM ledger.root_end()'
_OVERVIEW = """
SELECT anchor, epoch, size, at, waiting_since, attempted_at, looked_at, error, failures
FROM ledger.anchor_overview($1)
"""
_TAKE = "SELECT ledger.take_anchor($1, $2, $3)"
_LEAVE = "SELECT ledger.leave_anchor($1, $2, $3)"
_ADD = "SELECT ledger.add_anchored($1, $2, $3, $4, $5, $6, $7)"
_READ = "SELECT epoch, size, root, at, note, receipt FROM ledger.read_anchored($1, $2)"


class RootEnd(NamedTuple):
    """The newest checkpoint of the root log, as the database has it: nothing about it is believed yet."""

    epoch: int
    checkpoint: Checkpoint
    time: datetime
    signature: bytes

    @property
    def note(self) -> bytes:
        """The signed note."""
        return note(self.checkpoint, self.signature)

    def signed(self, signers: Sequence[CheckpointSigner]) -> bool:
        """Say whether a key of the deployment signed it."""
        return signed_by(signers, self.checkpoint, self.signature)


class Standing(NamedTuple):
    """How one anchor stands; `epoch` and `size` of the newest checkpoint that it took, None where none."""

    anchor: str
    epoch: int | None
    size: int | None
    at: datetime | None
    waiting_since: datetime | None
    attempted_at: datetime | None
    looked_at: datetime | None
    error: str | None
    failures: int


class Kept(NamedTuple):
    """A note that an anchor took, and its receipt."""

    epoch: int
    size: int
    root: bytes
    at: datetime
    note: bytes
    receipt: bytes


class AnchorBook:
    """The tables of anchors, over the pool of `wk_ledger`."""

    def __init__(self, pool: Pool, *, host: str) -> None:
        """`host` names the logs."""
        self._pool = pool
        self._host = host

    def origin(self, epoch: int) -> str:
        """Return the root log's name in an epoch."""
        return origin(self._host, PLATFORM_TENANT, epoch)

    async def root_end(self) -> RootEnd | None:
        """Return the newest checkpoint of the root log, None where there is none."""
        async with self._pool.connection() as connection:
            row = await connection.fetchrow(_END)
        if row is None:
            return None
        checkpoint = Checkpoint(self.origin(row["epoch"]), row["size"], row["root"])
        return RootEnd(row["epoch"], checkpoint, row["time"], row["signature"])

    async def standings(self, anchors: Sequence[str]) -> list[Standing]:
        """Return how each of `anchors` stands, in their order."""
        async with self._pool.connection() as connection:
            return [Standing(*row.values()) for row in await connection.fetch(_OVERVIEW, list(anchors))]

    async def take(self, standing: Standing, *, seconds: float) -> bool:
        """Take the turn at an anchor, for `seconds` at most; False where another process has it, or had it since."""
        async with self._pool.connection() as connection:
            return bool(
                await connection.fetchval(_TAKE, standing.anchor, timedelta(seconds=seconds), standing.attempted_at)
            )

    async def leave(self, anchor: str, *, trouble: Trouble | None, looked: bool) -> int:
        """End the turn; return how often in a row it failed."""
        async with self._pool.connection() as connection:
            return int(await connection.fetchval(_LEAVE, anchor, trouble and trouble.value, looked) or 0)

    async def add(self, anchor: str, end: RootEnd, *, at: datetime, receipt: bytes) -> None:
        """Store that `anchor` took `end`."""
        asked = (anchor, end.epoch, end.checkpoint.size, end.checkpoint.root, at, end.note, receipt)
        async with self._pool.connection() as connection:
            await connection.execute(_ADD, *asked)

    async def kept(self, anchor: str, *, most: int) -> list[Kept]:
        """Return what an anchor took, the newest first."""
        async with self._pool.connection() as connection:
            return [Kept(*row.values()) for row in await connection.fetch(_READ, anchor, most)]

    def consistency(self, end: RootEnd) -> Consistency:
        """Return what proves that an older root log is a prefix of `end`."""

        async def prove(old: int) -> list[bytes]:
            async with self._pool.connection() as connection:
                store = TileStore(connection, tenant=PLATFORM_TENANT, epoch=end.epoch)
                return await consistency(store, old, end.checkpoint.size)

        return prove

    async def root_at(self, end: RootEnd, size: int) -> bytes:
        """Return the root that the root log had at `size`, by its tiles. Raises BadProof where it has fewer entries."""
        async with self._pool.connection() as connection:
            return await root_at(TileStore(connection, tenant=PLATFORM_TENANT, epoch=end.epoch), size)
