"""A log's Merkle tree as the database keeps it: full tiles, and the leaves of entries that no full tile holds yet.

Rules: only full tiles are written, once, by whoever notices that one is due; what is not there is derived from what is
below. Tiles are what proofs are made of quickly and prove nothing by themselves: verification holds them against the
entries, and a proof is held against a signed root before it is handed out.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from uuid import UUID

from wellkeep.db.connection import Connection
from wellkeep.ledger.tiles import HASH_BYTES, TILE_BYTES, WIDTH, perfect_root

_TILE = "SELECT ledger.read_tile($1, $2, $3, $4)"
_ROOTS = "SELECT ledger.root_run($1, $2, $3, $4, $5)"
_LEAVES = "SELECT ledger.leaf_run($1, $2, $3, $4)"
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
        return _hashes(await self._connection.fetchval(_ROOTS, *self._log, level, first, end))

    async def leaves(self, first: int, end: int) -> list[bytes]:
        """Return leaf hashes, all in one tile; those of a pruned month come from the tile that was kept of it."""
        found = _hashes(await self._connection.fetchval(_LEAVES, *self._log, first, end))
        if len(found) < end - first:
            number = first // WIDTH
            kept = _hashes(await self._connection.fetchval(_TILE, *self._log, 0, number))
            missing = end - first - len(found)
            found = kept[first - number * WIDTH :][:missing] + found
        return found

    async def grow(self, size: int) -> int:
        """Store each tile that is full in the tree of `size` leaves and not there yet; return how many were made."""
        counts = {row["level"]: row["tiles"] or 0 for row in await self._connection.fetch(_COUNTS, *self._log)}
        made, level, full = 0, 0, size // WIDTH
        while full:
            for begin, end in _spans(counts.get(level, 0), full):
                made += await self._store(level, begin, end)
            level, full = level + 1, full // WIDTH
        return made

    async def _store(self, level: int, first: int, end: int) -> int:
        rows = []
        for number in range(first, end):
            span = (number * WIDTH, (number + 1) * WIDTH)
            hashes = await (self.leaves(*span) if level == 0 else self.roots(level - 1, *span))
            if len(hashes) < WIDTH:
                break
            rows.append((*self._log, level, number, b"".join(hashes), perfect_root(hashes)))
        if rows:
            await self._connection.execute(_ADD, rows)
        return len(rows)


def _spans(first: int, end: int) -> Iterator[tuple[int, int]]:
    return pairwise([*range(first, end, _AT_ONCE), end])


def _hashes(joined: bytes | None) -> list[bytes]:
    raw = joined or b""
    return [raw[at : at + HASH_BYTES] for at in range(0, len(raw), HASH_BYTES)]
