"""Promise: a proof takes one call; a hash that is missing is missed, and no other stands in its place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest

from database import Database
from ledger.making import change
from wellkeep.crypto import merkle
from wellkeep.crypto.errors import BadProof
from wellkeep.ledger.tile_store import TileStore
from wellkeep.ledger.tiles import root_at

SIZE = 700
LEAVES = [sha256(b"%d" % number).digest() for number in range(SIZE)]
_ENTRIES = """
INSERT INTO ledger.entry (tenant_id, epoch, seq, event_id, "time", actor, action, outcome, request, leaf, entry)
  SELECT $1, 1, n, gen_random_uuid(), now() - ($2 - n) * interval '1 second', 'a', 'record.read', 'done',
         gen_random_uuid(), sha256(n::text::bytea), '{}' FROM generate_series(0, $2 - 1) AS n
"""
_CHECKPOINT = """
INSERT INTO ledger.checkpoint (tenant_id, epoch, size, root, "time", signature)
  SELECT $1, 1, size, sha256(''), now() + $2::interval, decode(repeat('00', 68), 'hex')
  FROM unnest($3::bigint[]) AS size
"""
_MISSING = "DELETE FROM ledger.entry WHERE tenant_id = $1 AND seq = $2"


@pytest.fixture
async def filled(database: Database, tenant: UUID) -> Database:
    """Store 700 leaves."""
    await change(database, _ENTRIES, tenant, SIZE)
    return database


@asynccontextmanager
async def opened(database: Database, tenant: UUID) -> AsyncIterator[tuple[TileStore, list[str]]]:
    """Lend the tree of the tenant's log, and what was asked of the database for it."""
    asked: list[str] = []

    def note(record: Any) -> None:
        asked.append(record.query)

    async with database.connect("wk_ledger") as connection:
        with connection.query_logger(note):
            yield TileStore(connection, tenant=tenant, epoch=1), asked


@pytest.mark.parametrize("tiled", [0, 300, SIZE])
async def test_a_proof_takes_one_call(filled: Database, tenant: UUID, tiled: int) -> None:
    async with opened(filled, tenant) as (store, asked):
        assert await store.grow(tiled) == tiled // 256
        await store.leaves(0, 1)  # whatever the driver asks once a connection
        for index, size in ((0, 1), (0, SIZE), (255, SIZE), (256, 257), (600, SIZE), (SIZE - 1, SIZE)):
            await asyncio.sleep(0)
            asked.clear()
            assert await store.inclusion(index, size) == merkle.inclusion_proof(LEAVES[:size], index=index)
            await asyncio.sleep(0)
            assert (len(asked) == 1) == (size // 256 <= tiled // 256), "one call, unless a tile is to be derived"
            assert await store.consistency(index + 1, size) == merkle.consistency_proof(
                LEAVES[:size], old_size=index + 1
            )
        assert await root_at(store, SIZE) == merkle.root(LEAVES)


@pytest.mark.parametrize("hours", [-10_000, 0, 10_000])
async def test_times_of_checkpoints_only_say_where_to_look_first(filled: Database, tenant: UUID, hours: int) -> None:
    await change(filled, _CHECKPOINT, tenant, timedelta(hours=hours), [512, 600, 650])
    async with opened(filled, tenant) as (store, _):
        assert await store.leaves(520, 640) == LEAVES[520:640]


@pytest.mark.parametrize("missing", [520, 550, 599])
async def test_a_leaf_that_is_missing_is_missed(filled: Database, tenant: UUID, missing: int) -> None:
    """What is kept of a pruned month stands before the entries, and never in the place of one of them."""
    await change(filled, _MISSING, tenant, missing)
    async with opened(filled, tenant) as (store, _):
        await change(filled, "SELECT ledger.add_tiles($1)", [(tenant, 1, 0, 2, b"".join(LEAVES[512:520]), None)])
        assert await store.leaves(515, 600) == LEAVES[515:520]
        assert await store.leaves(515, missing) == LEAVES[515:missing]
        assert await store.leaves(missing + 1, 610) == LEAVES[missing + 1 : 610]
        for asked in (store.inclusion(601, SIZE), store.consistency(601, SIZE), root_at(store, 610)):
            with pytest.raises(BadProof):
                await asked


async def test_no_tile_is_made_around_what_is_missing(filled: Database, tenant: UUID) -> None:
    await change(filled, _MISSING, tenant, 300)
    async with opened(filled, tenant) as (store, _):
        assert await store.grow(SIZE) == 1
        assert await store.tile(0, 0) == b"".join(LEAVES[:256])
        assert await store.tile(0, 1) is None
        assert await store.roots(0, 0, 2) == []
