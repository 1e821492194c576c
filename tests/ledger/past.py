"""A ledger with a past: batches spliced at times of long ago, stored as the database's owner could."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from database import Database
from ledger.making import HOST, SEAL_KEY
from wellkeep.db.connection import Connection
from wellkeep.ledger.event import PreparedEvent
from wellkeep.ledger.splice import Head, Spliced, Splicer, Submitted

_ENTRIES = """
INSERT INTO ledger.entry (tenant_id, epoch, seq, event_id, "time", actor, action, purpose, resource_type, resource_id,
                          subject, outcome, request, leaf, entry)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
"""
_SUBJECTS = "INSERT INTO ledger.entry_subject VALUES ($1, $2, $3, $4, $5)"
_LOG = """
INSERT INTO ledger.log (tenant_id, epoch, origin, size, leaf, "time", frontier) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (tenant_id, epoch) DO UPDATE SET size = $4, leaf = $5, "time" = $6, frontier = $7
"""
_SEAL = "INSERT INTO ledger.seal (tenant_id, epoch, size, key_id, leaf, root, mac) VALUES ($1, $2, $3, $4, $5, $6, $7)"
_PARTITION = "SELECT ledger.provide_partition($1)"


async def live_through(
    database: Database, heads: dict[UUID, Head], batches: Sequence[tuple[datetime, UUID, Sequence[PreparedEvent]]]
) -> None:
    """Splice each of `batches` (time, tenant, events) onto `heads`, store it, and move the heads."""
    splicer = Splicer(host=HOST, seal_key=SEAL_KEY)
    async with database.connect() as connection:
        for time, tenant, events in batches:
            spliced = splicer.splice(heads, [Submitted(tenant, each, outbox=False) for each in events], now=time)
            await make_month(connection, time)
            await store(connection, spliced)
            heads.update(spliced.heads)


async def store(connection: Connection, spliced: Spliced, *, steps: Sequence[int] | None = None) -> None:
    """Write a spliced batch as a superuser, whatever its time; or of it those of `steps` (from 1) alone."""
    wanted = range(1, len(spliced.steps) + 1) if steps is None else steps
    for step in (spliced.steps[number - 1] for number in wanted):
        tenant, epoch, name, _, _, size, leaf, time, frontier, key_id, root, mac = step
        await connection.execute(_LOG, tenant, epoch, name, size, leaf, time, frontier)
        await connection.execute(_SEAL, tenant, epoch, size, key_id, leaf, root, mac)
    for number, seq, event_id, *columns in spliced.entries:
        if number not in wanted:
            continue
        tenant, epoch, *_ = spliced.steps[number - 1]
        await connection.execute(_ENTRIES, tenant, epoch, seq, event_id, spliced.steps[number - 1][7], *columns)
    await connection.executemany(_SUBJECTS, spliced.subjects)


async def make_month(connection: Connection, time: datetime) -> None:
    """Make the partition that entries of `time` lie in."""
    await connection.execute(_PARTITION, time)
