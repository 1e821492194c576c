"""What is good once, shown by several requests at once: exactly one of them wins, and none fails otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from access.test_passkeys import Device, registered
from access.test_sign_in import EMAIL, PASSWORD, browser, sign_in, step_back, with_app, with_password
from api.stack import Stack, stack
from database import Database

MANY = 4


@pytest.fixture
async def opened(database: Database) -> AsyncIterator[Stack]:
    async with stack(database) as process:
        yield process


@pytest.fixture
async def tenant(opened: Stack) -> UUID:
    return await opened.tenant("st-elsewhere")


async def race(client: httpx.AsyncClient, url: str, *bodies: dict[str, Any]) -> list[int]:
    """Send them all at once, each from a browser of its own; returns the statuses, in order of their number."""
    client.cookies.clear()
    answers = await asyncio.gather(*(client.post(url, json=body) for body in bodies))
    client.cookies.clear()
    return sorted(answer.status_code for answer in answers)


async def sessions(opened: Stack) -> int:
    async with opened.database.connect() as connection:
        count: int = await connection.fetchval("SELECT count(*) FROM access.session WHERE ended_at IS NULL")
        return count


async def test_a_ticket_an_apps_code_and_a_recovery_code_are_won_once(opened: Stack, tenant: UUID) -> None:
    await with_password(opened, tenant, "coach")
    url = "/v1/session/factor"
    async with opened.client() as client:
        headers, app = await with_app(opened, client)
        client.cookies.clear()
        codes = (await client.post("/v1/account/recovery-codes", headers=headers)).json()["codes"]
        before = await sessions(opened)
        await step_back(opened)
        ticket = (await sign_in(client)).json()["ticket"]
        same = {"ticket": ticket, "code": app.now()}
        assert await race(client, url, *[same] * MANY) == [200, *[401] * (MANY - 1)], "one ticket, one code"
        tickets = [(await sign_in(client)).json()["ticket"] for _ in range(MANY)]
        await step_back(opened)
        code = app.now()
        raced = await race(client, url, *({"ticket": one, "code": code} for one in tickets))
        assert raced == [200, *[401] * (MANY - 1)], "one code, as many tickets"
        ticket = (await sign_in(client)).json()["ticket"]
        raced = await race(client, url, *({"ticket": ticket, "recovery_code": code} for code in codes[:MANY]))
        assert raced == [200, *[401] * (MANY - 1)], "one ticket, as many recovery codes"
        left = (await client.get("/v1/account", headers=headers)).json()["recovery_codes_left"]
        assert left == 9, "what lost used none up"
        tickets = [(await sign_in(client)).json()["ticket"] for _ in range(MANY)]
        raced = await race(client, url, *({"ticket": one, "recovery_code": codes[9]} for one in tickets))
        assert raced == [200, *[401] * (MANY - 1)], "one recovery code, as many tickets"
    assert await sessions(opened) == before + 4


async def test_a_link_is_won_once(opened: Stack, tenant: UUID) -> None:
    made = await opened.accounts.people.invite(
        opened.operator, tenant=tenant, email=EMAIL, name="Robin Doe", roles=["coach"]
    )
    assert made.invitation.token is not None
    token = made.invitation.token.reveal()
    bodies = [{"token": token, "password": f"{PASSWORD} {number}"} for number in range(MANY)]
    async with opened.client() as client:
        assert await race(client, "/v1/invitations/accept", *bodies) == [200, *[401] * (MANY - 1)]
        right = [(await sign_in(client, password=body["password"])).status_code for body in bodies]
    assert sorted(right) == [200, *[401] * (MANY - 1)], "one password was kept"


async def test_a_passkeys_signature_is_won_once(opened: Stack, tenant: UUID) -> None:
    await with_password(opened, tenant, "coach")
    device = Device()
    async with opened.client() as client:
        await registered(client, browser(await sign_in(client)), device)
        before = await sessions(opened)
        asked = (await client.post("/v1/session/passkey/challenge")).json()
        body = {"challenge": asked["challenge"], "credential": device.sign(asked["options"])}
        assert await race(client, "/v1/session/passkey", *[body] * MANY) == [200, *[401] * (MANY - 1)]
    assert await sessions(opened) == before + 1


async def test_a_reset_and_taking_its_link_at_once_leave_one_of_them(opened: Stack, tenant: UUID) -> None:
    """Both hold the person's row first, so that neither waits for the other with a row that it wants."""
    who = await with_password(opened, tenant, "coach")
    people = opened.accounts.people
    for _ in range(MANY):
        token = (await people.reset(opened.operator, tenant=tenant, person=who)).invitation.token
        assert token is not None
        body = {"token": token.reveal(), "password": PASSWORD}
        async with opened.client() as client:
            taken, again = await asyncio.gather(
                client.post("/v1/invitations/accept", json=body),
                people.reset(opened.operator, tenant=tenant, person=who),
            )
            assert taken.status_code in {200, 401}, taken.text
            assert again.invitation.token is not None
            assert (await sign_in(client)).status_code == 401, "the reset came last, or the link was void"


async def test_a_factor_that_is_removed_while_it_is_shown_ends_in_one_or_the_other(opened: Stack, tenant: UUID) -> None:
    """Showing holds the factor's row, removing the person's: each takes the person's first."""
    await with_password(opened, tenant, "coach")
    async with opened.client() as client, opened.client() as other:
        headers, app = await with_app(opened, client)
        client.cookies.clear()
        factor = (await client.get("/v1/account", headers=headers)).json()["factors"][0]["id"]
        await step_back(opened)
        ticket = (await sign_in(other)).json()["ticket"]
        removed, shown = await asyncio.gather(
            client.delete(f"/v1/account/factors/{factor}", headers=headers),
            other.post("/v1/session/factor", json={"ticket": ticket, "code": app.now()}),
        )
    assert removed.status_code == 200, removed.text
    assert shown.status_code in {200, 401}, shown.text
    assert await sessions(opened) == 1, "whoever was first, what the factor began has ended"
