"""Verifying an export: no database, no deployment, only files and a key that whoever verifies has from elsewhere.

Rules are those of the specification (`docs/spec/ledger.md`). The threat is whoever hands the export over: everything in
it is hostile until the trusted key has signed it, the manifest included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.strict_json import LARGEST_INTEGER
from wellkeep.crypto.errors import BadNote
from wellkeep.crypto.notes import NoteVerifier, split
from wellkeep.ledger import accounts
from wellkeep.ledger.accounts import Walked
from wellkeep.ledger.actions import Action
from wellkeep.ledger.checkpoint import Checkpoint, CheckpointVerifier
from wellkeep.ledger.export_files import (
    MAX_NOTE,
    Files,
    FileTiles,
    LogManifest,
    NoExport,
    PairLine,
    canonical_uuid,
    log_path,
    read_line,
)
from wellkeep.ledger.growth import Claim
from wellkeep.ledger.offline_log import LogFiles, Progress, signed_by_any
from wellkeep.ledger.offline_month import Month, excuse, month_called, out_of_month
from wellkeep.ledger.report import Bad, Report, What
from wellkeep.ledger.seal import SealKey, origin
from wellkeep.ledger.tiles import root_at
from wellkeep.ledger.told import Span
from wellkeep.ledger.verify_covers import unlike

NOT_PINNED: Final = "no key was given: this shows that the export is of one piece, not whose it is"
PARTIAL: Final = "the export is partial: what it leaves out was not checked"


async def verify_export(
    top: Path,
    *,
    vkeys: Sequence[str] = (),
    keys: Mapping[str, SealKey] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Verify the export in `top` against the root log's verifier keys, its seals too where `keys` are given.

    Raises NoExport where there is nothing that can be judged, BadNote for a `vkeys` that is none.
    """
    return await _Export(Files(top), vkeys, keys).report(progress)


