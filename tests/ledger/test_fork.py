"""Negative control of the chain: appending as peers do it forks, under the same callers that ours does not fork under.

"The newest row, locked" does not serialise writers: who waited for its lock goes on from the row that it saw first, and
not from the one that was written meanwhile.
"""

from __future__ import annotations

import asyncio
from hashlib import sha256
from uuid import UUID

from database import Database
from ledger.making import prepared, verified, writing
from wellkeep.base.ids import uuid7

_TABLE = "CREATE TABLE public.naive (seq bigserial, prev bytea, leaf bytea NOT NULL)"
_NEWEST = "SELECT leaf FROM public.naive ORDER BY seq DESC LIMIT 1 FOR UPDATE"
_APPEND = "INSERT INTO public.naive (prev, leaf) VALUES ($1, $2)"
_FORKS = "SELECT count(*) FROM (SELECT FROM public.naive GROUP BY prev HAVING count(*) > 1) AS forked"
WRITERS, EACH = 8, 25


async def test_the_naive_way_forks(database: Database) -> None:
    async with database.connect() as connection:
        await connection.execute(_TABLE)
        await connection.execute(_APPEND, None, bytes(32))

    async def writer() -> None:
        async with database.connect() as connection:
            for _ in range(EACH):
                async with connection.transaction():
                    previous = await connection.fetchval(_NEWEST)
                    await connection.execute(_APPEND, previous, sha256(uuid7().bytes).digest())

    await asyncio.gather(*(writer() for _ in range(WRITERS)))
    async with database.connect() as connection:
        assert await connection.fetchval(_FORKS) > 0


async def test_ours_does_not(database: Database, tenant: UUID) -> None:
    async def append() -> None:
        async with writing(database) as writer:
            for _ in range(EACH):
                await writer.append(tenant, prepared())

    await asyncio.gather(*(append() for _ in range(WRITERS)))
    report = await verified(database, tenant=tenant)
    assert report.ok
    assert report.entries == WRITERS * EACH + 1
