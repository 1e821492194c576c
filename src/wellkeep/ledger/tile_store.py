"""A log's Merkle tree as the database keeps it: full tiles, and the leaves of entries that no full tile holds yet.

Rules: only full tiles are written, once, by whoever notices that one is due; what is not there is derived from what is
below. Hashes are read without a gap or not at all: none ever stands in another's place. Tiles are what proofs are made
of quickly and prove nothing by themselves: verification holds them against the entries, and a proof is held against a
signed root before it is handed out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from uuid import UUID

from wellkeep.db.connection import Connection
from wellkeep.ledger import tiles
from wellkeep.ledger.tiles import HASH_BYTES, TILE_BYTES, WIDTH, Range, Run, perfect_root

_TILE = "SELECT ledger.read_tile($1, $2, $3, $4)"
# Numbers as text: of arrays, this is the one kind that the driver knows without asking the database first.
_RUNS = """
SELECT r.hashes
FROM ledger.read_runs($1, $2, $3::text[]::integer[], $4::text[]::bigint[], $5::text[]::bigint[]) AS r (hashes)
"""
_COUNTS = "SELECT level, tiles FROM ledger.tile_counts($1, $2)"
_ADD = "SELECT ledger.add_tiles($1)"
_AT_ONCE = 64


class TileStore:
    """The tree of one log, over a connection of `wk_ledger`."""

    def __init__(self, connection: Connection, *, tenant: UUID, epoch: int) -> None:
        """Read and write the tiles of the log of `tenant` in `epoch`."""
        self._connection = connection
        self._log = (tenant, epoch)

    async def tile(self, level: int, number: int) -> bytes | None:
        """Return the 8,192 bytes of a full tile, or None where it is not kept."""
        kept = await self._connection.fetchval(_TILE, *self._log, level, number)
        return kept if kept is not None and len(kept) == TILE_BYTES else None

    async def roots(self, level: int, first: int, end: int) -> list[bytes]:
        """Return the roots of full tiles `first` to before `end` of a level; fewer where not all are kept."""
        return (await self._read([Run(level + 1, first, end)]))[0]

    async def leaves(self, first: int, end: int) -> list[bytes]:
        """Return leaf hashes, all in one tile; those of a pruned month come from the tile that was kept of it.

        From `first` on without a gap: fewer where one is missing.
        """
        return (await self._read([Run(0, first, end)]))[0]

    async def inclusion(self, index: int, size: int) -> list[bytes]:
        """Return the audit path of a leaf in the tree of `size`, as `tiles.inclusion` does, by one call."""
        found = await self._roots(tiles.inclusion_ranges(index, size))
        return await tiles.inclusion(self, index, size) if found is None else found

    async def consistency(self, old: int, new: int) -> list[bytes]:
        """Return the proof that the tree of `old` leaves is a prefix, as `tiles.consistency` does, by one call."""
        found = await self._roots(tiles.consistency_ranges(old, new))
        return await tiles.consistency(self, old, new) if found is None else found

    async def _roots(self, ranges: Sequence[Range]) -> list[bytes] | None:
        """Return the root of each range; None where a tile that they need is still to be derived."""
        runs = tiles.runs_for(ranges)
        read = dict(zip(runs, await self._read(runs), strict=True))
        whole = all(len(hashes) == run.end - run.first for run, hashes in read.items())
        return tiles.roots_of(ranges, read) if whole else None

    async def _read(self, runs: Sequence[Run]) -> list[list[bytes]]:
        levels, firsts, ends = ([str(run[column]) for run in runs] for column in range(3))
        return [_hashes(row["hashes"]) for row in await self._connection.fetch(_RUNS, *self._log, levels, firsts, ends)]

    async def grow(self, size: int) -> int:
        """Store each tile that is full in the tree of `size` leaves and not there yet; return how many were made."""
        counts = {row["level"]: row["tiles"] or 0 for row in await self._connection.fetch(_COUNTS, *self._log)}
        made, level, full = 0, 0, size // WIDTH
        while full:
            for begin, end in _spans(counts.get(level, 0), full):
                made += await self._store(level, begin, end)
            level, full = level + 1, full // WIDTH
        return made

    async def keep(self, size: int) -> None:
        """Store the last, partial tile of level 0 of the tree of `size` leaves, unless it is full by now.

        For who lets the entries below it go, and has found them all there.
        """
        begin = size - size % WIDTH
        if begin < size and await self.tile(0, begin // WIDTH) is None:
            leaves = b"".join(await self.leaves(begin, size))
            await self._connection.execute(_ADD, [(*self._log, 0, begin // WIDTH, leaves, None)])

    async def _store(self, level: int, first: int, end: int) -> int:
        rows = []
        for number in range(first, end):
            [hashes] = await self._read([Run(level, number * WIDTH, (number + 1) * WIDTH)])
            if len(hashes) < WIDTH:
                break  # where an entry is missing no tile is made; verification says which it is
            rows.append((*self._log, level, number, b"".join(hashes), perfect_root(hashes)))
        if rows:
            await self._connection.execute(_ADD, rows)
        return len(rows)


def _spans(first: int, end: int) -> Iterator[tuple[int, int]]:
    return pairwise([*range(first, end, _AT_ONCE), end])


def _hashes(joined: bytes) -> list[bytes]:
    return [joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES)]