class _Export:
    def __init__(self, files: Files, vkeys: Sequence[str], keys: Mapping[str, SealKey] | None) -> None:
        self._files = files
        self._keys = keys
        self._manifest = files.manifest()
        self._bad: list[Bad] = []
        self._notes: list[str] = []
        self._logs: list[Walked] = []
        self._host = self._manifest.logs[0].origin.partition("/ledger/")[0]
        self._by_origin = {log.origin: log for log in self._manifest.logs}
        self._check_manifest()
        self._month = self._of_month()
        self._trusted = self._trust(vkeys)

    def _check_manifest(self) -> None:
        manifest = self._manifest
        logs = manifest.logs
        named = all(
            log.origin == origin(self._host, log.tenant, log.epoch)
            and log.path == log_path(log.tenant, log.epoch)
            and log.epoch > 0
            and 0 <= log.first <= log.size
            and 0 < log.size <= LARGEST_INTEGER
            for log in logs
        )
        roots = sorted(log.epoch for log in logs if log.tenant == PLATFORM_TENANT)
        newest = origin(self._host, PLATFORM_TENANT, roots[-1]) if roots else None
        tenants = {manifest.tenant, PLATFORM_TENANT}
        within = manifest.tenant is msgspec.UNSET or {log.tenant for log in logs} <= tenants
        whole = newest is not None or manifest.partial
        if not named or len(self._by_origin) < len(logs) or manifest.root != newest or not whole or not within:
            raise NoExport("Its manifest does not fit together")

    def _of_month(self) -> Month | None:
        if self._manifest.month is msgspec.UNSET:
            return None
        try:
            return month_called(self._manifest.month)
        except ValueError:
            raise NoExport("There is no such month as its manifest names") from None

    def _trust(self, vkeys: Sequence[str]) -> tuple[CheckpointVerifier, ...]:
        given = vkeys
        if not vkeys:
            self._notes.append(NOT_PINNED)
            given = [self._manifest.logs[0].vkey]
        named = [NoteVerifier.from_vkey(each) for each in given]
        if any(each.name.partition("/ledger/")[0] != self._host for each in named):
            raise NoExport("The key is one of another deployment")
        return tuple(CheckpointVerifier(each.public) for each in named)

    async def report(self, progress: Progress | None) -> Report:
        claims, stray = self._pairs()
        ids: dict[UUID, set[int]] = {}
        for log in sorted(self._manifest.logs, key=lambda log: (log.tenant.int, log.epoch)):
            walked = self._files_of(log, ids.setdefault(log.tenant, set())).walk(claims.get(log.origin, ()), progress)
            self._logs.append(walked)
        self._check_covers(stray)
        await self._together(claims, stray)
        found = accounts.lowest([*(bad for log in self._logs for bad in log.found()), *self._bad])
        if self._manifest.partial:
            self._notes.append(PARTIAL)
        return Report(
            logs=len(self._logs),
            entries=sum(max(log.walk.size - log.first, 0) for log in self._logs),
            seals=sum(log.walk.seals for log in self._logs),
            bad=found,
            checkpoints=sum(log.walk.growth.checkpoints for log in self._logs),
            covers=sum(log.covers for log in self._logs),
            notes=tuple(self._notes),
        )

    def _files_of(self, log: LogManifest, ids: set[int]) -> LogFiles:
        try:
            own = NoteVerifier.from_vkey(log.vkey)
            older = [NoteVerifier.from_vkey(each) for each in log.older_vkeys]
        except BadNote:
            raise NoExport("A verifier key in its manifest is none") from None
        if {own.name, *(each.name for each in older)} != {log.origin}:
            raise NoExport("A verifier key in its manifest is of another log")
        return LogFiles(
            self._files,
            log,
            trusted=[key for key in self._trusted if key.public == own.public],
            older=[CheckpointVerifier(each.public) for each in older],
            keys=self._keys,
            ids=ids,
        )

    def _pairs(self) -> tuple[dict[str, list[Claim]], dict[UUID, list[Checkpoint]]]:
        """Return what covers claim of each log, and each cover's pairs by its event; what can't be read is empty."""
        claims: dict[str, list[Claim]] = {}
        pairs: dict[UUID, list[Checkpoint]] = {}
        for name in sorted(self._files.below("covers")):
            try:
                cover = _cover_of(name)
                lines = [read_line(line, PairLine) for line in self._files.lines(f"covers/{name}") or ()]
                pairs[cover] = [Checkpoint(each.origin, each.size, bytes.fromhex(each.root)) for each in lines]
            except (ValueError, msgspec.MsgspecError):
                self._bad.append(Bad(self._manifest.root or self._manifest.logs[0].origin, 0, What.FILES))
                continue
            for pair in pairs[cover]:
                claims.setdefault(pair.origin, []).append(Claim(pair.size, pair.root, What.COVER))
        return claims, pairs

    def _check_covers(self, pairs: dict[UUID, list[Checkpoint]]) -> None:
        roots = [log for log in self._logs if log.place[0] == PLATFORM_TENANT]
        left = dict(pairs)
        for root in roots:
            covers = [each for each in root.walk.told if each.action == Action.LEDGER_COVERED]
            root.covers = len(covers)
            for seq in unlike(covers, {each.id: left.pop(each.id, []) for each in covers}):
                root.misfits.append((seq, What.COVER))
        if left and roots and all(root.holds and not root.first for root in roots):
            self._bad.append(roots[0].bad(roots[0].walk.size, What.COVER))

    async def _together(
        self, claims: Mapping[str, Sequence[Claim]], pairs: Mapping[UUID, Sequence[Checkpoint]]
    ) -> None:
        """Hold the logs, and what anchors took, against each other."""
        logs, manifest = self._logs, self._manifest
        impossible, lost = accounts.losses(logs, partial=manifest.partial)
        self._bad += [*accounts.openings(logs), *impossible]
        if not manifest.partial:
            self._bad += [*self._missing(claims, lost), *accounts.announcements(logs, lost)]
        await self._anchors(lost)
        if self._month is not None:
            self._bad += out_of_month(logs, self._month)
            excuse(logs, pairs, self._month)
        self._bad += accounts.beyond(logs, lost)
        if self._month is None:
            pruned, notes = await accounts.prunes(logs, self._root_at, partial=manifest.partial)
            self._bad += pruned
            self._notes += notes
        self._notes += accounts.told_of(lost)

    def _missing(self, claims: Mapping[str, Sequence[Claim]], lost: set[Span]) -> list[Bad]:
        """Return the logs that covers vouch for and that are gone, but those whose loss is on record."""
        gone = {origin(self._host, span.tenant, span.epoch): (span.tenant, span.epoch) for span in lost}
        return [
            Bad(name, 0, What.LOG_MISSING)
            for name in sorted(claims.keys() - self._by_origin.keys())
            if name not in gone or not all(accounts.accounted(gone[name], claim, lost) for claim in claims[name])
        ]

    async def _anchors(self, lost: set[Span]) -> None:
        by_origin = {log.origin: log for log in self._logs}
        for path in sorted(self._files.below("anchors")):
            if path == ".":
                self._bad.append(Bad(self._manifest.root or self._manifest.logs[0].origin, 0, What.FILES))
            if not path.endswith(".note"):
                continue
            note = self._files.read(f"anchors/{path}", MAX_NOTE)
            name = _origin_of(note)
            found = signed_by_any(self._trusted, note, origin=name)
            if found is None:
                self._notes.append("a note of an anchor is not signed by a trusted key and was passed over")
                continue
            log, claim = by_origin.get(name), Claim(found.size, found.root, What.ANCHOR)
            if log is None:
                if not self._manifest.partial:
                    self._bad.append(Bad(name, 0, What.ANCHOR))
            elif accounts.accounted(log.place, claim, lost):
                continue
            elif claim.size > log.walk.size:
                if self._month is None:
                    log.beyond.append(claim)
            elif log.holds and await self._root_at(log, claim.size) != claim.root:
                self._bad.append(log.bad(claim.size - 1, What.ANCHOR))

    async def _root_at(self, log: Walked, size: int) -> bytes:
        return await root_at(FileTiles(self._files, log.walk.head), size)


def _cover_of(name: str) -> UUID:
    """Return which cover a file is named after; raises ValueError for another name than the one that it has."""
    if not name.endswith(".jsonl"):
        raise ValueError
    return canonical_uuid(name.removesuffix(".jsonl"))


def _origin_of(note: bytes | None) -> str:
    """Return which log a note says it is of."""
    try:
        return split(note or b"")[0].partition("\n")[0]
    except BadNote:
        return ""
