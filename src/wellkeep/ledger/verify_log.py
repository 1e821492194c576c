"""Verifying one log in the database: its entries in chunks, and on the way everything that is stored about its tree.

Read inside the one transaction of `verify`. Seals, checkpoints, covers and tiles come a window at a time, so a log of
any length takes the same memory. Entries that were pruned are counted into the tree by the leaves that the tiles kept;
whether they might be pruned is for `accounts`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db.connection import Connection
from wellkeep.ledger.accounts import Walked
from wellkeep.ledger.bulk import Bulk
from wellkeep.ledger.checkpoint import CheckpointSigner
from wellkeep.ledger.growth import Claim, TileRow
from wellkeep.ledger.report import State, What
from wellkeep.ledger.seal import Seal, SealKey
from wellkeep.ledger.splice import Head
from wellkeep.ledger.tile_store import TileStore
from wellkeep.ledger.tiles import WIDTH
from wellkeep.ledger.verify_covers import check_covers
from wellkeep.ledger.walk import LogWalk

CHUNK: Final = 512
"""Entries read at once: few enough that what PostgreSQL and Python make of them stays in memory that is warm."""
WINDOW: Final = 16
"""Chunks for which seals, claims and tiles are read at once."""
_END: Final = 2**63 - 1

Progress = Callable[[str, int, int], None]
"""Told the log's origin, how many entries were verified and how many its head says there are."""

_FIRST = "SELECT coalesce(min(seq), 0) FROM ledger.entry WHERE tenant_id = $1 AND epoch = $2"
_FIRST_SINCE = """
SELECT coalesce((SELECT max(seq) + 1 FROM ledger.entry WHERE tenant_id = $1 AND epoch = $2 AND "time" < $3), 0)
"""
_LEAVES = """
SELECT seq, leaf FROM ledger.entry
WHERE tenant_id = $1 AND epoch = $2 AND seq >= $3 AND seq < $4 ORDER BY seq LIMIT $5
"""
_BULK = r"""
SELECT string_agg(int8send(e.seq), ''), string_agg(int4send(length(e.entry)), ''), string_agg(e.entry, '\x00'),
       string_agg(e.leaf, ''), string_agg(timestamptz_send(e."time"), ''),
       sum(num_nulls(e.purpose, e.resource_type, e.resource_id, e.subject)),
       string_agg(concat_ws(E'\x1f', e.event_id, e.actor, e.action, coalesce(e.purpose, E'\x1e'),
           coalesce(e.resource_type, E'\x1e'), coalesce(e.resource_id, E'\x1e'), coalesce(e.subject::text, E'\x1e'),
           e.outcome, e.request), E'\x1f')
FROM (SELECT * FROM ledger.entry WHERE tenant_id = $1 AND epoch = $2 AND seq >= $3 ORDER BY seq LIMIT $4) AS e
"""
_ENTRIES = """
SELECT seq, leaf, entry, "time", event_id::text, actor, action, purpose, resource_type, resource_id, subject::text,
       outcome, request::text
FROM ledger.entry WHERE tenant_id = $1 AND epoch = $2 AND seq >= $3 ORDER BY seq LIMIT $4
"""
_SEALS = """
SELECT size, key_id, leaf, root, mac FROM ledger.seal
WHERE tenant_id = $1 AND epoch = $2 AND size > $3 AND size <= $4 ORDER BY size
"""
_CHECKPOINTS = """
SELECT size, root, signature FROM ledger.checkpoint WHERE tenant_id = $1 AND epoch = $2 AND size > $3 AND size <= $4
"""
_COVERED = """
SELECT size, root FROM ledger.covered WHERE tenant_id = $1 AND epoch = $2 AND size > $3 AND size <= $4
"""
_TILES = """
SELECT index, hashes, root FROM ledger.tile
WHERE tenant_id = $1 AND epoch = $2 AND level = 0 AND root IS NOT NULL AND index >= $3 AND index < $4
"""


@dataclass(frozen=True, slots=True)
class Task:
    """One log to be verified: its head, what is known from elsewhere of it, and from where.

    `claims` are of any size. `start` is what was verified before; with `since` only the content of what came later is
    read. `upto` is where the walk ends, for a range of a log; None for its end, which is then held against the head.
    """

    head: Head
    claims: tuple[Claim, ...] = ()
    start: State | None = None
    since: datetime | None = None
    upto: int | None = None


