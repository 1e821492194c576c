"""A database made ready, from an administrator's connection to a marked schema at the program's version.

Rule: one order, the same for the embedded server, for a server by DSN and for the tests: roles, database, rights,
migrations, deployment mark, context key. Each step is idempotent, so an interrupted set-up is simply run again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg

from wellkeep.base.errors import WellkeepError
from wellkeep.base.secrets import Secret
from wellkeep.db import context, deployment, guard, migrate, roles, shared_functions
from wellkeep.db.connection import Connection
from wellkeep.db.context import ContextKey
from wellkeep.db.dsn import Endpoint
from wellkeep.db.errors import CONNECTION_ERRORS, DRIVER_ERRORS, translate

_CONNECT_SECONDS = 10.0


@asynccontextmanager
async def connected(endpoint: Endpoint) -> AsyncIterator[Connection]:
    """Open one connection of `endpoint`'s, outside any pool, for set-up and administration.

    Raises DatabaseUnavailable where the server does not answer. The driver's own errors inside are the caller's.
    """
    connection = await _connect(endpoint)
    try:
        yield connection
    finally:
        await connection.close(timeout=_CONNECT_SECONDS)


async def _connect(endpoint: Endpoint) -> Connection:
    failure: WellkeepError
    try:
        connection: Connection = await asyncpg.connect(**endpoint.arguments(), timeout=_CONNECT_SECONDS)
    except (*DRIVER_ERRORS, *CONNECTION_ERRORS, OSError) as error:
        failure = translate(error)
    else:
        return connection
    raise failure


async def provision(
    administrator: Endpoint,
    *,
    database: str,
    passwords: Mapping[str, Secret[str]],
    deployment_id: UUID,
    environment: str,
    context_key: ContextKey | None = None,
    migrations: Sequence[migrate.Migration] | None = None,
) -> None:
    """Bring `database` to the program's schema, for this deployment and key; doing it again changes nothing.

    `administrator` may create roles and databases, at any database of the server. Raises Misconfigured where the server
    is unfit (`guard`), the database another's, or its migrations diverge. Where the context key is itself kept in the
    database, wrapped, it is installed afterwards.
    """
    async with connected(administrator) as connection:
        await guard.assert_fit(connection)
        await roles.ensure_roles(connection, passwords)
        await roles.ensure_database(connection, database)
    async with connected(administrator.at(database)) as connection:
        await roles.close_public(connection)
        await shared_functions.close(connection)
    migrator = administrator.at(database).as_role("wk_migrate", passwords["wk_migrate"])
    async with connected(migrator) as connection:
        await migrate.migrate(connection, migrations=migrations)
        await deployment.install(connection, deployment=deployment_id, environment=environment)
        if context_key is not None:
            await context.install(connection, context_key)
