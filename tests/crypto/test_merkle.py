"""Roots and proofs of RFC 6962: right ones verify, everything else raises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellkeep.crypto import merkle
from wellkeep.crypto.errors import BadProof

LEAVES = [merkle.leaf_hash(bytes([number])) for number in range(40)]
ENTRIES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_the_roots_of_certificate_transparency() -> None:
    """The eight-entry tree that Certificate Transparency's implementations share."""
    leaves = [merkle.leaf_hash(bytes.fromhex(entry)) for entry in ENTRIES]
    assert [merkle.root(leaves[:size]).hex() for size in range(9)] == ROOTS


def definition(leaves: list[bytes]) -> bytes:
    """MTH, word for word."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else merkle.EMPTY_ROOT
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return merkle.node_hash(definition(leaves[:k]), definition(leaves[k:]))


def test_a_frontier_grows_and_resumes() -> None:
    frontier = merkle.Frontier()
    for size, leaf in enumerate(LEAVES):
        assert frontier.root() == definition(LEAVES[:size]) == merkle.root(LEAVES[:size])
        frontier = merkle.Frontier(size=frontier.size, hashes=frontier.hashes)
        frontier.append(leaf)
    with pytest.raises(BadProof):
        merkle.Frontier(size=3, hashes=[bytes(32)])


def test_every_inclusion_proof_verifies_and_no_other() -> None:
    for size in range(1, 20):
        leaves = LEAVES[:size]
        expected = merkle.root(leaves)
        for index in range(size):
            proof = merkle.inclusion_proof(leaves, index=index)
            merkle.verify_inclusion(leaves[index], index=index, size=size, proof=proof, expected=expected)
            wrong: list[tuple[bytes, int, int, list[bytes]]] = [
                (LEAVES[39], index, size, proof),
                (leaves[index], index + 1, size, proof),
                (leaves[index], -1, size, proof),
                (leaves[index], index, size, [*proof, bytes(32)]),
                (leaves[index], index, size, [bytes(32), *proof]),
                *[(leaves[index], index, size, proof[:n]) for n in range(len(proof))],
            ]
            for leaf, at, of, path in wrong:
                with pytest.raises(BadProof):
                    merkle.verify_inclusion(leaf, index=at, size=of, proof=path, expected=expected)
    for index in (-1, 3):
        with pytest.raises(BadProof):
            merkle.inclusion_proof(LEAVES[:3], index=index)


def check(old: int, new: int, proof: list[bytes], old_root: bytes, new_root: bytes) -> None:
    merkle.verify_consistency(old_size=old, old_root=old_root, new_size=new, new_root=new_root, proof=proof)


def test_every_consistency_proof_verifies_and_no_other() -> None:
    for new in range(1, 20):
        for old in range(1, new + 1):
            proof = merkle.consistency_proof(LEAVES[:new], old_size=old)
            roots = merkle.root(LEAVES[:old]), merkle.root(LEAVES[:new])
            check(old, new, proof, *roots)
            wrong = [[*proof, bytes(32)], *[proof[:n] for n in range(len(proof))]]
            wrong += [[*proof[:n], bytes(32), *proof[n + 1 :]] for n in range(len(proof))]
            for path in wrong:
                with pytest.raises(BadProof):
                    check(old, new, path, *roots)
            with pytest.raises(BadProof):
                check(old, new, proof, bytes(32), roots[1])
            with pytest.raises(BadProof):
                check(old, new, proof, roots[0], bytes(32))
    for old_size in (0, 4):
        with pytest.raises(BadProof):
            merkle.consistency_proof(LEAVES[:3], old_size=old_size)
        with pytest.raises(BadProof):
            check(old_size, 3, [], bytes(32), bytes(32))


@given(st.integers(2, 40), st.data())
def test_a_changed_history_has_no_proof(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    changed = data.draw(st.integers(0, old - 1))
    forged = [*LEAVES[:changed], merkle.leaf_hash(b"forged"), *LEAVES[changed + 1 : new]]
    proof = merkle.consistency_proof(forged, old_size=old)
    with pytest.raises(BadProof):
        check(old, new, proof, merkle.root(LEAVES[:old]), merkle.root(forged))


@given(st.integers(0, 40), st.integers(0, 70))
def test_many_leaves_at_once_make_the_frontier_that_one_by_one_makes(before: int, more: int) -> None:
    leaves = [merkle.leaf_hash(b"%d" % number) for number in range(before + more)]
    slowly, at_once = merkle.Frontier(), merkle.Frontier()
    for leaf in leaves[:before]:
        slowly.append(leaf)
        at_once.append(leaf)
    for leaf in leaves[before:]:
        slowly.append(leaf)
    at_once.extend(leaves[before:])
    assert (at_once.size, at_once.root()) == (slowly.size, slowly.root())


@given(st.integers(0, 600), st.integers(0, 600), st.data())
def test_growing_tells_the_roots_on_the_way_and_of_each_tile_that_is_full(
    before: int, more: int, data: st.DataObject
) -> None:
    leaves = [merkle.leaf_hash(b"%d" % number) for number in range(before + more)]
    slowly, at_once = merkle.Frontier(), merkle.Frontier()
    roots = [slowly.root()]
    for leaf in leaves:
        slowly.append(leaf)
        roots.append(slowly.root())
    at_once.grow(leaves[:before])
    sizes = data.draw(st.lists(st.integers(before, before + more)))
    tiles: list[bytes] = []
    assert at_once.grow(leaves[before:], sizes=sizes, tiles=tiles) == [roots[size] for size in sizes]
    assert (at_once.size, at_once.hashes) == (slowly.size, slowly.hashes)
    full = range(before // 256 * 256, (before + more) // 256 * 256, 256)
    assert tiles == [merkle.root(leaves[first : first + 256]) for first in full]
