"""Negative controls of the chain: appending as peers do it forks, and so does ours without its defences.

"The newest row, locked" does not serialise writers: who waited for its lock goes on from the row that it saw first, and
not from the one that was written meanwhile.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from hashlib import sha256
from uuid import UUID

from database import Database
from ledger.making import prepared, verified, writing
from wellkeep.base.errors import LedgerUnavailable
from wellkeep.base.ids import uuid7

_TABLE = "CREATE TABLE public.naive (seq bigserial, prev bytea, leaf bytea NOT NULL)"
_NEWEST = "SELECT leaf FROM public.naive ORDER BY seq DESC LIMIT 1 FOR UPDATE"
_APPEND = "INSERT INTO public.naive (prev, leaf) VALUES ($1, $2)"
_TWICE = """
SELECT count(*) FROM (SELECT FROM ledger.entry WHERE tenant_id = $1 GROUP BY seq HAVING count(*) > 1) AS forked
"""
_DEFINITION = "SELECT pg_get_functiondef(p.oid) FROM pg_proc AS p WHERE p.proname = 'append_batch'"
_COMPARED = "AND l.size = s.old_size AND l.leaf = s.old_leaf\n"
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


async def _appended(database: Database, tenant: UUID) -> None:
    async def append() -> None:
        async with writing(database) as writer:
            for _ in range(EACH):
                with suppress(LedgerUnavailable):
                    await writer.append(tenant, prepared())

    await asyncio.gather(*(append() for _ in range(WRITERS)))


async def test_ours_forks_as_well_where_heads_are_not_compared(database: Database, tenant: UUID) -> None:
    """Both defences are taken out: the comparison, and the key that lets no two batches end at one size."""
    async with database.connect() as connection:
        whole = await connection.fetchval(_DEFINITION)
        assert whole.count(_COMPARED) == 1
        await connection.execute(whole.replace(_COMPARED, ""))
        await connection.execute("ALTER TABLE ledger.seal DROP CONSTRAINT seal_pkey")
    await _appended(database, tenant)
    async with database.connect() as connection:
        assert await connection.fetchval(_TWICE, tenant) > 0
    assert not (await verified(database, tenant=tenant)).ok


async def test_ours_does_not(database: Database, tenant: UUID) -> None:
    await _appended(database, tenant)
    report = await verified(database, tenant=tenant)
    assert report.ok
    assert report.entries == WRITERS * EACH + 1
