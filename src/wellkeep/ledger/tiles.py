"""Tiles: a log's Merkle tree in pieces of 256 hashes (c2sp.org/tlog-tiles), and roots and proofs from few of them.

Row 0 of a tree are its leaves; row L + 1 are the roots of row L's full tiles, so a hash of row L stands for 256^L
leaves. A tile is 256 hashes in a row, 8,192 bytes; only a row's last tile can be partial, and its hashes are leaves or
the roots of tiles below, which is why no partial tile need be stored. Rules: no I/O of its own (a `TileReader` reads),
what must be read follows from sizes alone, and a tile that is not there is derived from the rows below it. What a
reader returns is not believed to be the tree: whoever proves something to others checks it against a signed root first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple, Protocol

from wellkeep.crypto.errors import BadProof
from wellkeep.crypto.merkle import EMPTY_ROOT, node_hash

HEIGHT = 8
WIDTH = 1 << HEIGHT
HASH_BYTES = 32
TILE_BYTES = WIDTH * HASH_BYTES

Range = tuple[int, int]
"""Leaves from the first to before the second: one node of a tree, perfect or at its right edge."""


class TileReader(Protocol):
    """Where a log's tree is kept; each call is one read."""

    async def tile(self, level: int, number: int) -> bytes | None:
        """Return the 8,192 bytes of a full tile, or None where it is not kept."""
        ...

    async def roots(self, level: int, first: int, end: int) -> Sequence[bytes]:
        """Return the roots of a level's full tiles `first` to before `end` (≤ 256); fewer where not all are kept."""
        ...

    async def leaves(self, first: int, end: int) -> Sequence[bytes]:
        """Return the leaf hashes `first` to before `end` (≤ 256)."""
        ...


class Tile(NamedTuple):
    """A full tile: 256 hashes of 32 bytes, and the root of the subtree that they make."""

    level: int
    number: int
    hashes: bytes
    root: bytes


class TilePlace(NamedTuple):
    """A tile's place in the tree of some size, and how many hashes it has there (1 to 256)."""

    level: int
    number: int
    width: int

    @property
    def path(self) -> str:
        """Return where tlog-tiles keeps it: `tile/0/x001/234`, partial ones with `.p/<width>`."""
        return f"tile/{self.level}/{_path(self.number, self.width)}"

    @property
    def bundle_path(self) -> str:
        """Return where tlog-tiles keeps the entries of a tile of level 0: `tile/entries/x001/234`."""
        return f"tile/entries/{_path(self.number, self.width)}"


def _path(number: int, width: int) -> str:
    digits = str(number)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    path = "/".join([f"x{part}" for part in parts[:-1]] + parts[-1:])
    return path if width == WIDTH else f"{path}.p/{width}"


def tiles_of(size: int) -> Iterator[TilePlace]:
    """Yield each tile of the tree of `size` leaves, level by level, the partial ones as well."""
    level, row = 0, size
    while row:
        full, width = divmod(row, WIDTH)
        for number in range(full):
            yield TilePlace(level, number, WIDTH)
        if width:
            yield TilePlace(level, full, width)
        level, row = level + 1, full


def completed(old: int, new: int) -> Iterator[TilePlace]:
    """Yield the tiles that become full when a tree grows from `old` to `new` leaves, level by level."""
    level = 0
    while new:
        old, new = old // WIDTH, new // WIDTH
        for number in range(old, new):
            yield TilePlace(level, number, WIDTH)
        level += 1


