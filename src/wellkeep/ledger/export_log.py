"""Exporting one log: tiles and bundles in runs, then what was signed of it.

Rule: nothing of a log but the edge of its tree is kept in memory. Full tiles of an export that broke off are taken as
they are where their bundle gives them, and read again where it does not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from wellkeep.base.errors import IntegrityBroken
from wellkeep.db.connection import Connection
from wellkeep.ledger.checkpoint import Checkpoint, CheckpointSigner, note, signed_by
from wellkeep.ledger.export_files import LogManifest, SealLine, bundle, log_path, unbundle
from wellkeep.ledger.seal import Seal, SealKey
from wellkeep.ledger.tile_store import TileStore
from wellkeep.ledger.tiles import HASH_BYTES, TILE_BYTES, WIDTH, TileBuilder, TilePlace

Progress = Callable[[str, int, int], None]

_ROWS: Final = 1_000
_ENTRIES = """
SELECT seq, leaf, entry FROM ledger.entry
WHERE tenant_id = $1 AND epoch = $2 AND seq >= $3 AND seq < $4 ORDER BY seq
"""
_CHECKPOINTS = """
SELECT size, root, signature FROM ledger.checkpoint
WHERE tenant_id = $1 AND epoch = $2 AND size > $3 AND size <= $4 ORDER BY size LIMIT $5
"""
_SEALS = """
SELECT size, key_id, leaf, root, mac FROM ledger.seal
WHERE tenant_id = $1 AND epoch = $2 AND size > $3 AND size <= $4 ORDER BY size LIMIT $5
"""


@dataclass(frozen=True, slots=True)
class Keys:
    """What an export is signed with where nothing was signed yet: the deployment's keys, the newest first."""

    signers: Sequence[CheckpointSigner]
    seals: Mapping[str, SealKey]


class ExportedLog(NamedTuple):
    """A log and how much of it is exported; `first` is the first entry that was not pruned."""

    tenant: UUID
    epoch: int
    origin: str
    size: int
    first: int


def write(path: Path, data: bytes) -> None:
    """Write a file that only we may read, and the directories above it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(data)


class LogExport:
    """Writes one log below `top`."""

    def __init__(self, connection: Connection, top: Path, log: ExportedLog, *, keys: Keys) -> None:
        """Read over `connection`, which is the owner's and in its one state."""
        self._connection = connection
        self._log = log
        self._place = (log.tenant, log.epoch)
        self._top = top / log_path(*self._place)
        self._keys = keys
        self._builder = TileBuilder()

    async def run(self, progress: Progress | None = None) -> LogManifest:
        """Write all of it; return what the manifest says of it. Raises IntegrityBroken where entries are missing."""
        log = self._log
        for first in range(0, log.size, WIDTH):
            await self._tile(TilePlace(0, first // WIDTH, min(WIDTH, log.size - first)))
            if progress is not None:
                progress(log.origin, self._builder.size, log.size)
        for place, hashes in self._builder.partial():
            write(self._top / place.path, hashes)
        last = await self._seals()
        await self._checkpoints(last)
        return LogManifest(
            origin=log.origin,
            tenant=log.tenant,
            epoch=log.epoch,
            size=log.size,
            first=log.first,
            path=log_path(*self._place),
            vkey=self._keys.signers[0].vkey(log.origin),
            older_vkeys=tuple(signer.vkey(log.origin) for signer in self._keys.signers[1:]),
        )

    async def _tile(self, place: TilePlace) -> None:
        leaves = self._kept(place)
        if leaves is None:
            leaves = await self._read(place)
        for made in self._builder.extend(leaves):
            write(self._top / TilePlace(made.level, made.number, WIDTH).path, made.hashes)

    def _kept(self, place: TilePlace) -> list[bytes] | None:
        """Return the leaves of a full tile that an export which broke off has left, if its bundle gives them."""
        begin = place.number * WIDTH
        tile, stored = self._top / place.path, self._top / place.bundle_path
        if place.width < WIDTH or begin < self._log.first or not (tile.exists() and stored.exists()):
            return None
        raw, entries = tile.read_bytes(), unbundle(stored.read_bytes())
        leaves = [raw[at : at + HASH_BYTES] for at in range(0, len(raw), HASH_BYTES)]
        whole = len(raw) == TILE_BYTES and entries is not None
        return leaves if whole and leaves == [sha256(b"\x00" + entry).digest() for entry in entries or ()] else None

    async def _read(self, place: TilePlace) -> list[bytes]:
        """Read the entries of a tile, write their bundle, and return the leaves."""
        log = self._log
        begin, end = place.number * WIDTH, place.number * WIDTH + place.width
        kept = min(max(log.first, begin), end)
        store = TileStore(self._connection, tenant=log.tenant, epoch=log.epoch)
        leaves = list(await store.leaves(begin, kept)) if begin < kept else []
        rows = await self._connection.fetch(_ENTRIES, *self._place, kept, end) if kept < end else []
        if len(leaves) != kept - begin or [row["seq"] for row in rows] != list(range(kept, end)):
            raise IntegrityBroken(f"Entries of {log.origin} are missing. See: wellkeep ledger verify")
        if rows:
            entries = [*[b""] * (kept - begin), *(row["entry"] for row in rows)]
            write(self._top / place.bundle_path, bundle(entries))
        return leaves + [row["leaf"] for row in rows]

    async def _seals(self) -> Seal | None:
        """Write the seals; return the last."""
        last: Seal | None = None
        path = self._top / "seals.jsonl"
        write(path, b"")
        with path.open("ab") as stream:
            async for row in self._pages(_SEALS):
                last = Seal(*row)
                line = SealLine(last.key_id, last.leaf.hex(), last.mac.hex(), last.root.hex(), last.size)
                stream.write(msgspec.json.encode(line) + b"\n")
        return last

    async def _checkpoints(self, last: Seal | None) -> None:
        """Write the stored checkpoints, and one of the log's end where its newest key has signed none."""
        log, newest = self._log, self._keys.signers[:1]
        end = Checkpoint(log.origin, log.size, self._builder.root())
        signed = None
        async for size, root, signature in self._pages(_CHECKPOINTS):
            text = note(Checkpoint(log.origin, size, root), signature)
            write(self._top / f"checkpoints/{size}", text)
            if (size, root) == end[1:] and signed_by(newest, end, signature):
                signed = text
        if signed is None:
            signed = self._sign(end, last)
            if not (self._top / f"checkpoints/{log.size}").exists():
                write(self._top / f"checkpoints/{log.size}", signed)
        write(self._top / "checkpoint", signed)

    def _sign(self, end: Checkpoint, last: Seal | None) -> bytes:
        """Sign the log's end where our own seal vouches for it."""
        sealed = last is not None and (last.size, last.root) == end[1:]
        if last is None or not sealed or not last.holds(origin=end.origin, keys=self._keys.seals):
            raise IntegrityBroken(f"No seal of ours holds over the end of {end.origin}. See: wellkeep ledger verify")
        return note(end, self._keys.signers[0].signature(end))

    async def _pages(self, sql: str) -> AsyncIterator[Sequence[Any]]:
        """Yield rows of sizes up to the log's, a page at a time."""
        after = 0
        while rows := await self._connection.fetch(sql, *self._place, after, self._log.size, _ROWS):
            for row in rows:
                yield tuple(row)
            after = rows[-1][0]
