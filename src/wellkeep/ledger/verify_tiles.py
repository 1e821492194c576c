"""Verifying the upper tiles of a log in the database: each must be made of the tiles below it.

The lowest are held against the entries where those are walked. A walk that went on from a place takes what was verified
before it: the tiles there, and where one of those is gone, what is below it. So none passes because another is missing.
"""

from __future__ import annotations

from contextlib import suppress

from wellkeep.crypto.errors import BadProof
from wellkeep.db.connection import Connection
from wellkeep.ledger.accounts import Walked
from wellkeep.ledger.growth import Misfit
from wellkeep.ledger.report import What
from wellkeep.ledger.tile_store import TileStore
from wellkeep.ledger.tiles import HEIGHT, WIDTH, perfect_root, tile_root

_ROOTS = """
SELECT index, root FROM ledger.tile
WHERE tenant_id = $1 AND epoch = $2 AND level = $3 AND root IS NOT NULL AND index >= $4 AND index < $5
"""
_STORED = """
SELECT index, hashes, root FROM ledger.tile
WHERE tenant_id = $1 AND epoch = $2 AND level = $3 AND root IS NOT NULL AND index >= $4 AND index < $5 ORDER BY index
"""
_BEYOND = """
SELECT EXISTS (SELECT FROM ledger.tile
               WHERE tenant_id = $1 AND epoch = $2 AND root IS NOT NULL
                 AND index >= ($3::bigint >> (8 * (level + 1))))
"""


async def check_tiles(connection: Connection, walked: Walked) -> None:
    """Hold the tiles above those that the walk completed against them; what differs is noted in the walk."""
    walk, place = walked.walk, walked.place
    end = walk.size
    start = (end >> HEIGHT) - len(walk.growth.tile_roots) << HEIGHT
    roots = dict(enumerate(walk.growth.tile_roots, start=start >> HEIGHT))
    found: list[Misfit] = []
    level = 1
    while walk.bad is None and end >> HEIGHT * (level + 1):
        first, last = start >> HEIGHT * (level + 1), end >> HEIGHT * (level + 1)
        roots = await _lower(connection, walked, level, roots, first * WIDTH)
        made = {number: [roots[each] for each in _below(number) if each in roots] for number in range(first, last)}
        roots = {number: perfect_root(row) for number, row in made.items() if len(row) == WIDTH}
        for number, stored, root in await connection.fetch(_STORED, *place, level, first, last):
            if (stored, root) != (b"".join(made[number]), roots.get(number)):
                found.append((number << HEIGHT * (level + 1), What.TILE))
        level += 1
    if found:
        walk.refuse(*min(found))
    elif await connection.fetchval(_BEYOND, *place, end):
        walk.refuse(end, What.TILE)


def _below(number: int) -> range:
    return range(number * WIDTH, (number + 1) * WIDTH)


async def _lower(
    connection: Connection, walked: Walked, level: int, roots: dict[int, bytes], first: int
) -> dict[int, bytes]:
    """Return `roots` and those of the tiles before them, from `first` on; without those of which nothing is left."""
    begin = min(roots, default=first)
    rows = await connection.fetch(_ROOTS, *walked.place, level - 1, first, begin) if first < begin else []
    before = {row["index"]: row["root"] for row in rows}
    tenant, epoch = walked.place
    store = TileStore(connection, tenant=tenant, epoch=epoch)
    for number in range(first, begin):
        if number not in before:
            with suppress(BadProof):
                before[number] = await tile_root(store, level - 1, number, walked.walk.size)
    return before | roots
