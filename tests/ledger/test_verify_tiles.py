"""Promise: a tile of tiles is made of the tiles below it, or it is named. The tiles are put there, not the entries."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from uuid import UUID

import pytest

from database import Database
from ledger.making import HOST
from wellkeep.ledger.accounts import Walked
from wellkeep.ledger.report import Bad, State, What
from wellkeep.ledger.seal import origin
from wellkeep.ledger.splice import Head
from wellkeep.ledger.tiles import perfect_root
from wellkeep.ledger.verify_tiles import check_tiles
from wellkeep.ledger.walk import LogWalk

NOW = datetime(2026, 5, 4, tzinfo=UTC)
ROOTS = [sha256(bytes([number])).digest() for number in range(256)]
"""Of the 256 tiles of level 0 under one of level 1."""
UPPER = perfect_root(ROOTS)
_PUT = "INSERT INTO ledger.tile (tenant_id, epoch, level, index, hashes, root) VALUES ($1, 1, $2, $3, $4, $5)"


async def put(database: Database, tenant: UUID, level: int, number: int, hashes: Sequence[bytes]) -> None:
    async with database.connect() as connection:
        await connection.execute(_PUT, tenant, level, number, b"".join(hashes), perfect_root(hashes))


async def found(database: Database, tenant: UUID, size: int, roots: Sequence[bytes]) -> Bad | None:
    """Return what is wrong after a walk to `size` that completed the lowest tiles of `roots`, the last ones."""
    name, frontier = origin(HOST, tenant, 1), (bytes(32),) * size.bit_count()
    head = Head(tenant, 1, name, size, bytes(32), NOW, frontier)
    walk = LogWalk(head, keys=None, start=State(size, frontier, bytes(32), NOW))
    walk.growth.tile_roots = list(roots)
    async with database.connect() as connection:
        await check_tiles(connection, Walked(walk, first=0, begin=0))
    assert walk.bad is None or walk.bad.log == name
    return walk.bad


async def test_a_tile_of_tiles_that_holds(database: Database, tenant: UUID) -> None:
    assert await found(database, tenant, 65_536, ROOTS) is None, "whoever makes tiles may be behind"
    await put(database, tenant, 1, 0, ROOTS)
    assert await found(database, tenant, 65_536, ROOTS) is None
    assert await found(database, tenant, 65_536 + 300, [*ROOTS, bytes(32)]) is None


@pytest.mark.parametrize("forged", [[*ROOTS[:9], bytes(32), *ROOTS[10:]], ROOTS[::-1]])
async def test_a_tile_of_tiles_that_was_forged(database: Database, tenant: UUID, forged: list[bytes]) -> None:
    await put(database, tenant, 1, 0, forged)
    bad = await found(database, tenant, 65_536, ROOTS)
    assert bad is not None
    assert (bad.seq, bad.what) == (0, What.TILE)


async def test_the_first_of_two_is_named(database: Database, tenant: UUID) -> None:
    await put(database, tenant, 1, 0, ROOTS)
    for number in (2, 1):
        await put(database, tenant, 1, number, ROOTS[::-1])
    bad = await found(database, tenant, 3 * 65_536, ROOTS * 3)
    assert bad is not None
    assert (bad.seq, bad.what) == (65_536, What.TILE)


async def test_a_tile_beyond_the_end(database: Database, tenant: UUID) -> None:
    await put(database, tenant, 1, 0, ROOTS)
    bad = await found(database, tenant, 65_535, ROOTS[:255])
    assert bad is not None
    assert (bad.seq, bad.what) == (65_535, What.TILE)


async def test_a_walk_that_went_on_takes_what_was_verified_before(database: Database, tenant: UUID) -> None:
    async with database.connect() as connection:
        rows = [(tenant, 0, number, bytes(8192), ROOTS[number]) for number in range(100)]
        await connection.executemany(_PUT, rows)
    await put(database, tenant, 1, 0, ROOTS)
    assert await found(database, tenant, 65_536, ROOTS[100:]) is None
    bad = await found(database, tenant, 65_536, [*ROOTS[100:255], bytes(32)])
    assert bad is not None
    assert (bad.seq, bad.what) == (0, What.TILE)


async def test_a_tile_two_levels_up(database: Database, tenant: UUID) -> None:
    """Of sixteen million entries, of which this walk read the last 65,536."""
    uppers = [sha256(b"upper" + root).digest() for root in ROOTS[:255]]
    async with database.connect() as connection:
        rows = [(tenant, 1, number, bytes(8192), root) for number, root in enumerate(uppers)]
        await connection.executemany(_PUT, rows)
    await put(database, tenant, 2, 0, [*uppers, UPPER])
    assert await found(database, tenant, 1 << 24, ROOTS) is None
    bad = await found(database, tenant, 1 << 24, ROOTS[::-1])
    assert bad is not None
    assert (bad.seq, bad.what) == (0, What.TILE)


@pytest.mark.parametrize("kept", ["its row", "what is below", "nothing"])
async def test_a_forged_tile_is_found_where_one_below_it_was_deleted(
    database: Database, tenant: UUID, kept: str
) -> None:
    """Of sixteen million entries, of which this walk read the last 65,536."""
    lower = [sha256(b"lower" + root).digest() for root in ROOTS]
    uppers = [sha256(b"upper" + root).digest() for root in ROOTS[:255]]
    uppers[3] = perfect_root(lower)
    async with database.connect() as connection:
        rows = [(tenant, 1, number, bytes(8192), root) for number, root in enumerate(uppers) if number != 3]
        await connection.executemany(_PUT, rows)
        if kept == "what is below":
            rows = [(tenant, 0, 3 * 256 + number, bytes(8192), root) for number, root in enumerate(lower)]
            await connection.executemany(_PUT, rows)
    if kept == "its row":
        await put(database, tenant, 1, 3, lower)
    assert await found(database, tenant, 1 << 24, ROOTS) is None, "no tile, nothing wrong with it"
    await put(database, tenant, 2, 0, [*uppers, UPPER])
    bad = await found(database, tenant, 1 << 24, ROOTS)
    assert (bad is None) is (kept != "nothing"), "no tile of tiles was ever made of what is not there"
    async with database.connect() as connection:
        await connection.execute("DELETE FROM ledger.tile WHERE level = 2")
    await put(database, tenant, 2, 0, [*uppers[::-1], UPPER])
    bad = await found(database, tenant, 1 << 24, ROOTS)
    assert bad is not None
    assert (bad.seq, bad.what) == (0, What.TILE)
