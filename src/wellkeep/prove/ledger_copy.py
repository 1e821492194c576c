"""A copy of a deployment's ledger in a database of its own, to tamper with while the original stays as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from wellkeep.db import migrate, roles
from wellkeep.db.connection import Connection
from wellkeep.db.dsn import Endpoint
from wellkeep.db.provision import connected
from wellkeep.prove.deployment import Deployment

_NAME = "wk_ledger_copy"
_DROP = "DROP DATABASE IF EXISTS wk_ledger_copy WITH (FORCE)"
_ROWS = "SELECT * FROM ledger.{}"
_TABLES = ("log", "entry", "seal", "entry_subject", "checkpoint", "tile", "covered", "outbox", "quarantine")


@asynccontextmanager
async def ledger_copy(deployment: Deployment) -> AsyncIterator[Endpoint]:
    """Lend a database that holds the ledger as it was in one snapshot, and drop it afterwards.

    Yields the superuser's endpoint at the copy. Raises Unseen where the server is not ours.
    """
    administrator = deployment.superuser()
    async with connected(administrator) as connection:
        await connection.execute(_DROP)
        await roles.ensure_database(connection, _NAME)
    copy = administrator.at(_NAME)
    try:
        async with connected(deployment.database.endpoint("wk_migrate").at(_NAME)) as connection:
            await migrate.migrate(connection)
        async with (
            connected(administrator) as source,
            connected(copy) as target,
            source.transaction(isolation="repeatable_read", readonly=True),
        ):
            for table in _TABLES:
                await _copy(source, target, table)
        yield copy
    finally:
        async with connected(administrator) as connection:
            await connection.execute(_DROP)


async def _copy(source: Connection, target: Connection, table: str) -> None:
    """Copy one table; a ledger that is worth copying for a look fits into memory."""
    pieces: list[bytes] = []

    async def take(piece: bytes) -> None:
        pieces.append(piece)

    # A table of partitions is read by a query alone.
    await source.copy_from_query(_ROWS.format(table), output=take, format="binary")

    async def give() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    await target.copy_to_table(table, schema_name="ledger", source=give(), format="binary")
