"""Verifying one log of an export: its files, tile by tile, with the same walk that the database's entries are fed to.

Rules: the leaves of a tile are those of its bundle's entries, or, where those were pruned, the tree's; the files give
the root that was signed; there is no file too many. Without the seal key a seal's MAC is passed over, its root is not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, NoReturn

import msgspec

from wellkeep.base.clock import SystemClock
from wellkeep.crypto.errors import BadNote
from wellkeep.ledger.accounts import Walked
from wellkeep.ledger.checkpoint import Checkpoint, CheckpointVerifier
from wellkeep.ledger.export_files import (
    MAX_ENTRY,
    MAX_NOTE,
    Files,
    LogManifest,
    SealLine,
    log_path,
    read_line,
    unbundle,
)
from wellkeep.ledger.growth import Claim
from wellkeep.ledger.report import What
from wellkeep.ledger.seal import Seal, SealKey
from wellkeep.ledger.splice import NO_LEAF, Head
from wellkeep.ledger.tiles import HASH_BYTES, TILE_BYTES, WIDTH, TileBuilder, TilePlace, tiles_of
from wellkeep.ledger.walk import LogWalk

Progress = Callable[[str, int, int], None]


class _Time(msgspec.Struct, frozen=True):
    time: datetime


_decode_time = msgspec.json.Decoder(_Time).decode


def signed_by_any(keys: Iterable[CheckpointVerifier], note: bytes | None, *, origin: str) -> Checkpoint | None:
    """Return the checkpoint of a note that one of `keys` signed for `origin`, else None."""
    for key in keys:
        with suppress(BadNote):
            return key.verify(note or b"", origin=origin)
    return None


class LogFiles:
    """The files of one log; `walk` says what they hold."""

    def __init__(
        self,
        files: Files,
        log: LogManifest,
        *,
        trusted: Sequence[CheckpointVerifier],
        older: Sequence[CheckpointVerifier],
        keys: Mapping[str, SealKey] | None,
        ids: set[int],
    ) -> None:
        """`trusted` signed the newest checkpoint, these or `older` the others; `ids` are of the tenant's events."""
        self._files = files
        self._log = log
        self._path = log_path(log.tenant, log.epoch)
        self._trusted = tuple(trusted)
        self._older = tuple(older)
        never = SystemClock().now()
        self.head = Head(log.tenant, log.epoch, log.origin, log.size, NO_LEAF, never, ())
        self._walk = LogWalk(self.head, keys=keys, ids=ids)
        self._builder = TileBuilder()
        self._expected = {"checkpoint", "seals.jsonl"}

    def walk(self, claims: Iterable[Claim] = (), progress: Progress | None = None) -> Walked:
        """Verify the log; `claims` are what covers say of it."""
        walk, log = self._walk, self._log
        walked = Walked(walk, first=log.first, begin=0)
        given = [*claims, *self._checkpoints()]
        walked.beyond = [claim for claim in given if claim.size > log.size]
        walk.expect(self._seals(), [claim for claim in given if claim.size <= log.size])
        for place in tiles_of(log.size) if walk.bad is None else ():
            self._tile(place)
            if walk.bad is not None:
                break
            if progress is not None and place.level == 0:
                progress(log.origin, walk.size, log.size)
        if walk.bad is None and walk.size == log.size:
            self._upper()
        if walk.bad is None and walk.growth.seals and walk.growth.sealed != log.size:
            walk.refuse(walk.growth.sealed, What.UNSEALED)
        found = self._files.below(self._path)
        if walk.bad is None and not found <= self._expected:
            walk.refuse(log.size, What.FILES)
        return walked

    def _read(self, path: str, most: int) -> bytes | None:
        self._expected.add(path)
        return self._files.read(f"{self._path}/{path}", most)

    def _checkpoints(self) -> list[Claim]:
        """Return what stored checkpoints say; what is none of ours says something that can't be."""
        log, claims = self._log, []
        newest = signed_by_any(self._trusted, self._read("checkpoint", MAX_NOTE), origin=log.origin)
        if newest is None or newest.size != log.size:
            claims.append(Claim(log.size, b"", What.CHECKPOINT))
        else:
            claims.append(Claim(newest.size, newest.root, What.CHECKPOINT))
        for name in sorted(self._files.below(f"{self._path}/checkpoints")):
            note = self._read(f"checkpoints/{name}", MAX_NOTE)
            found = signed_by_any((*self._trusted, *self._older), note, origin=log.origin)
            if found is None or name != str(found.size):
                claims.append(Claim(int(name) if _is_size(name, log.size) else log.size, b"", What.CHECKPOINT))
            else:
                claims.append(Claim(found.size, found.root, What.CHECKPOINT))
        if f"checkpoints/{log.size}" not in self._expected:
            claims.append(Claim(log.size, b"", What.CHECKPOINT))
        return claims

    def _seals(self) -> list[Seal]:
        lines = self._files.lines(f"{self._path}/seals.jsonl")
        if lines is None:
            if "seals.jsonl" in self._files.below(self._path):
                self._walk.refuse(0, What.SEAL)
            return []
        try:
            found = [read_line(line, SealLine) for line in lines]
            seals = [
                Seal(each.size, each.key_id, *map(bytes.fromhex, (each.leaf, each.root, each.mac))) for each in found
            ]
        except (msgspec.MsgspecError, ValueError):
            self._walk.refuse(0, What.SEAL)
            return []
        sizes = [seal.size for seal in seals]
        if sizes != sorted(set(sizes)) or (sizes and not 0 < sizes[0] <= sizes[-1] <= self._log.size):
            self._walk.refuse(self._log.size, What.SEAL)
            return []
        return seals

    def _tile(self, place: TilePlace) -> None:
        """Read a tile; one of the lowest row with its bundle."""
        if place.level:
            self._expected.add(place.path)
            return
        walk, first = self._walk, place.number * WIDTH
        tile = self._read(place.path, TILE_BYTES)
        if tile is None or len(tile) != place.width * HASH_BYTES:
            walk.refuse(first, What.FILES)
            return
        leaves = [tile[at : at + HASH_BYTES] for at in range(0, len(tile), HASH_BYTES)]
        kept = max(self._log.first - first, 0)
        walk.leaves(enumerate(leaves[:kept], start=first))
        if kept < place.width:
            self._bundle(place, leaves, kept)
        if walk.bad is None:
            for made in self._builder.extend(leaves):
                if made.level and self._read(TilePlace(made.level, made.number, WIDTH).path, TILE_BYTES) != made.hashes:
                    walk.refuse(made.number << 8 * (made.level + 1), What.TILE)

    def _bundle(self, place: TilePlace, leaves: Sequence[bytes], kept: int) -> None:
        first = place.number * WIDTH
        raw = self._read(place.bundle_path, WIDTH * (MAX_ENTRY + 2))
        entries = None if raw is None else unbundle(raw)
        if entries is None or len(entries) != place.width or any(entries[:kept]):
            self._walk.refuse(first, What.FILES)
            return
        for seq in range(first + kept, first + place.width):
            if self._walk.bad is None:
                self._walk.entries([self._row(seq, leaves[seq - first], entries[seq - first])])

    def _row(self, seq: int, leaf: bytes, entry: bytes) -> tuple[Any, ...]:
        try:
            if len(entry) > MAX_ENTRY or not _canonical(entry):
                self._walk.refuse(seq, What.FORM)
            return seq, leaf, entry, _decode_time(entry).time
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return seq, leaf, None, None

    def _upper(self) -> None:
        for place, hashes in self._builder.partial():
            if place.level and self._read(place.path, TILE_BYTES) != hashes:
                self._walk.refuse(place.number << 8 * (place.level + 1), What.TILE)


def _is_size(name: str, most: int) -> bool:
    return name.isascii() and name.isdecimal() and str(int(name)) == name and 0 < int(name) <= most


def _refuse(_text: str) -> NoReturn:
    raise ValueError


def _canonical(entry: bytes) -> bool:
    """Say whether an entry is in its one form: sorted, without white space, floats or a key that stands twice."""
    value = json.loads(entry, parse_float=_refuse, parse_constant=_refuse)
    written = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return written.encode("utf-8", "surrogatepass") == entry
