"""Tiles and bundles of an export, one by one: pruned ones, ones of higher rows, and entries that are not canonical."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from database import Database
from ledger.making import HOST, KEYS
from ledger.signing import SIGNER
from wellkeep.base.clock import SystemClock
from wellkeep.crypto.merkle import leaf_hash
from wellkeep.ledger.export_files import Files, FileTiles, LogManifest, log_path
from wellkeep.ledger.export_log import ExportedLog, Keys, LogExport
from wellkeep.ledger.offline_log import LogFiles
from wellkeep.ledger.report import What
from wellkeep.ledger.seal import origin
from wellkeep.ledger.splice import NO_LEAF, Head
from wellkeep.ledger.tiles import TILE_BYTES, Tile, TilePlace


def files_of(top: Path, tenant: UUID, *, size: int, first: int = 0) -> LogFiles:
    name = origin(HOST, tenant, 1)
    told = LogManifest(
        origin=name, tenant=tenant, epoch=1, size=size, path=log_path(tenant, 1), vkey=SIGNER.vkey(name), first=first
    )
    return LogFiles(Files(top), told, trusted=(), older=(), keys=None, ids=set())


def bundles(top: Path) -> list[Path]:
    return list(top.rglob("entries"))


async def test_a_bundle_of_which_nothing_is_left_is_not_written(
    database: Database, tenant: UUID, tmp_path: Path
) -> None:
    kept = bytes(range(96))
    async with database.connect("wk_ledger") as connection:
        await connection.execute("SELECT ledger.add_tiles($1)", [(tenant, 1, 0, 0, kept, None)])
        log = ExportedLog(tenant, 1, origin(HOST, tenant, 1), 3, 3)
        made = LogExport(connection, tmp_path, log, keys=Keys((SIGNER,), KEYS))
        assert b"".join(await made._read(TilePlace(0, 0, 3))) == kept
    assert bundles(tmp_path) == []


async def test_a_full_tile_is_read_whole_or_not_at_all(tenant: UUID, tmp_path: Path) -> None:
    head = Head(tenant, 1, origin(HOST, tenant, 1), 300, NO_LEAF, SystemClock().now(), ())
    tiles = FileTiles(Files(tmp_path), head)
    assert await tiles.tile(0, 0) is None
    path = tmp_path / log_path(tenant, 1) / TilePlace(0, 0, 256).path
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * TILE_BYTES)
    assert await tiles.tile(0, 0) == b"x" * TILE_BYTES
    path.write_bytes(b"x" * (TILE_BYTES - 32))
    assert await tiles.tile(0, 0) is None


class OneAbove:
    """A builder that has just completed a tile of a higher row."""

    def extend(self, _leaves: object) -> list[Tile]:
        return [Tile(0, 0, b"l" * TILE_BYTES, b"r" * 32), Tile(1, 0, b"h" * TILE_BYTES, b"r" * 32)]


def test_a_tile_of_a_higher_row_is_held_against_those_below(tenant: UUID, tmp_path: Path) -> None:
    place = tmp_path / log_path(tenant, 1) / TilePlace(0, 0, 1).path
    above = tmp_path / log_path(tenant, 1) / TilePlace(1, 0, 256).path
    for path in (place, above):
        path.parent.mkdir(parents=True)
    place.write_bytes(b"l" * 32)
    for hashes, expected in ((b"h" * TILE_BYTES, None), (b"?" * TILE_BYTES, What.TILE)):
        above.write_bytes(hashes)
        log = files_of(tmp_path, tenant, size=1, first=1)
        log._builder = OneAbove()  # type: ignore[assignment]
        log._tile(TilePlace(0, 0, 1))
        bad = log._walk.bad
        assert (None if bad is None else bad.what) == expected


def test_an_entry_that_is_not_canonical_is_none(tenant: UUID, tmp_path: Path) -> None:
    for entry in (b'{"time": "2026-05-03T14:02:00.000000Z"}', b'{"time":"x","time":"y"}', b'{"time":"' + b"a" * 33_000):
        log = files_of(tmp_path, tenant, size=1)
        log._row(0, leaf_hash(entry), entry)
        assert log._walk.bad is not None
        assert log._walk.bad.what is What.FORM
