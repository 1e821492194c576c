"""The database's clock is set, an hour forward and back: what ends still ends, and what was used stays used."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from access.signed_in import joined, sent_by, session
from access.test_passkeys import Device, registered
from access.test_sign_in import forget_tries, sign_in, step_back, with_app, with_password
from api.stack import Stack, stack
from database import Database
from wellkeep.access import totp
from wellkeep.base.clock import SystemClock

HOUR = 3_600


@pytest.fixture
async def opened(database: Database) -> AsyncIterator[Stack]:
    async with stack(database) as process:
        yield process


@pytest.fixture
async def tenant(opened: Stack) -> UUID:
    return await opened.tenant("st-elsewhere")


async def rows_moved(opened: Stack, seconds: int) -> None:
    """Move what was written: by +3,600, as if the clock had been an hour ahead then and was set back since."""
    async with opened.database.connect() as connection:
        for statement in (
            (
                "UPDATE access.ticket SET created_at = created_at + $1 * interval '1 second',"
                " expires_at = expires_at + $1 * interval '1 second'"
            ),
            (
                "UPDATE access.challenge SET created_at = created_at + $1 * interval '1 second',"
                " expires_at = expires_at + $1 * interval '1 second'"
            ),
            "UPDATE access.factor SET last_step = last_step + $1 / 30 WHERE last_step IS NOT NULL",
            (
                "UPDATE access.session SET created_at = created_at + $1 * interval '1 second',"
                " proved_at = proved_at + $1 * interval '1 second', expires_at = expires_at + $1 * interval '1 second',"
                " idle_until = idle_until + $1 * interval '1 second' WHERE ended_at IS NULL"
            ),
        ):
            await connection.execute(statement, seconds)


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
async def test_tickets_and_challenges_end_whichever_way_it_is_set(opened: Stack, tenant: UUID, seconds: int) -> None:
    await with_password(opened, tenant, "coach")
    device = Device()
    async with opened.client() as client:
        headers, app = await with_app(opened, client)
        await registered(client, headers, device)
        await step_back(opened)
        ticket = (await sign_in(client)).json()["ticket"]
        asked = (await client.post("/v1/session/passkey/challenge")).json()
        await rows_moved(opened, seconds)
        if seconds > 0:
            async with opened.database.connect() as connection:
                await connection.execute("UPDATE access.factor SET last_step = NULL")
        shown = await client.post("/v1/session/factor", json={"ticket": ticket, "code": app.now()})
        body = {"challenge": asked["challenge"], "credential": device.sign(asked["options"])}
        signed = await client.post("/v1/session/passkey", json=body)
    assert (shown.status_code, signed.status_code) == (401, 401)


async def test_a_code_that_was_used_is_never_good_again(opened: Stack, tenant: UUID) -> None:
    """Used while the clock was ahead: until that time comes again no code is taken, and recovery codes still are."""
    await with_password(opened, tenant, "coach")
    async with opened.client() as client:
        headers, app = await with_app(opened, client)
        codes = (await client.post("/v1/account/recovery-codes", headers=headers)).json()["codes"]
        async with opened.database.connect() as connection:
            await connection.execute("UPDATE access.factor SET last_step = last_step + $1", HOUR // 30)
        for seconds in (-30, 0, 30, HOUR):
            ticket = (await sign_in(client)).json()["ticket"]
            body = {"ticket": ticket, "code": app.at(int(SystemClock().seconds()) + seconds)}
            assert (await client.post("/v1/session/factor", json=body)).status_code == 401
        await forget_tries(opened)
        ticket = (await sign_in(client)).json()["ticket"]
        body = {"ticket": ticket, "recovery_code": codes[0]}
        assert (await client.post("/v1/session/factor", json=body)).status_code == 200


async def test_a_code_is_taken_for_one_step_before_and_one_after_and_no_more(opened: Stack, tenant: UUID) -> None:
    who = await with_password(opened, tenant, "coach")
    async with opened.client() as client:
        _, app = await with_app(opened, client)
    doors = opened.accounts.doors
    for _ in range(20):  # until no step ended while it was tried
        taken = list[int]()
        first = await _step(opened)
        for offset in (-2, -1, 0, 1, 2, 120, -120):
            async with opened.database.connect() as connection:
                await connection.execute("UPDATE access.factor SET last_step = NULL")
            async with doors.app_pool.tenant_transaction(tenant=tenant) as connection:
                code = app.generate_otp(first + offset)
                if await totp.use(connection, doors.secrets, tenant=tenant, person=who, code=code) is not None:
                    taken.append(offset)
        if await _step(opened) == first:
            break
    assert taken == [-1, 0, 1]


async def test_no_session_outlives_its_end_and_none_is_fresh_by_what_is_yet_to_come(
    opened: Stack, tenant: UUID
) -> None:
    who = await joined(opened, tenant, "administrator")
    headers = sent_by(await session(opened, tenant, who, ip=None))
    over = sent_by(await session(opened, tenant, who, ip=None))
    async with opened.client() as client:
        await rows_moved(opened, HOUR)
        here = (await client.get("/v1/session", headers=headers)).json()
        assert (here["second_factor"], here["fresh"]) == (True, False)
        stepped = await client.post("/v1/account/recovery-codes", headers=headers)
        assert (stepped.status_code, stepped.json()["type"]) == (403, "/problems/step-up-required")
        async with opened.database.connect() as connection:
            longest = await connection.fetchval("SELECT max(expires_at - created_at) = '12 hours' FROM access.session")
            await connection.execute(
                "UPDATE access.session SET created_at = created_at - interval '13 hours',"
                " expires_at = clock_timestamp(), idle_until = clock_timestamp() + interval '1 hour'"
            )
        assert longest
        assert (await client.get("/v1/account", headers=headers)).status_code == 401, "remembered, and asked again"
        assert (await client.get("/v1/session", headers=over)).status_code == 401


async def _step(opened: Stack) -> int:
    async with opened.database.connect() as connection:
        step: int = await connection.fetchval("SELECT floor(extract(epoch FROM clock_timestamp()) / 30)::bigint")
        return step
