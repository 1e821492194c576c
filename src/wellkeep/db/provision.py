"""A database made ready, from an administrator's connection to a marked schema at the program's version.

Rule: one order, the same for the embedded server, for a server by DSN and for the tests: roles, database, rights,
migrations, deployment mark, context key. Each step is idempotent, so an interrupted set-up is simply run again.

Roles belong to the whole server, and their passwords with them. So before anything is changed, roles that are there
already must be this deployment's: its password must open them, and the database must not be marked as another's. The
threat is a second deployment on one server, whose set-up would lock the first one out.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg

from wellkeep.base.errors import Misconfigured, WellkeepError
from wellkeep.base.secrets import Secret
from wellkeep.db import context, deployment, guard, migrate, roles, shared_functions
from wellkeep.db.connection import Connection
from wellkeep.db.context import ContextKey
from wellkeep.db.dsn import Endpoint
from wellkeep.db.errors import CONNECTION_ERRORS, DRIVER_ERRORS, translate

_CONNECT_SECONDS = 10.0
_ROLE_EXISTS = "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = 'wk_migrate')"
_DATABASE_EXISTS = "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1)"
_DATABASE_OWNER = "SELECT pg_catalog.pg_get_userbyid(datdba) FROM pg_catalog.pg_database WHERE datname = $1"
_MARK_TABLE = "SELECT pg_catalog.to_regclass('wk.deployment') IS NOT NULL"
_MARKED = "SELECT EXISTS (SELECT 1 FROM wk.deployment)"


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
    settings = await _announced(endpoint)
    failure: WellkeepError
    try:
        connection: Connection = await asyncpg.connect(
            **endpoint.arguments(), server_settings=settings, timeout=_CONNECT_SECONDS
        )
    except (*DRIVER_ERRORS, *CONNECTION_ERRORS, OSError) as error:
        failure = translate(error)
    else:
        return connection
    raise failure


async def _announced(endpoint: Endpoint) -> dict[str, str]:
    """Say that this session is ours, where that is to be said, and return the settings by which it is known."""
    name = None if endpoint.announce is None else await endpoint.announce(endpoint.user)
    return {} if name is None else {"application_name": name}


async def unreachable(endpoint: Endpoint) -> str | None:
    """Say why `endpoint` can't be connected to, and what to do; None where it can.

    For the person at the command line: whoever sends requests is told no more than that the database is away.
    """
    settings = await _announced(endpoint)
    try:
        connection = await asyncpg.connect(**endpoint.arguments(), server_settings=settings, timeout=_CONNECT_SECONDS)
        await connection.close(timeout=_CONNECT_SECONDS)
    except (*DRIVER_ERRORS, *CONNECTION_ERRORS, OSError, UnicodeError) as error:
        return _in_words(error, endpoint)
    return None


def _in_words(error: Exception, endpoint: Endpoint) -> str:
    place = f"The PostgreSQL at {endpoint.host}, port {endpoint.port}"
    account = f"the role {endpoint.user}" if endpoint.user in roles.LOGIN_ROLES else "this account"
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"{place} shows a certificate that this machine does not trust, or that is for another name. Name its "
            "authority (sslrootcert=/absolute/path/ca.crt), and the host as its certificate does."
        )
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return f"{place} does not let {account} in: name or password is another, or pg_hba.conf has no line for it."
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return f"{place} has no database of the name {endpoint.database}."
    if isinstance(error, asyncpg.PostgresError):
        return f"{place} answers, but takes no connection of {account} (SQLSTATE {error.sqlstate})."
    return f"{place} does not answer{'' if endpoint.is_socket else ', or speaks no TLS, or the network is in between'}."


async def assert_usable(administrator: Endpoint, *, database: str) -> None:
    """Raise Misconfigured where a deployment can't be made at `administrator`'s server, before anything is made."""
    if (said := await unreachable(administrator)) is not None:
        raise Misconfigured(f"{said} Nothing was made.")
    async with connected(administrator) as connection:
        await guard.assert_fit(connection)
        await _assert_not_anothers(connection, database)


async def _assert_not_anothers(connection: Connection, database: str) -> None:
    """Raise Misconfigured where there is a database of that name that is not wellkeep's: its rights are changed."""
    owner = await connection.fetchval(_DATABASE_OWNER, database)
    if owner not in {None, roles.OWNER_ROLE}:
        raise Misconfigured(
            f"This PostgreSQL has a database {database} already, and it is not wellkeep's. Name one that is not there "
            "yet: it is made. Nothing was made."
        )


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
    migrator = administrator.at(database).as_role("wk_migrate", passwords["wk_migrate"])
    async with connected(administrator) as connection:
        await guard.assert_fit(connection)
        await _assert_not_anothers(connection, database)
        if await connection.fetchval(_ROLE_EXISTS):
            there = await connection.fetchval(_DATABASE_EXISTS, database)
            await _assert_ours(migrator if there else migrator.at(administrator.database), deployment_id, environment)
        await roles.ensure_roles(connection, passwords)
        await roles.ensure_database(connection, database)
    async with connected(administrator.at(database)) as connection:
        await roles.close_public(connection)
        await shared_functions.close(connection)
    async with connected(migrator) as connection:
        await migrate.migrate(connection, migrations=migrations)
        await deployment.install(connection, deployment=deployment_id, environment=environment)
        if context_key is not None:
            await context.install(connection, context_key)


async def _assert_ours(migrator: Endpoint, deployment_id: UUID, environment: str) -> None:
    """Raise Misconfigured where the server's roles, or the database that is there, are another deployment's."""
    anothers = False
    settings = await _announced(migrator)
    try:
        probe = await asyncpg.connect(**migrator.arguments(), server_settings=settings, timeout=_CONNECT_SECONDS)
        await probe.close(timeout=_CONNECT_SECONDS)
    except asyncpg.InvalidPasswordError:
        anothers = True
    except (*DRIVER_ERRORS, *CONNECTION_ERRORS, OSError):
        pass  # asked again below, where it is told in our own words
    if anothers:
        raise Misconfigured(
            "This PostgreSQL server has wellkeep's roles (wk_…) already, and this deployment's passwords do not open "
            "them: another deployment uses them, and roles belong to the whole server. Nothing was changed. Choose "
            "another server, or restore this deployment's secrets/database.json."
        )
    async with connected(migrator) as connection:
        if await connection.fetchval(_MARK_TABLE) and await connection.fetchval(_MARKED):
            await deployment.assert_belongs(connection, deployment=deployment_id, environment=environment)
