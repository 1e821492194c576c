"""Exporting the ledger: every log as a static log that others' tools read, with all that was signed of it.

Rules: what is exported is one state of the database; memory does not grow with it; what is signed here for a log's end
is signed only where our own seal holds over the very leaves that were written. It is written beside its place, and
renamed as the last act, so there is never half an export under its name; run again after a crash, the tiles that are
whole are kept. Nobody but its owner may read it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from wellkeep.base.clock import iso
from wellkeep.base.durable import sync_directory
from wellkeep.base.errors import Conflict
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db.connection import Connection
from wellkeep.ledger.export_files import FORMAT, MANIFEST, LogManifest, Manifest, PairLine
from wellkeep.ledger.export_log import ExportedLog, Keys, LogExport, Progress, write
from wellkeep.ledger.seal import origin

_AT_ONCE: Final = 64
_LOGS = """
SELECT l.tenant_id, l.epoch, l.origin, l.size,
       coalesce((SELECT min(e.seq) FROM ledger.entry AS e WHERE e.tenant_id = l.tenant_id AND e.epoch = l.epoch), 0)
FROM ledger.log AS l WHERE $1::uuid IS NULL OR l.tenant_id = $1 OR ($2 AND l.tenant_id = $3)
ORDER BY l.tenant_id, l.epoch
"""
_COVERS = """
SELECT seq, event_id FROM ledger.entry
WHERE tenant_id = $1 AND epoch = $2 AND action = 'ledger.covered' AND seq >= $3 AND seq < $4 ORDER BY seq LIMIT $5
"""
_PAIRS = """
SELECT cover, tenant_id, epoch, size, root FROM ledger.covered WHERE cover = ANY ($1::uuid[]) ORDER BY cover, place
"""
_ANCHORED = """
SELECT anchor, epoch, size, note, receipt FROM ledger.anchored
WHERE tenant_id = $1 AND (anchor, epoch, size) > ($2, $3, $4) ORDER BY anchor, epoch, size LIMIT $5
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is exported: all, or a `tenant`'s logs (`with_root`: and the root log), or those of a `month`.

    `sizes` of a month say how far each log goes, by tenant and epoch; logs that are not in it are left out.
    """

    tenant: UUID | None = None
    with_root: bool = False
    month: str | None = None
    sizes: Mapping[tuple[UUID, int], int] | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """An export that is whole and not in its place yet; `digest` is its manifest's SHA-256."""

    staging: Path
    top: Path
    digest: bytes
    logs: int
    entries: int

    def publish(self) -> None:
        """Put it in its place. Raises Conflict where something came there meanwhile."""
        os.sync()
        try:
            self.staging.replace(self.top)
        except OSError:
            raise Conflict(f"{self.top} is not empty any more; the export lies in {self.staging}") from None
        sync_directory(self.top.parent)


async def export(
    connection: Connection,
    top: Path,
    wanted: Wanted,
    *,
    keys: Keys,
    now: datetime,
    progress: Progress | None = None,
) -> Written:
    """Write an export beside `top`, ready to be published.

    `connection` is in one state, as the owner (`verify.one_state`). Raises Conflict where `top` is not empty, and
    IntegrityBroken where a log can't be exported because it does not hold.
    """
    staging = await asyncio.to_thread(_begin, top)
    logs = await _logs(connection, wanted)
    told = [await LogExport(connection, staging, log, keys=keys).run(progress) for log in logs]
    roots = [log for log in logs if log.tenant == PLATFORM_TENANT]
    for root in roots:
        await _covers(connection, staging, root)
    if roots:
        await _anchors(connection, staging, roots)
    manifest = _manifest(wanted, told, roots, now)
    write(staging / MANIFEST, manifest)
    entries = sum(log.size - log.first for log in logs)
    return Written(staging, top, sha256(manifest).digest(), len(logs), entries)


def _begin(top: Path) -> Path:
    """Return the directory to write in; of one that broke off, all goes but full tiles and their bundles."""
    if top.exists() and (not top.is_dir() or any(top.iterdir())):
        raise Conflict(f"{top} is not empty: name a new directory")
    top.parent.mkdir(parents=True, exist_ok=True)
    staging = top.with_name(f".{top.name}.partial")
    staging.mkdir(mode=0o700, exist_ok=True)
    for name in ("covers", "anchors"):
        shutil.rmtree(staging / name, ignore_errors=True)
    for path in sorted(staging.glob("logs/*/*")):
        shutil.rmtree(path / "checkpoints", ignore_errors=True)
        for partial in sorted(path.rglob("*.p")):
            shutil.rmtree(partial)
    return staging


async def _logs(connection: Connection, wanted: Wanted) -> list[ExportedLog]:
    rows = await connection.fetch(_LOGS, wanted.tenant, wanted.with_root, PLATFORM_TENANT)
    logs = [ExportedLog(*row) for row in rows]
    if wanted.sizes is None:
        return logs
    sizes = wanted.sizes
    return [log._replace(size=sizes[log[:2]]) for log in logs if log[:2] in sizes]


async def _covers(connection: Connection, top: Path, root: ExportedLog) -> None:
    host = root.origin.partition("/ledger/")[0]
    after = root.first
    place = (root.tenant, root.epoch)
    while rows := await connection.fetch(_COVERS, *place, after, root.size, _AT_ONCE):
        pairs: dict[UUID, list[PairLine]] = {row["event_id"]: [] for row in rows}
        for cover, tenant, epoch, size, hashed in await connection.fetch(_PAIRS, list(pairs)):
            pairs[cover].append(PairLine(origin(host, tenant, epoch), hashed.hex(), size))
        for cover, lines in pairs.items():
            write(top / f"covers/{cover}.jsonl", b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        after = rows[-1]["seq"] + 1


async def _anchors(connection: Connection, top: Path, roots: Iterable[ExportedLog]) -> None:
    sizes = {root.epoch: root.size for root in roots}
    after = ("", 0, 0)
    while rows := await connection.fetch(_ANCHORED, PLATFORM_TENANT, *after, _AT_ONCE):
        for anchor, epoch, size, note, receipt in rows:
            if size <= sizes.get(epoch, 0):
                write(top / f"anchors/{anchor}/{epoch}/{size}.note", note)
                write(top / f"anchors/{anchor}/{epoch}/{size}.receipt", receipt)
            after = (anchor, epoch, size)


def _manifest(wanted: Wanted, told: list[LogManifest], roots: list[ExportedLog], now: datetime) -> bytes:
    return msgspec.json.encode(
        Manifest(
            format=FORMAT,
            made_at=iso(now),
            root=roots[-1].origin if roots else None,
            logs=tuple(told),
            tenant=msgspec.UNSET if wanted.tenant is None else wanted.tenant,
            month=msgspec.UNSET if wanted.month is None else wanted.month,
        ),
        order="sorted",
    )
