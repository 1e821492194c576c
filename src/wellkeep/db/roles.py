"""The roles of the tenant wall: each may do one thing, none may step over a policy.

| role | may |
|---|---|
| `wk_owner` | own the schemas, and see who is logged in (pg_read_all_stats); can't log in |
| `wk_migrate` | become `wk_owner`, by `SET ROLE` alone |
| `wk_app` | serve requests under a tenant context |
| `wk_ledger` | append to the ledger, on its own connection |
| `wk_auth` | look keys and sessions up before the tenant is known |
| `wk_jobs` | run the queue |
| `wk_backup` | read for backups |

Rules: no role is superuser, bypasses row security, creates roles or databases; PUBLIC has nothing; nobody but the owner
may make temporary tables (a temporary object can shadow a name). Passwords reach the server as SCRAM verifiers only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import asyncpg

from wellkeep.base.errors import Misconfigured
from wellkeep.base.secrets import Secret
from wellkeep.db.connection import Connection
from wellkeep.db.passwords import scram_verifier

OWNER_ROLE = "wk_owner"
LOGIN_ROLES = ("wk_migrate", "wk_app", "wk_ledger", "wk_auth", "wk_jobs", "wk_backup")
ALL_ROLES = (OWNER_ROLE, *LOGIN_ROLES)
SERVICE_ROLES = ("wk_app", "wk_ledger", "wk_auth", "wk_jobs")
"""What servers log in as, all the time; whoever logs in as anything else is on record."""
STATISTICS_ROLE = "pg_read_all_stats"

_LOCK_KEY = 0x776B_726F  # "wkro"
_LOCK = "SELECT pg_advisory_lock($1)"
_UNLOCK = "SELECT pg_advisory_unlock($1)"
_CREATE_OWNER = "CREATE ROLE wk_owner NOLOGIN NOINHERIT"
_EXISTING = "SELECT rolname::text AS name FROM pg_roles WHERE rolname = ANY($1::text[])"
_FORMAT_CREATE = "SELECT format('CREATE ROLE %I LOGIN NOINHERIT PASSWORD %L', $1::text, $2::text)"
_FORMAT_ALTER = "SELECT format('ALTER ROLE %I LOGIN NOINHERIT PASSWORD %L', $1::text, $2::text)"
_UNSAFE = """
SELECT rolname::text AS name FROM pg_roles
WHERE rolname = ANY($1::text[])
  AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication
       OR (rolname = 'wk_owner' AND rolcanlogin))
"""
_MEMBERSHIPS = """
SELECT member.rolname::text AS member, granted.rolname::text AS granted
FROM pg_auth_members m JOIN pg_roles member ON member.oid = m.member JOIN pg_roles granted ON granted.oid = m.roleid
WHERE member.rolname = ANY($1::text[])
"""
_GRANT_OWNER = "GRANT wk_owner TO wk_migrate"
_GRANT_STATISTICS = "ALTER ROLE wk_owner INHERIT; GRANT pg_read_all_stats TO wk_owner"
_AM_SUPERUSER = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
_GRANT_OWNER_TO_ME = "GRANT wk_owner TO CURRENT_USER"
_DATABASE_EXISTS = "SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)"
_FORMAT_CREATE_DATABASE = "SELECT format('CREATE DATABASE %I OWNER wk_owner', $1::text)"
_FORMAT_DATABASE_CLOSED = """
SELECT format(
  'REVOKE ALL ON DATABASE %1$I FROM PUBLIC;'
  'GRANT CONNECT ON DATABASE %1$I TO wk_migrate, wk_app, wk_ledger, wk_auth, wk_jobs, wk_backup;',
  $1::text)
"""
_CLOSE_PUBLIC_SCHEMA = "REVOKE ALL ON SCHEMA public FROM PUBLIC"


async def ensure_roles(connection: Connection, passwords: Mapping[str, Secret[str]]) -> None:
    """Make the roles where they are missing and set their passwords; doing it again changes nothing else.

    `connection` is an administrator's (CREATEROLE), `passwords` holds one for each of `LOGIN_ROLES`. Raises
    Misconfigured where a role of that name can do more than it should, naming the statement that mends it.
    """
    missing = [role for role in LOGIN_ROLES if role not in passwords]
    if missing:
        raise Misconfigured(f"A password is missing for: {', '.join(missing)}")
    verifiers = {role: await asyncio.to_thread(scram_verifier, passwords[role]) for role in LOGIN_ROLES}
    await connection.execute(_LOCK, _LOCK_KEY)
    try:
        async with connection.transaction():
            await _create_or_alter(connection, verifiers)
            await connection.execute(_GRANT_OWNER)
            await _grant_statistics(connection)
            if not await connection.fetchval(_AM_SUPERUSER):
                await connection.execute(_GRANT_OWNER_TO_ME)
            await _refuse_unsafe(connection)
    finally:
        await connection.execute(_UNLOCK, _LOCK_KEY)


async def ensure_database(connection: Connection, name: str) -> None:
    """Make the database `name`, owned by `wk_owner`, where it is missing, and take PUBLIC's rights on it.

    TEMP is among them. Its schema `public` is closed by `close_public`, from a connection to it.
    """
    if not await connection.fetchval(_DATABASE_EXISTS, name):
        await connection.execute(await connection.fetchval(_FORMAT_CREATE_DATABASE, name))
    await restrict_database(connection, name)


async def restrict_database(connection: Connection, name: str) -> None:
    """Take PUBLIC's rights on the database `name`; a copy by `CREATE DATABASE … TEMPLATE` inherits none of this."""
    await connection.execute(await connection.fetchval(_FORMAT_DATABASE_CLOSED, name))


async def close_public(connection: Connection) -> None:
    """Close the schema `public` of the connected database: nothing of ours lies there, nobody puts anything there."""
    await connection.execute(_CLOSE_PUBLIC_SCHEMA)


async def _create_or_alter(connection: Connection, verifiers: Mapping[str, str]) -> None:
    existing = {row["name"] for row in await connection.fetch(_EXISTING, list(ALL_ROLES))}
    if OWNER_ROLE not in existing:
        await connection.execute(_CREATE_OWNER)
    for role, verifier in verifiers.items():
        form = _FORMAT_ALTER if role in existing else _FORMAT_CREATE
        await connection.execute(await connection.fetchval(form, role, verifier))


async def _grant_statistics(connection: Connection) -> None:
    """Let the owner's functions tell sessions apart; where the administrator may not grant that, `doctor` says so."""
    with suppress(asyncpg.InsufficientPrivilegeError):
        async with connection.transaction():
            await connection.execute(_GRANT_STATISTICS)


async def _refuse_unsafe(connection: Connection) -> None:
    unsafe = sorted(row["name"] for row in await connection.fetch(_UNSAFE, list(ALL_ROLES)))
    if unsafe:
        raise Misconfigured(
            f"These roles may do too much: {', '.join(unsafe)}. As a superuser: ALTER ROLE … NOSUPERUSER NOBYPASSRLS "
            "NOCREATEROLE NOCREATEDB NOREPLICATION; (and NOLOGIN for wk_owner)"
        )
    for row in await connection.fetch(_MEMBERSHIPS, list(ALL_ROLES)):
        if (row["member"], row["granted"]) not in {("wk_migrate", OWNER_ROLE), (OWNER_ROLE, STATISTICS_ROLE)}:
            raise Misconfigured(
                f"{row['member']} is a member of {row['granted']}, which goes round the wall. As an administrator: "
                f"REVOKE {row['granted']} FROM {row['member']};"
            )