class TileBuilder:
    """A growing tree's last, partial tile of each level: what is needed to make the next full tiles, and the root."""

    __slots__ = ("_full", "_rows", "size")

    def __init__(self, *, size: int = 0, rows: Sequence[Sequence[bytes]] = ()) -> None:
        """Begin empty, or with the partial tiles of a tree of `size`, level 0 first; `resumed` reads them."""
        runs = _last_runs(size)
        if [len(row) for row in rows] != [run.end - run.first for run in runs]:
            raise BadProof("these are not the partial tiles of a tree of that size")
        self.size = size
        self._rows = [list(row) for row in rows]
        self._full = [run.first // WIDTH for run in runs]

    def extend(self, leaves: Sequence[bytes]) -> list[Tile]:
        """Add leaf hashes; return the tiles that they complete, each after those that it is made of."""
        made: list[Tile] = []
        at = 0
        while at < len(leaves):
            room = WIDTH - len(self._rows[0]) if self._rows else WIDTH
            self._add(0, leaves[at : at + room], made)
            at += room
        self.size += len(leaves)
        return made

    def _add(self, level: int, hashes: Sequence[bytes], made: list[Tile]) -> None:
        if level == len(self._rows):
            self._rows.append([])
            self._full.append(0)
        row = self._rows[level]
        row.extend(hashes)
        if len(row) == WIDTH:
            tile = Tile(level, self._full[level], b"".join(row), perfect_root(row))
            made.append(tile)
            row.clear()
            self._full[level] += 1
            self._add(level + 1, [tile.root], made)

    def partial(self) -> list[tuple[TilePlace, bytes]]:
        """Return the partial tiles as tlog-tiles writes them, level 0 first."""
        return [
            (TilePlace(level, full, len(row)), b"".join(row))
            for level, (full, row) in enumerate(zip(self._full, self._rows, strict=True))
            if row
        ]

    def frontier(self) -> list[bytes]:
        """Return the roots of the perfect subtrees, largest first: what `merkle.Frontier` goes on from."""
        return [node for row in reversed(self._rows) for node in _perfect_roots(row)]

    def root(self) -> bytes:
        """Return the root of the tree so far."""
        nodes = self.frontier()
        return _chained(nodes) if nodes else EMPTY_ROOT


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """Return the root over hashes whose number is a power of two."""
    nodes = list(hashes)
    while len(nodes) > 1:
        pairs = iter(nodes)
        nodes = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
    return nodes[0]


def _perfect_roots(row: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the roots of the perfect subtrees over a row, largest first."""
    at = 0
    for bit in reversed(range(len(row).bit_length())):
        if len(row) >> bit & 1:
            yield perfect_root(row[at : at + (1 << bit)])
            at += 1 << bit


def _chained(nodes: Sequence[bytes]) -> bytes:
    """Return the root over subtrees of falling size."""
    result = nodes[-1]
    for left in reversed(nodes[:-1]):
        result = node_hash(left, result)
    return result


class Run(NamedTuple):
    """Hashes of one row, from `first` to before `end`, all in one tile: one read."""

    level: int
    first: int
    end: int


def _last_runs(size: int) -> list[Run]:
    """Return what the partial tiles of a tree of `size` hold, level 0 first; empty ones as well."""
    runs: list[Run] = []
    while size:
        runs.append(Run(len(runs), size - size % WIDTH, size))
        size //= WIDTH
    return runs


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """Return the subtrees whose roots prove that a leaf is in the tree of `size`, leaf end first; raises `BadProof`."""
    if not 0 <= index < size:
        raise BadProof("no such leaf")
    first, end, ranges = 0, size, []
    while end - first > 1:
        middle = _middle(first, end)
        ranges.append((middle, end) if index < middle else (first, middle))
        first, end = (first, middle) if index < middle else (middle, end)
    return ranges[::-1]


def consistency_ranges(old: int, new: int) -> list[Range]:
    """Return the subtrees whose roots prove that `old` leaves are a prefix of `new`; raises `BadProof` (RFC 6962)."""
    if not 0 < old <= new:
        raise BadProof("no such older tree")
    first, end, ranges = 0, new, []
    while end != old:
        middle = _middle(first, end)
        ranges.append((middle, end) if old <= middle else (first, middle))
        first, end = (first, middle) if old <= middle else (middle, end)
    return [*([(first, end)] if first else []), *ranges[::-1]]


def _middle(first: int, end: int) -> int:
    return first + (1 << ((end - first - 1).bit_length() - 1))


def _perfect_runs(wanted: Range) -> list[Run]:
    """Return the hashes that each perfect subtree of a range is made of, largest first."""
    first, end = wanted
    runs = []
    while first < end:
        height = (end - first).bit_length() - 1
        if first:
            height = min(height, (first & -first).bit_length() - 1)
        level, inside = divmod(height, HEIGHT)
        at = first >> HEIGHT * level
        runs.append(Run(level, at, at + (1 << inside)))
        first += 1 << height
    return runs


def runs_for(ranges: Sequence[Range]) -> list[Run]:
    """Return what must be read for the roots of these ranges: at most one run of each tile."""
    tiles: dict[tuple[int, int], Run] = {}
    for run in (run for wanted in ranges for run in _perfect_runs(wanted)):
        key = run.level, run.first // WIDTH
        known = tiles.get(key, run)
        tiles[key] = Run(run.level, min(run.first, known.first), max(run.end, known.end))
    return list(tiles.values())


def roots_of(ranges: Sequence[Range], read: Mapping[Run, Sequence[bytes]]) -> list[bytes]:
    """Return the root of each range, given the hashes of each run that `runs_for` asked for."""
    tiles = {(run.level, run.first // WIDTH): (run.first, hashes) for run, hashes in read.items()}
    roots = []
    for wanted in ranges:
        nodes = []
        for level, first, end in _perfect_runs(wanted):
            begin, hashes = tiles[level, first // WIDTH]
            nodes.append(perfect_root(hashes[first - begin : end - begin]))
        roots.append(_chained(nodes))
    return roots


async def root_at(reader: TileReader, size: int) -> bytes:
    """Return the root of the tree of the first `size` leaves; raises `BadProof` where the reader has fewer."""
    if not size:
        return EMPTY_ROOT
    return (await _roots(reader, [(0, size)], size))[0]


async def inclusion(reader: TileReader, index: int, size: int) -> list[bytes]:
    """Return the audit path of a leaf in the tree of `size`, leaf end first; raises `BadProof` where there is none."""
    return await _roots(reader, inclusion_ranges(index, size), size)


async def consistency(reader: TileReader, old: int, new: int) -> list[bytes]:
    """Return the proof that the tree of `old` leaves is a prefix of that of `new`; raises `BadProof`."""
    return await _roots(reader, consistency_ranges(old, new), new)


async def resumed(reader: TileReader, size: int) -> TileBuilder:
    """Return a builder that goes on from the tree of `size`: one read for each partial tile."""
    return TileBuilder(size=size, rows=[await _row(reader, run, size) for run in _last_runs(size)])


async def tile_root(reader: TileReader, level: int, number: int, size: int) -> bytes:
    """Return the root of a full tile of the tree of `size`, from its row or what is below; raises `BadProof`."""
    return perfect_root(await _row(reader, Run(level, number * WIDTH, (number + 1) * WIDTH), size))


async def _roots(reader: TileReader, ranges: Sequence[Range], size: int) -> list[bytes]:
    return roots_of(ranges, {run: await _row(reader, run, size) for run in runs_for(ranges)})


async def _row(reader: TileReader, run: Run, size: int) -> Sequence[bytes]:
    """Read a run of the tree of `size`: from its tile, else from the rows below."""
    level, first, end = run
    number = first // WIDTH
    if first == end:
        return []
    if (number + 1) * WIDTH <= size >> HEIGHT * level:
        tile = await reader.tile(level, number)
        if tile is not None:
            return _hashes_of(tile)[first - number * WIDTH : end - number * WIDTH]
    if level == 0:
        found = await reader.leaves(first, end)
    else:
        found = await reader.roots(level - 1, first, end)
        if len(found) < end - first:
            below = [Run(level - 1, each * WIDTH, (each + 1) * WIDTH) for each in range(first, end)]
            found = [perfect_root(await _row(reader, each, size)) for each in below]
    if len(found) != end - first:
        raise BadProof("the tree has fewer leaves than it should")
    return found


def _hashes_of(tile: bytes) -> list[bytes]:
    if len(tile) != TILE_BYTES:
        raise BadProof("a tile has 8,192 bytes")
    return [tile[at : at + HASH_BYTES] for at in range(0, TILE_BYTES, HASH_BYTES)]
