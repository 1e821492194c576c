"""Merkle trees and proofs of RFC 6962, section 2.1: SHA-256, leaf prefix 0x00, node prefix 0x01.

Rules: a leaf hash can't be a node hash (the prefixes), a tree of n leaves has one root, a proof that does not lead to
the root raises. Threat: an entry changed, dropped or inserted behind a signed root.
"""

from collections.abc import Sequence
from hashlib import sha256

from wellkeep.crypto.errors import BadProof

EMPTY_ROOT = sha256(b"").digest()

_Row = tuple[int, list[bytes]]
"""The nodes of one level of a tree, from a place on."""

_MANY = 48
"""Leaves from which on it pays to add them a level at a time."""
_TILE_LEVEL = 8


def leaf_hash(entry: bytes) -> bytes:
    """Return SHA-256(0x00 ‖ entry)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 ‖ left ‖ right)."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The roots of a growing tree's perfect subtrees, largest first: all that appending and the root need."""

    __slots__ = ("hashes", "size")

    def __init__(self, *, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        """Begin empty, or where a stored frontier left off."""
        if len(hashes) != size.bit_count():
            raise BadProof("a frontier has one hash for each bit set in its size")
        self.size = size
        self.hashes = list(hashes)

    def append(self, leaf: bytes) -> None:
        """Add one 32-byte leaf hash; amortised one node hash."""
        size, hashes = self.size, self.hashes
        while size & 1:
            leaf = sha256(b"\x01" + hashes.pop() + leaf).digest()
            size >>= 1
        hashes.append(leaf)
        self.size += 1

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Add leaf hashes in their order: the same as `append` for each; of many, a level of the tree at a time."""
        if len(leaves) < _MANY:
            for leaf in leaves:
                self.append(leaf)
        else:
            self.grow(leaves)

    def grow(
        self, leaves: Sequence[bytes], *, sizes: Sequence[int] = (), tiles: list[bytes] | None = None
    ) -> list[bytes]:
        """Add leaf hashes, a level of the tree at a time; return the roots that it had at `sizes` on the way.

        Of `sizes` none is below what it was before, none above what it is then. `tiles` gets the root of each full tile
        of 256 leaves that the new ones complete.
        """
        rows: list[_Row] = []
        size, left, nodes = self.size, self.hashes, list(leaves)
        self.size, self.hashes = size + len(nodes), []
        while size or nodes:
            if tiles is not None and len(rows) == _TILE_LEVEL:
                tiles.extend(nodes)
            if size & 1:
                nodes.insert(0, left.pop())
            rows.append((size & ~1, nodes))
            pairs = iter(nodes)
            nodes = [sha256(b"\x01" + one + other).digest() for one, other in zip(pairs, pairs, strict=False)]
            size >>= 1
        self.hashes = [row[-1] for level, (_, row) in enumerate(rows) if self.size >> level & 1][::-1]
        return [_root_of(rows, size) for size in sizes]

    def root(self) -> bytes:
        """Return the 32-byte root of what was appended."""
        if not self.hashes:
            return EMPTY_ROOT
        result = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            result = sha256(b"\x01" + left + result).digest()
        return result


def _root_of(rows: Sequence[_Row], size: int) -> bytes:
    """Return the root that a tree had at `size`, given its levels from the edge that it had earlier on."""
    result = b""
    for first, nodes in rows:
        if size & 1:
            node = nodes[size - 1 - first]
            result = sha256(b"\x01" + node + result).digest() if result else node
        size >>= 1
    return result or EMPTY_ROOT


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes (MTH of RFC 6962)."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


def _split(size: int) -> int:
    """Return the largest power of two below `size` (≥ 2)."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_proof(leaves: Sequence[bytes], *, index: int) -> list[bytes]:
    """Return the audit path of one leaf (PATH, section 2.1.1), leaf end first."""
    if not 0 <= index < len(leaves):
        raise BadProof("no such leaf")
    if len(leaves) == 1:
        return []
    middle = _split(len(leaves))
    if index < middle:
        return [*inclusion_proof(leaves[:middle], index=index), root(leaves[middle:])]
    return [*inclusion_proof(leaves[middle:], index=index - middle), root(leaves[:middle])]


def verify_inclusion(leaf: bytes, *, index: int, size: int, proof: Sequence[bytes], expected: bytes) -> None:
    """Check that `leaf` stands at `index` in the tree of `size` with root `expected`; raises `BadProof`."""
    if not 0 <= index < size or _climb(leaf, index, size, proof) != expected:
        raise BadProof("the proof does not lead to the root")


def _climb(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    if (size == 1) != (not proof):
        raise BadProof("the proof has the wrong length")
    if size == 1:
        return leaf
    middle = _split(size)
    if index < middle:
        return node_hash(_climb(leaf, index, middle, proof[:-1]), proof[-1])
    return node_hash(proof[-1], _climb(leaf, index - middle, size - middle, proof[:-1]))


def consistency_proof(leaves: Sequence[bytes], *, old_size: int) -> list[bytes]:
    """Return the proof that the first `old_size` leaves are a prefix of all (PROOF, section 2.1.2)."""
    if not 0 < old_size <= len(leaves):
        raise BadProof("no such older tree")
    return _subproof(leaves, old_size, whole=True)


def _subproof(leaves: Sequence[bytes], old_size: int, *, whole: bool) -> list[bytes]:
    if old_size == len(leaves):
        return [] if whole else [root(leaves)]
    middle = _split(len(leaves))
    if old_size <= middle:
        return [*_subproof(leaves[:middle], old_size, whole=whole), root(leaves[middle:])]
    return [*_subproof(leaves[middle:], old_size - middle, whole=False), root(leaves[:middle])]


def verify_consistency(
    *, old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the older tree is a prefix of the newer; raises `BadProof`."""
    if not 0 < old_size <= new_size or _both_roots(old_root, old_size, new_size, proof) != (old_root, new_root):
        raise BadProof("the proof does not lead to both roots")


def _both_roots(known: bytes | None, old_size: int, new_size: int, proof: Sequence[bytes]) -> tuple[bytes, bytes]:
    # `known` is the older root while the older tree is still a whole subtree: the proof then leaves it out.
    if old_size == new_size:
        if len(proof) != (1 if known is None else 0):
            raise BadProof("the proof has the wrong length")
        return (proof[0], proof[0]) if known is None else (known, known)
    if not proof:
        raise BadProof("the proof has the wrong length")
    middle = _split(new_size)
    if old_size <= middle:
        old, new = _both_roots(known, old_size, middle, proof[:-1])
        return old, node_hash(new, proof[-1])
    old, new = _both_roots(None, old_size - middle, new_size - middle, proof[:-1])
    return node_hash(proof[-1], old), node_hash(proof[-1], new)
