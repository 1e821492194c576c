"""A log's tree as a walk grows it, held at each size against what was said of it there; pure.

Rules: what is said are seals (whose MAC must be ours), roots that somebody claims (a signed checkpoint, a cover, an
anchor, this host's memory) and stored tiles. Leaves are taken all or none: where something does not fit, the tree stays
as it was and the answer is the lowest place. The threat is a past that was recomputed: each of these holds it to
what it was.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hmac import compare_digest
from operator import itemgetter
from typing import NamedTuple

from wellkeep.crypto.merkle import Frontier
from wellkeep.ledger.checkpoint import Checkpoint, CheckpointSigner, signed_by
from wellkeep.ledger.report import State, What
from wellkeep.ledger.seal import Seal, SealKey
from wellkeep.ledger.splice import NO_LEAF
from wellkeep.ledger.tiles import HASH_BYTES, WIDTH

_OF_OTHERS = frozenset({What.COVER, What.ANCHOR})
_place = itemgetter(0)
"""The size of a seal or a claim, the number of a tile: in that order they are met."""

Misfit = tuple[int, What]
"""The seq of a place, and what is wrong there."""


class Claim(NamedTuple):
    """Somebody said that the log had this root at `size`; `what` it is if it had not. A checkpoint has a signature."""

    size: int
    root: bytes
    what: What
    signature: bytes | None = None


class TileRow(NamedTuple):
    """A full tile of level 0 as it is stored: its number, 256 leaves, the root over them."""

    number: int
    hashes: bytes
    root: bytes


class Growth:
    """The tree of one log, from a state on; `grow` it after `expect`."""

    def __init__(
        self,
        origin: str,
        *,
        keys: Mapping[str, SealKey] | None,
        signers: Sequence[CheckpointSigner] | None,
        start: State | None = None,
    ) -> None:
        """Begin empty, or at `start`. Without `keys` no MAC is checked, without `signers` no signature."""
        self._origin = origin
        self._macs = None if keys is None else {name: key.macs(origin=origin) for name, key in keys.items()}
        self._signers = signers
        self.frontier = Frontier() if start is None else Frontier(size=start.size, hashes=start.frontier)
        self.leaf = NO_LEAF if start is None else start.leaf
        self.sealed = self.frontier.size
        self.seals = 0
        self.checkpoints = 0
        self.vouched = 0
        self.tile_roots: list[bytes] = []
        self._seals: list[Seal] = []
        self._claims: list[Claim] = []
        self._tiles: list[TileRow] = []
        self._tail = b""
        self._tail_from = self.frontier.size

    @property
    def size(self) -> int:
        """How many leaves it has; `vouched` is the greatest size that a cover or an anchor agreed with."""
        return self.frontier.size

    @property
    def unmet(self) -> bool:
        """Whether seals are expected that no leaf has reached."""
        return bool(self._seals)

    @property
    def unreached(self) -> list[Claim]:
        """What is claimed of sizes that the tree has not reached."""
        return list(self._claims)

    def forget(self) -> None:
        """Let go of the keys, and of what is still expected: a walk that came to its end may leave its process."""
        self._macs = self._signers = None
        self._seals, self._claims, self._tiles, self._tail = [], [], [], b""

    def expect(self, seals: Iterable[Seal] = (), claims: Iterable[Claim] = (), tiles: Iterable[TileRow] = ()) -> None:
        """Take what is said of sizes that the tree has not reached."""
        self._seals.extend(seals)
        self._claims.extend(claims)
        self._tiles.extend(tiles)
        for marks in (self._seals, self._claims, self._tiles):
            marks.sort(key=_place)

    def grow(self, leaves: Sequence[bytes]) -> Misfit | None:
        """Add `leaves` (one or more) where all fits; else return the first misfit and stay as it was."""
        reach = self.size + len(leaves)
        seals = self._seals[: bisect_right(self._seals, reach, key=_place)]
        claims = self._claims[: bisect_right(self._claims, reach, key=_place)]
        tiles = self._tiles[: bisect_left(self._tiles, reach // WIDTH, key=_place)]
        frontier = Frontier(size=self.size, hashes=self.frontier.hashes)
        tile_roots: list[bytes] = []
        said = {*map(_place, seals), *map(_place, claims)}
        sizes = sorted(size for size in said if self.size <= size)
        roots = dict(zip(sizes, frontier.grow(leaves, sizes=sizes, tiles=tile_roots), strict=True))
        misfits = [*self._seal_misfits(seals, leaves, roots), *self._claim_misfits(claims, roots)]
        if tiles:
            misfits += self._tile_misfits(tiles, leaves, tile_roots)
        if misfits:
            return min(misfits, key=lambda misfit: misfit[0])
        del self._seals[: len(seals)]
        del self._claims[: len(claims)]
        del self._tiles[: len(tiles)]
        self.frontier, self.leaf = frontier, leaves[-1]
        self.seals += len(seals)
        self.sealed = seals[-1].size if seals else self.sealed
        self.checkpoints += sum(claim.what is What.CHECKPOINT for claim in claims)
        self.vouched = max([self.vouched, *(claim.size for claim in claims if claim.what in _OF_OTHERS)])
        self.tile_roots += tile_roots
        self._keep_tail(leaves)
        return None

    def _seal_misfits(
        self, seals: Sequence[Seal], leaves: Sequence[bytes], roots: Mapping[int, bytes]
    ) -> Iterator[Misfit]:
        """Yield where batches begin whose seal does not fit; each goes on from the one before."""
        before, sealed = self.size, self.sealed
        for seal in seals:
            if seal.size <= sealed or not self._fits(seal, leaves[seal.size - before - 1], roots.get(seal.size)):
                yield sealed, What.SEAL
            sealed = seal.size

    def _claim_misfits(self, claims: Sequence[Claim], roots: Mapping[int, bytes]) -> Iterator[Misfit]:
        """Yield what is claimed and not so. A size that was passed has no root any more."""
        for claim in claims:
            if not self._holds(claim, roots.get(claim.size)):
                yield claim.size - 1, claim.what

    def _fits(self, seal: Seal, leaf: bytes, root: bytes | None) -> bool:
        if root is None or (seal.leaf, seal.root) != (leaf, root):
            return False
        if self._macs is None:
            return True
        mac = self._macs.get(seal.key_id)
        return mac is not None and compare_digest(mac(seal.size, leaf, root), seal.mac or b"")

    def _holds(self, claim: Claim, root: bytes | None) -> bool:
        if root is None or claim.root != root:
            return False
        if claim.signature is None or self._signers is None:
            return True
        return signed_by(self._signers, Checkpoint(self._origin, claim.size, root), claim.signature)

    def _tile_misfits(self, tiles: list[TileRow], leaves: Sequence[bytes], roots: list[bytes]) -> list[Misfit]:
        """Return the tiles that are not what the tree has; of leaves before the start their root alone tells."""
        joined = self._tail + b"".join(leaves)
        first = self.size // WIDTH
        misfits = []
        for number, hashes, root in tiles:
            begin, end = max(number * WIDTH, self._tail_from), (number + 1) * WIDTH
            mine = joined[(begin - self._tail_from) * HASH_BYTES : (end - self._tail_from) * HASH_BYTES]
            if number < first or root != roots[number - first] or hashes[-len(mine) :] != mine:
                misfits.append((number * WIDTH, What.TILE))
        return misfits

    def _keep_tail(self, leaves: Sequence[bytes]) -> None:
        """Keep the leaves of the tile that is not full yet."""
        inside = self.size % WIDTH
        if inside > len(leaves):
            self._tail += b"".join(leaves)
        else:
            self._tail = b"".join(leaves[len(leaves) - inside :])
            self._tail_from = self.size - inside
