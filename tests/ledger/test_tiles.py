"""Tiles give the roots and proofs that the lists of leaves give, whatever is kept, and from few reads."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wellkeep.crypto import merkle
from wellkeep.crypto.errors import BadProof
from wellkeep.ledger import tiles

LEAVES = [merkle.leaf_hash(b"%d" % number) for number in range(700)]


class Kept:
    """A tree in memory: all its full tiles but those that are lost."""

    def __init__(self, leaves: Sequence[bytes], *, lost: frozenset[tuple[int, int]] = frozenset()) -> None:
        self.all = leaves
        self.builder = tiles.TileBuilder()
        made = self.builder.extend(leaves)
        self.kept = {(tile.level, tile.number): tile for tile in made if (tile.level, tile.number) not in lost}
        self.reads: Counter[str] = Counter()

    async def tile(self, level: int, number: int) -> bytes | None:
        self.reads["tile"] += 1
        tile = self.kept.get((level, number))
        return tile and tile.hashes

    async def roots(self, level: int, first: int, end: int) -> list[bytes]:
        self.reads["roots"] += 1
        assert 0 < end - first <= 256
        return [self.kept[level, index].root for index in range(first, end) if (level, index) in self.kept]

    async def leaves(self, first: int, end: int) -> Sequence[bytes]:
        self.reads["leaves"] += 1
        assert 0 < end - first <= 256
        return self.all[first:end]


ALL = Kept(LEAVES)
BARE = Kept(LEAVES, lost=frozenset((level, index) for level in range(3) for index in range(3)))


async def test_every_root_of_a_small_tree() -> None:
    frontier = merkle.Frontier()
    for size in range(600):
        expected = frontier.root()
        assert await tiles.root_at(ALL, size) == await tiles.root_at(BARE, size) == expected
        assert (await tiles.resumed(ALL, size)).root() == expected
        frontier.append(LEAVES[size])


@pytest.mark.parametrize("reader", [ALL, BARE], ids=["tiles", "leaves"])
async def test_proofs_of_every_small_size_verify(reader: Kept) -> None:
    random = Random(7)  # noqa: S311 - the same places each time
    frontier = merkle.Frontier()
    roots = [frontier.root()]
    for size, leaf in enumerate(LEAVES[:600], 1):
        frontier.append(leaf)
        roots.append(frontier.root())
        for index in {0, size - 1, size // 2, random.randrange(size), min(255, size - 1), min(256, size - 1)}:
            proof = await tiles.inclusion(reader, index, size)
            merkle.verify_inclusion(LEAVES[index], index=index, size=size, proof=proof, expected=roots[size])
        for old in {1, size, (size + 1) // 2, random.randint(1, size), min(255, size), min(256, size)}:
            proof = await tiles.consistency(reader, old, size)
            merkle.verify_consistency(
                old_size=old, old_root=roots[old], new_size=size, new_root=roots[size], proof=proof
            )


@given(st.integers(1, 700), st.data())
@settings(max_examples=60, deadline=None)
async def test_proofs_are_those_of_the_list(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    assert await tiles.inclusion(ALL, index, size) == merkle.inclusion_proof(LEAVES[:size], index=index)
    assert await tiles.consistency(ALL, index + 1, size) == merkle.consistency_proof(LEAVES[:size], old_size=index + 1)


@pytest.fixture(scope="module")
def million() -> Kept:
    return Kept([sha256(number.to_bytes(4)).digest() for number in range(1_000_000)])


async def test_proofs_in_a_log_of_a_million_need_few_reads_and_little_time(million: Kept) -> None:
    random = Random(11)  # noqa: S311 - the same places each time
    size = len(million.all)
    root = million.builder.root()
    assert await tiles.root_at(million, size) == root
    spent = []
    places = [
        0,
        255,
        256,
        65_535,
        65_536,
        983_040,
        999_935,
        999_936,
        size - 1,
        *(random.randrange(size) for _ in range(40)),
    ]
    for index in places:
        million.reads.clear()
        began = time.process_time()
        proof = await tiles.inclusion(million, index, size)
        spent.append(time.process_time() - began)
        assert million.reads.total() <= 6
        merkle.verify_inclusion(million.all[index], index=index, size=size, proof=proof, expected=root)
        million.reads.clear()
        old_root, proof = await tiles.root_at(million, index + 1), await tiles.consistency(million, index + 1, size)
        assert million.reads.total() <= 3 + 6
        merkle.verify_consistency(old_size=index + 1, old_root=old_root, new_size=size, new_root=root, proof=proof)
    assert sorted(spent)[len(spent) // 2] < 0.002


async def test_a_large_tree_whose_upper_tiles_are_lost(million: Kept) -> None:
    size = 300_000
    part = Kept(million.all[:size], lost=frozenset({(1, 0), (1, 3), (0, 5), (0, 1170)}))
    root = await tiles.root_at(million, size)
    assert part.builder.root() == await tiles.root_at(part, size) == root
    for index in (0, 5 * 256 + 7, 3 * 65_536, 1170 * 256, size - 1):
        proof = await tiles.inclusion(part, index, size)
        merkle.verify_inclusion(million.all[index], index=index, size=size, proof=proof, expected=root)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (0, 0, []),
        (0, 255, []),
        (0, 256, [(0, 0)]),
        (255, 257, [(0, 0)]),
        (256, 256, []),
        (300, 1024, [(0, 1), (0, 2), (0, 3)]),
        (65_535, 65_536, [(0, 255), (1, 0)]),
    ],
)
def test_which_tiles_become_full(old: int, new: int, expected: list[tuple[int, int]]) -> None:
    assert [(level, index) for level, index, width in tiles.completed(old, new)] == expected


@given(st.lists(st.integers(0, 300), max_size=5))
@settings(deadline=None)
async def test_growing_in_steps_makes_the_same_tiles_once(steps: list[int]) -> None:
    whole = tiles.TileBuilder()
    at_once = {(tile.level, tile.number): tile for tile in whole.extend(LEAVES[: sum(steps)])}
    builder, made, size = tiles.TileBuilder(), [], 0
    for step in steps:
        new = min(size + step, len(LEAVES))
        made += (more := builder.extend(LEAVES[size:new]))
        assert {(tile.level, tile.number) for tile in more} == {place[:2] for place in tiles.completed(size, new)}
        size = new
        builder = await tiles.resumed(ALL, size)
        assert builder.size == size
        assert builder.root() == merkle.root(LEAVES[:size])
    assert {(tile.level, tile.number): tile for tile in made} == at_once
    assert builder.partial() == whole.partial()


def test_the_tiles_of_a_tree_are_those_that_the_specification_counts() -> None:
    places = list(tiles.tiles_of(70_000))
    assert Counter((place.level, place.width) for place in places) == {
        (0, 256): 273,
        (0, 112): 1,
        (1, 256): 1,
        (1, 17): 1,
        (2, 1): 1,
    }
    assert [place[:2] for place in tiles.tiles_of(256)] == [(0, 0), (1, 0)]
    assert list(tiles.tiles_of(0)) == []


def test_the_partial_tiles_and_the_full_ones_are_the_whole_tree() -> None:
    for size in (0, 1, 255, 256, 257, 700):
        builder = tiles.TileBuilder()
        full = {(tile.level, tile.number, 256): tile.hashes for tile in builder.extend(LEAVES[:size])}
        partial = {(*place,): hashes for place, hashes in builder.partial()}
        assert {**full, **partial}.keys() == set(tiles.tiles_of(size))
        assert all(len(hashes) == 32 * place[2] for place, hashes in {**full, **partial}.items())


@pytest.mark.parametrize(
    ("index", "width", "expected"),
    [
        (0, 256, "000"),
        (999, 256, "999"),
        (1000, 256, "x001/000"),
        (1_234_067, 256, "x001/x234/067"),
        (1_234_067, 7, "x001/x234/067.p/7"),
    ],
)
def test_paths_are_those_of_the_specification(index: int, width: int, expected: str) -> None:
    place = tiles.TilePlace(2, index, width)
    assert place.path == f"tile/2/{expected}"
    assert place.bundle_path == f"tile/entries/{expected}"


async def test_what_is_not_there_has_no_proof() -> None:
    for index, size in ((-1, 3), (3, 3), (0, 0)):
        with pytest.raises(BadProof):
            await tiles.inclusion(ALL, index, size)
    for old, new in ((0, 3), (4, 3), (-1, 3)):
        with pytest.raises(BadProof):
            await tiles.consistency(ALL, old, new)
    with pytest.raises(BadProof):
        await tiles.root_at(ALL, 701)
    with pytest.raises(BadProof):
        tiles.TileBuilder(size=3, rows=[LEAVES[:2]])


async def test_a_tile_of_another_length_is_refused() -> None:
    broken = Kept(LEAVES)
    broken.kept[0, 0] = broken.kept[0, 0]._replace(hashes=bytes(8191))
    with pytest.raises(BadProof):
        await tiles.inclusion(broken, 3, 700)
