"""No key goes while anything is wrapped under it, and nothing is wrapped under one that is gone: tried at once."""

from __future__ import annotations

import asyncio
from uuid import UUID

import asyncpg
import pytest

from database import Database
from keys.rotation.rig import Rolling, never
from wellkeep.base.ids import uuid7
from wellkeep.db.connection import Connection

INSERT = (
    "INSERT INTO keys.subject_key (tenant_id, subject_id, generation, kid, wrapped, wrap_epoch) "
    "VALUES ($1, $2, 1, uuid_send($2), decode(repeat('00', 79), 'hex'), $3)"
)
STEP_DOWN = "UPDATE keys.tenant_key SET state = 'decrypt_only' WHERE purpose = $1"
DESTROY = "UPDATE keys.tenant_key SET state = 'destroyed', wrapped = '' WHERE purpose = $1 AND epoch = 1"
RETIRE = "UPDATE keys.tenant_key SET state = 'retired' WHERE purpose = $1 AND epoch = 1"
DELETE = "DELETE FROM keys.tenant_key WHERE purpose = $1 AND epoch = 1"
BLOB = (
    "INSERT INTO vault.blob (tenant_id, id, kind, wrapped, epoch, created_at, expires_at) "
    "VALUES ($1, $2, 'export', decode(repeat('00', 95), 'hex'), 1, now(), now() + interval '1 day')"
)


async def wrapped(connection: Connection, purpose: str, tenant: UUID) -> None:
    if purpose == "WRAP":
        await connection.execute(INSERT, tenant, uuid7(), 1)
    else:
        await connection.execute(BLOB, tenant, uuid7())


@pytest.mark.parametrize("statement", [DESTROY, RETIRE, DELETE], ids=["destroy", "retire", "delete"])
@pytest.mark.parametrize("purpose", ["WRAP", "FILE"])
async def test_a_key_stays_while_a_row_is_on_its_way(roller: Rolling, purpose: str, statement: str) -> None:
    """The row is not committed when the key is to go: whoever retires waits, then sees it."""
    database, tenant = roller.stack.database, roller.stack.tenant
    async with database.entered(tenant) as writer:
        await wrapped(writer, purpose, tenant)

        async def retire() -> None:
            async with database.entered(tenant) as connection:
                await connection.execute(statement, purpose)

        retiring = asyncio.create_task(retire())
        await asyncio.sleep(0.2)
        assert not retiring.done()
    with pytest.raises(asyncpg.PostgresError) as refused:
        await retiring
    assert refused.value.sqlstate == "WK033"


@pytest.mark.parametrize("purpose", ["WRAP", "FILE"])
async def test_nothing_is_wrapped_under_a_key_that_is_going(roller: Rolling, purpose: str) -> None:
    """The key's end is not committed when the row comes: it waits, and is refused."""
    database, tenant = roller.stack.database, roller.stack.tenant
    async with database.entered(tenant) as connection:
        await connection.execute(DESTROY, purpose)

        async def write() -> None:
            async with database.entered(tenant) as writer:
                await wrapped(writer, purpose, tenant)

        writing = asyncio.create_task(write())
        await asyncio.sleep(0.2)
        assert not writing.done()
    with pytest.raises(asyncpg.PostgresError) as refused:
        await writing
    assert refused.value.sqlstate == "WK032"


async def test_a_row_is_not_moved_to_a_key_that_is_gone(roller: Rolling) -> None:
    stack = roller.stack
    await roller.patients(1)
    await roller.engine().run(await roller.begun(), never)
    async with stack.database.entered(stack.tenant) as connection:
        with pytest.raises(asyncpg.PostgresError) as refused:
            await connection.execute("UPDATE keys.subject_key SET wrap_epoch = 1")
    assert refused.value.sqlstate == "WK032"


async def test_an_epoch_is_not_retired_while_a_key_is_on_its_way(roller: Rolling, database: Database) -> None:
    stack = roller.stack
    async with database.connect() as superuser:
        await superuser.execute(
            "UPDATE keys.epoch SET state = 'decrypt_only'; INSERT INTO keys.epoch (epoch) VALUES (2)"
        )
    with pytest.raises(asyncpg.PostgresError) as refused:
        async with database.entered(UUID("00000000-0000-7000-8000-000000000000")) as connection:
            await connection.execute("SELECT keys.retire_epoch(1, now())")
    assert refused.value.sqlstate == "WK031"
    assert stack.tenant
