"""Verifying one log in the database: its entries in chunks, and on the way everything that is stored about its tree.

Read inside the one transaction of `verify`. Seals, checkpoints, covers and tiles come a window at a time, so a log of
any length takes the same memory. Entries that were pruned are counted into the tree by the leaves that the tiles kept;
whether they might be pruned is for `accounts`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db.connection import Connection, Record
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

CHUNK: Final = 256
"""Entries read at once: few enough that PostgreSQL joins them in memory that it has. For 512 it asked the kernel for
new pages each time, half of one an entry, which took a quarter of its time."""
WINDOW: Final = 32
"""Chunks for which seals, claims and tiles are read at once."""
_END: Final = 2**63 - 1

Progress = Callable[[str, int, int], None]
"""Told the log's origin, how many entries were verified and how many its head says there are."""

BECOME_OWNER: Final = "SET LOCAL ROLE wk_owner; SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL jit = off"
"""In each transaction that verifies: the same queries over and over, planned once and not compiled."""

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
# What is stored of the sizes over $3 to $4, what is claimed of those over $5 to $6, and the first entry: one query, for
# most logs are short, and each query costs more than what it finds of one.
_WINDOW = """
SELECT (SELECT coalesce(min(e.seq), 0) FROM ledger.entry AS e WHERE e.tenant_id = $1 AND e.epoch = $2) AS first,
       s.*, c.*, v.*, t.*
FROM (SELECT array_agg(o.size::bigint), array_agg(o.key_id), array_agg(o.leaf::bytea), array_agg(o.root::bytea),
             array_agg(o.mac::bytea)
      FROM (SELECT * FROM ledger.seal WHERE tenant_id = $1 AND epoch = $2 AND size > $3 AND size <= $4
            ORDER BY size) AS o) AS s (sealed, keys, sealed_leaves, sealed_roots, macs),
     (SELECT array_agg(size::bigint), array_agg(root::bytea), array_agg(signature) FROM ledger.checkpoint
      WHERE tenant_id = $1 AND epoch = $2 AND size > $5 AND size <= $6) AS c (signed, signed_roots, signatures),
     (SELECT array_agg(size::bigint), array_agg(root::bytea) FROM ledger.covered
      WHERE tenant_id = $1 AND epoch = $2 AND size > $5 AND size <= $6) AS v (covered, covered_roots),
     (SELECT array_agg(index), array_agg(hashes), array_agg(root::bytea) FROM ledger.tile
      WHERE tenant_id = $1 AND epoch = $2 AND level = 0 AND root IS NOT NULL
        AND index >= $3 / 256 AND index < $4 / 256) AS t (tiles, tile_hashes, tile_roots)
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
    walked = Walked(walk, first=0, begin=walk.size, began=walk.size)
    reader = _Reader(connection, walked, task)
    await reader.window()
    if task.since is not None:
        since = await connection.fetchval(_FIRST_SINCE, head.tenant, head.epoch, task.since)
        walked.begin = max(walked.begin, since)
    await reader.pruned()
    await reader.leaves()
    await reader.entries(progress)
    if task.upto is None and walk.finish() is None:
        walked.beyond = walk.growth.unreached
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
        self._read_to = self._claimed_to = walk.size

    async def window(self) -> None:
        """Read what is stored of the sizes that come next, where that was not done yet."""
        walk = self._walk
        while walk.size + CHUNK > self._read_to < self._upto:
            begin, self._read_to = self._read_to, min(self._read_to + WINDOW * CHUNK, self._upto)
            # With the last entries comes what is claimed beyond them.
            last = self._task.upto is None and self._read_to >= walk.head.size
            after, self._claimed_to = self._claimed_to, _END if last else self._read_to
            span = (begin, self._read_to, after, self._claimed_to)
            row = (await self._connection.fetch(_WINDOW, *self._place, *span))[0]
            self._walked.first = row["first"]
            claims = [claim for claim in self._task.claims if after < claim.size <= self._claimed_to]
            walk.expect(_seals(row), [*claims, *_claims(row)], _tiles(row))

    async def pruned(self) -> None:
        """Count the leaves before the first entry into the tree, where tiles kept them."""
        walk, first, (tenant, epoch) = self._walk, self._walked.first, self._place
        store = TileStore(self._connection, tenant=tenant, epoch=epoch)
        while walk.bad is None and walk.size < min(first, self._upto):
            await self.window()
            end = min(walk.size + WIDTH - walk.size % WIDTH, first, self._upto)
            leaves = await store.leaves(walk.size, end)
            if len(leaves) < end - walk.size:
                break
            walk.leaves(enumerate(leaves, start=walk.size))

    async def leaves(self) -> None:
        """Count entries into the tree whose content is not read again."""
        walk, begin = self._walk, self._walked.begin
        while walk.bad is None and walk.size < begin:
            await self.window()
            # The entry before `begin` is there, so there is a row: the walk goes on by it, or is bad there.
            walk.leaves(await self._connection.fetch(_LEAVES, *self._place, walk.size, begin, CHUNK))

    async def entries(self, progress: Progress | None) -> None:
        """Read the rest."""
        walk, connection, head = self._walk, self._connection, self._task.head
        while walk.bad is None and walk.size < self._upto:
            await self.window()
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


def _seals(row: Record) -> Iterable[Seal]:
    return map(Seal._make, _rows(row, "sealed", "keys", "sealed_leaves", "sealed_roots", "macs"))


def _claims(row: Record) -> Iterator[Claim]:
    """Yield what checkpoints and covers say."""
    for size, root, signature in _rows(row, "signed", "signed_roots", "signatures"):
        yield Claim(size, root, What.CHECKPOINT, signature or b"")  # none at all is none of ours
    for size, root in _rows(row, "covered", "covered_roots"):
        yield Claim(size, root, What.COVER)


def _tiles(row: Record) -> Iterable[TileRow]:
    return map(TileRow._make, _rows(row, "tiles", "tile_hashes", "tile_roots"))


def _rows(row: Record, *columns: str) -> Iterable[tuple[Any, ...]]:
    """Return the rows that arrays in `columns` make, which are null where there is none."""
    return zip(*(row[column] or () for column in columns), strict=True)
