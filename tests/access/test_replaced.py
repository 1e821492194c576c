"""Signing in where somebody is signed in already: the browser has one session, and the one before has ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import httpx
import pytest

from access.signed_in import joined, sent_by, session
from access.test_sign_in import browser, sign_in, step_back, with_app, with_password
from api.stack import Stack, entries, stack
from database import Database


@pytest.fixture
async def opened(database: Database) -> AsyncIterator[Stack]:
    async with stack(database) as process:
        yield process


@pytest.fixture
async def tenant(opened: Stack) -> UUID:
    return await opened.tenant("st-elsewhere")


async def test_signing_in_ends_the_session_that_this_browser_had(opened: Stack, tenant: UUID) -> None:
    """ASVS 7.2.4; what a browser forgets here must not go on for whoever copied it."""
    await with_password(opened, tenant, "coach")
    other = sent_by(await session(opened, tenant, await joined(opened, tenant, "coach"), ip=None))
    async with opened.client() as client:
        first = browser(await sign_in(client))
        beside = browser(await sign_in(client))
        for before in (first, other):
            client.headers = httpx.Headers({"Cookie": before["Cookie"]})
            wrong = await sign_in(client, password="another thing altogether")
            assert wrong.status_code == 401
            client.headers = httpx.Headers({"Cookie": before["Cookie"], "Origin": "https://evil.example"})
            assert (await sign_in(client)).status_code == 403
            client.headers = httpx.Headers()
            assert (await client.get("/v1/session", headers=before)).status_code == 200, "nobody was signed in"
            client.headers = httpx.Headers({"Cookie": before["Cookie"]})
            headers = browser(await sign_in(client))
            client.headers = httpx.Headers()
            assert (await client.get("/v1/session", headers=before)).status_code == 401
            assert (await client.get("/v1/session", headers=headers)).status_code == 200
        assert (await client.get("/v1/session", headers=beside)).status_code == 200, "another browser's goes on"
        client.headers = httpx.Headers({"Cookie": f"__Host-wk_session={'0' * 32}.{'0' * 64}"})
        assert (await sign_in(client)).status_code == 200, "what was ended, or planted, is no trouble"
    async with opened.database.connect() as connection:
        rows = await connection.fetch("SELECT ended_because FROM access.session WHERE ended_at IS NOT NULL")
    assert {row["ended_because"] for row in rows} == {"replaced"}
    ended = [event for event in await entries(opened, tenant) if event["action"] == "session.ended"]
    assert len(ended) == 2


async def test_a_second_factor_ends_the_session_that_this_browser_had_and_its_ticket_none(
    opened: Stack, tenant: UUID
) -> None:
    await with_password(opened, tenant, "coach")
    async with opened.client() as client:
        headers, app = await with_app(opened, client)
        await step_back(opened)
        client.headers = httpx.Headers({"Cookie": headers["Cookie"]})
        ticket = (await sign_in(client)).json()["ticket"]
        client.headers = httpx.Headers()
        assert (await client.get("/v1/session", headers=headers)).status_code == 200
        client.headers = httpx.Headers({"Cookie": headers["Cookie"]})
        client.cookies.clear()
        again = await client.post("/v1/session/factor", json={"ticket": ticket, "code": app.now()})
        assert again.status_code == 200
        client.headers = httpx.Headers()
        assert (await client.get("/v1/session", headers=headers)).status_code == 401
