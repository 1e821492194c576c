"""The deployment's keys: made once, read before any tenant can be entered, worthless under another root key."""

from __future__ import annotations

import asyncio
from uuid import UUID

import asyncpg
import pytest

from database import Database
from local_keys import a_root
from wellkeep.base.errors import Misconfigured
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db.context import ContextKey, install
from wellkeep.keys.deployment import DeploymentKeys, load_deployment, provision_deployment
from wellkeep.keys.kms import OneRoot
from wellkeep.keys.local import LocalKms


@pytest.fixture
def kms() -> LocalKms:
    return a_root()


def secrets_of(keys: DeploymentKeys) -> list[bytes]:
    return [key.secret.reveal() for key in (keys.seal, keys.context, keys.cursors[0])]


async def made(database: Database, kms: LocalKms) -> DeploymentKeys:
    async with database.connect("wk_migrate") as connection:
        return await provision_deployment(connection, OneRoot(kms))


async def test_two_inits_at_once_make_one_set(database: Database, kms: LocalKms) -> None:
    sets = await asyncio.gather(*(made(database, kms) for _ in range(4)))
    assert len({tuple(secrets_of(keys)) for keys in sets}) == 1
    assert len(set(secrets_of(sets[0]))) == 3
    assert "Secret(redacted)" in repr(sets[0])


@pytest.mark.parametrize("role", ["wk_app", "wk_ledger", "wk_auth", "wk_jobs"])
async def test_each_serving_role_loads_them_without_a_tenant(database: Database, kms: LocalKms, role: str) -> None:
    keys = await made(database, kms)
    async with database.connect(role) as connection:
        assert secrets_of(await load_deployment(connection, OneRoot(kms))) == secrets_of(keys)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT * FROM keys.tenant_key")


async def test_the_context_key_signs_what_the_database_believes(
    database: Database, kms: LocalKms, tenant: UUID
) -> None:
    keys = await made(database, kms)
    context_key = ContextKey(keys.context.secret)
    async with database.connect("wk_migrate") as connection:
        await install(connection, context_key)
    async with database.connect("wk_app") as connection, connection.transaction():
        now = await connection.fetchval("SELECT date_part('epoch', clock_timestamp())")
        token = context_key.mint(tenant=tenant, pid=connection.get_server_pid(), now=now)
        await connection.execute("SELECT wk.enter($1)", token)
        assert await connection.fetchval("SELECT wk.tenant()") == tenant


async def test_another_root_key_altered_rows_and_no_rows_stop_the_start(database: Database, kms: LocalKms) -> None:
    async with database.connect("wk_app") as connection:
        with pytest.raises(Misconfigured, match="wellkeep init"):
            await load_deployment(connection, OneRoot(kms))
        await made(database, kms)
        with pytest.raises(Misconfigured, match="root key"):
            await load_deployment(connection, OneRoot(a_root()))
        async with database.connect() as administrator:
            await administrator.execute(
                "UPDATE keys.tenant_key a SET wrapped = b.wrapped FROM keys.tenant_key b "
                "WHERE a.purpose = 'SEAL' AND b.purpose = 'CONTEXT'"
            )
        with pytest.raises(Misconfigured, match="changed"):
            await load_deployment(connection, OneRoot(kms))


async def test_a_session_of_the_application_adds_no_key_of_the_deployment(database: Database) -> None:
    """SQL injected under the platform's own context could otherwise bring a SEAL key that it knows."""
    statement = (
        "INSERT INTO keys.tenant_key (tenant_id, purpose, epoch, kid, commit_hash, wrapped, root) "
        "VALUES ($1, 'SEAL', 2, $2, $3, $4, 'local:x')"
    )
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with database.entered(PLATFORM_TENANT) as connection:
            await connection.execute(statement, PLATFORM_TENANT, bytes(16), bytes(32), bytes(63))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with database.connect("wk_app") as connection:
            await connection.execute(
                "SELECT keys.add_deployment_key('SEAL', 2, $1, $2, $3, 'local:x')", bytes(16), bytes(32), bytes(63)
            )
