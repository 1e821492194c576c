"""Verifying the upper tiles of a log in the database: each must be made of the tiles below it.

The lowest are held against the entries where those are walked.
"""

from __future__ import annotations

from uuid import UUID

from wellkeep.db.connection import Connection
from wellkeep.ledger.accounts import Walked
from wellkeep.ledger.growth import Misfit
from wellkeep.ledger.report import What
from wellkeep.ledger.tiles import HEIGHT, WIDTH, perfect_root

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
        roots = await _lower(connection, place, level, roots, first, last)
        made = {number: [roots.get(each) for each in _below(number)] for number in range(first, last)}
        hashes = {number: [each for each in row if each is not None] for number, row in made.items()}
        roots = {number: perfect_root(row) for number, row in hashes.items() if len(row) == WIDTH}
        for number, stored, root in await connection.fetch(_STORED, *place, level, first, last):
            if number in roots and (stored, root) != (b"".join(hashes[number]), roots[number]):
                found.append((number << HEIGHT * (level + 1), What.TILE))
        level += 1
    if found:
        walk.refuse(*min(found))
    elif await connection.fetchval(_BEYOND, *place, end):
        walk.refuse(end, What.TILE)


def _below(number: int) -> range:
    return range(number * WIDTH, (number + 1) * WIDTH)


async def _lower(
    connection: Connection, place: tuple[UUID, int], level: int, roots: dict[int, bytes], first: int, last: int
) -> dict[int, bytes]:
    """Return `roots`, and those before them that tiles of this walk are made of too: they were verified before."""
    begin = min(roots, default=last * WIDTH)
    if first * WIDTH >= begin:
        return roots
    rows = await connection.fetch(_ROOTS, *place, level - 1, first * WIDTH, begin)
    return {row["index"]: row["root"] for row in rows} | roots