async def walk_log(
    connection: Connection,
    task: Task,
    *,
    keys: Mapping[str, SealKey],
    signers: Sequence[CheckpointSigner] | None,
    progress: Progress | None = None,
) -> Walked:
    """Walk one log or a range of it. Raises what the connection raises."""
    head = task.head
    walk = LogWalk(head, keys=keys, signers=signers, start=task.start)
    place = (head.tenant, head.epoch)
    first = await connection.fetchval(_FIRST, *place)
    begin = walk.size
    if task.since is not None:
        begin = max(begin, await connection.fetchval(_FIRST_SINCE, *place, task.since))
    walked = Walked(walk, first=first, begin=begin, began=walk.size)
    reader = _Reader(connection, walked, task)
    await reader.pruned(first)
    await reader.leaves(begin)
    await reader.entries(progress)
    if task.upto is None:
        walk.finish()
        walked.beyond = await reader.beyond()
    return walked


class _Reader:
    """Feeds a walk from the database."""

    def __init__(self, connection: Connection, walked: Walked, task: Task) -> None:
        self._connection = connection
        self._walked = walked
        self._walk = walk = walked.walk
        self._task = task
        self._place = (task.head.tenant, task.head.epoch)
        self._upto = _END if task.upto is None else task.upto
        self._read_to = walk.size
        self._claims = [claim for claim in task.claims if walk.size < claim.size]

    async def _window(self) -> None:
        """Read what is stored of the sizes that come next, where that was not done yet."""
        walk = self._walk
        while walk.size + CHUNK > self._read_to < self._upto:
            begin, self._read_to = self._read_to, min(self._read_to + WINDOW * CHUNK, self._upto)
            span = (*self._place, begin, self._read_to)
            connection = self._connection
            claims = [claim for claim in self._claims if begin < claim.size <= self._read_to]
            claims += await self._stored(span)
            tiles = await connection.fetch(_TILES, *self._place, begin // WIDTH, self._read_to // WIDTH)
            seals = await connection.fetch(_SEALS, *span)
            walk.expect((Seal(*row) for row in seals), claims, (TileRow(*row) for row in tiles))

    async def pruned(self, first: int) -> None:
        """Count the leaves before `first` into the tree, where tiles kept them."""
        walk, store = self._walk, TileStore(self._connection, tenant=self._place[0], epoch=self._place[1])
        while walk.bad is None and walk.size < min(first, self._upto):
            await self._window()
            end = min(walk.size + WIDTH - walk.size % WIDTH, first, self._upto)
            leaves = await store.leaves(walk.size, end)
            if len(leaves) < end - walk.size:
                break
            walk.leaves(enumerate(leaves, start=walk.size))

    async def leaves(self, begin: int) -> None:
        """Count entries before `begin` into the tree whose content is not read again."""
        walk = self._walk
        while walk.bad is None and walk.size < begin:
            await self._window()
            # The entry before `begin` is there, so there is a row: the walk goes on by it, or is bad there.
            walk.leaves(await self._connection.fetch(_LEAVES, *self._place, walk.size, begin, CHUNK))

    async def entries(self, progress: Progress | None) -> None:
        """Read the rest."""
        walk, connection, head = self._walk, self._connection, self._task.head
        while walk.bad is None and walk.size < self._upto:
            await self._window()
            before = walk.size
            many = min(CHUNK, self._upto - before)
            if not walk.bulk(Bulk(*(await connection.fetch(_BULK, *self._place, before, many))[0])):
                walk.entries(await connection.fetch(_ENTRIES, *self._place, before, many))
            if head.tenant == PLATFORM_TENANT:
                await check_covers(connection, self._walked)
            if progress is not None:
                progress(head.origin, walk.size, head.size)
            if walk.size < before + many:
                break

    async def beyond(self) -> list[Claim]:
        """Return what is claimed of sizes beyond the end, unless the log is bad before it."""
        walk = self._walk
        if walk.bad is not None:
            return []
        span = (*self._place, walk.size, _END)
        return [*(await self._stored(span)), *(claim for claim in self._claims if claim.size > walk.size)]

    async def _stored(self, span: tuple[UUID, int, int, int]) -> list[Claim]:
        signed = await self._connection.fetch(_CHECKPOINTS, *span)
        covered = await self._connection.fetch(_COVERED, *span)
        return [
            *(Claim(size, root, What.CHECKPOINT, signature) for size, root, signature in signed),
            *(Claim(size, root, What.COVER) for size, root in covered),
        ]
