"""Whose database this is: the mark that keeps environments apart.

Rule: a database belongs to one deployment of one environment from its first migration on, and nothing else is started
on it. The threat is a DSN pasted into the wrong settings file.
"""

from __future__ import annotations

from uuid import UUID

import asyncpg

from wellkeep.base.errors import Misconfigured
from wellkeep.db.connection import Connection

_INSTALL = "SELECT wk.install_deployment($1, $2)"
_READ = "SELECT id, environment FROM wk.deployment"
_ANOTHERS = "WK001"
_REFUSAL = "This database belongs to another {what}. Correct the DSN, or choose another database. Nothing was changed."


async def install(connection: Connection, *, deployment: UUID, environment: str) -> None:
    """Mark the database, the first time, and make the platform tenant; `connection` is `wk_migrate`'s.

    Raises Misconfigured where the database is another deployment's.
    """
    anothers = False
    try:
        await connection.execute(_INSTALL, deployment, environment)
    except asyncpg.PostgresError as error:
        if error.sqlstate != _ANOTHERS:
            raise
        anothers = True
    if anothers:
        await assert_belongs(connection, deployment=deployment, environment=environment)


async def assert_belongs(connection: Connection, *, deployment: UUID, environment: str) -> None:
    """Raise Misconfigured unless the database is marked as this deployment's; any role may ask."""
    row = await connection.fetchrow(_READ)
    if row is None:
        raise Misconfigured("This database was never set up. Run `wellkeep init`.")
    if row["environment"] != environment:
        raise Misconfigured(_REFUSAL.format(what=f"environment ({row['environment']}, not {environment})"))
    if row["id"] != deployment:
        raise Misconfigured(_REFUSAL.format(what=f"deployment of the environment {environment}"))
