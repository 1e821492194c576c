"""What is taken while somebody signs in with it: what was right a moment ago begins no session once it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import httpx
import pyotp
import pytest

from access.signed_in import browser as browser_of
from access.signed_in import joined, session
from access.test_passkeys import Device, registered
from access.test_sign_in import EMAIL, PASSWORD, browser, sign_in, step_back, with_app, with_password
from api.stack import Stack, stack
from database import Database
from wellkeep.access.leaving import Leaving
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.ledger.event import Action

Meanwhile = Callable[[], Awaitable[object]]
NEW = "another four words entirely"


@pytest.fixture
async def opened(database: Database) -> AsyncIterator[Stack]:
    async with stack(database) as process:
        yield process


@pytest.fixture
async def tenant(opened: Stack) -> UUID:
    return await opened.tenant("st-elsewhere")


def before(opened: Stack, action: Action, happens: Meanwhile, monkeypatch: pytest.MonkeyPatch) -> list[Action]:
    """Let something happen once before the gate decides on the next `action`; returns what was waited for."""
    decide, done = opened.gate.decide, list[Action]()

    async def deciding(caller: Caller, act: Act) -> Decision:
        if act.action is action and not done:
            done.append(act.action)
            await happens()
        return await decide(caller, act)

    monkeypatch.setattr(opened.gate, "decide", deciding)
    return done


async def live(opened: Stack) -> int:
    async with opened.database.connect() as connection:
        count: int = await connection.fetchval("SELECT count(*) FROM access.session WHERE ended_at IS NULL")
        return count


async def tickets(opened: Stack) -> int:
    async with opened.database.connect() as connection:
        count: int = await connection.fetchval("SELECT count(*) FROM access.ticket")
        return count


async def reset(opened: Stack, tenant: UUID, who: UUID) -> None:
    await opened.accounts.people.reset(opened.operator, tenant=tenant, person=who)


async def change(client: httpx.AsyncClient, headers: dict[str, str]) -> dict[str, str]:
    body = {"current": PASSWORD, "password": NEW}
    return browser(await client.post("/v1/account/password", json=body, headers=headers))


@pytest.mark.parametrize("how", ["reset", "changed", "changed and back"])
async def test_a_password_that_is_gone_when_the_session_begins_begins_none(
    opened: Stack, tenant: UUID, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    who = await with_password(opened, tenant, "coach")
    async with opened.client() as client, opened.client() as thief:
        own = browser(await sign_in(client))

        async def happens() -> None:
            if how == "reset":
                await reset(opened, tenant, who)
                return
            headers = await change(client, own)
            if how == "changed and back":
                body = {"current": NEW, "password": PASSWORD}
                assert (await client.post("/v1/account/password", json=body, headers=headers)).status_code == 200

        waited = before(opened, Action.SESSION_STARTED, happens, monkeypatch)
        answer = await sign_in(thief)
    assert waited == [Action.SESSION_STARTED]
    assert answer.json()["detail"].endswith("Sign in anew.")
    assert (answer.status_code, "set-cookie" in answer.headers) == (401, False), answer.text
    assert await live(opened) == (0 if how == "reset" else 1)


@pytest.mark.parametrize("how", ["reset", "changed"])
async def test_a_password_that_is_gone_while_it_is_hashed_gets_no_ticket(
    opened: Stack, tenant: UUID, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    who = await with_password(opened, tenant, "coach")
    async with opened.client() as client, opened.client() as thief:
        own, _ = await with_app(opened, client)
        right = opened.accounts.doors.throttle.right
        done = list[bool]()

        async def returning(*told: object, **more: int) -> None:
            if not done:
                done.append(True)
                await (reset(opened, tenant, who) if how == "reset" else change(client, own))
            await right(*told, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(opened.accounts.doors.throttle, "right", returning)
        answer = await sign_in(thief)
    assert done
    assert answer.status_code == 401, answer.text
    assert await tickets(opened) == 0


@pytest.mark.parametrize("how", ["reset", "changed", "all others ended", "removed and set up anew"])
async def test_a_ticket_dies_with_what_it_was_got_for(opened: Stack, tenant: UUID, how: str) -> None:
    who = await with_password(opened, tenant, "coach")
    async with opened.client() as client, opened.client() as thief:
        own, app = await with_app(opened, client)
        await step_back(opened)
        ticket = (await sign_in(thief)).json()["ticket"]
        if how == "reset":
            await reset(opened, tenant, who)
        elif how == "changed":
            await change(client, own)
        elif how == "all others ended":
            assert (await client.delete("/v1/account/sessions", headers=own)).status_code == 204
        else:
            factor = (await client.get("/v1/account", headers=own)).json()["factors"][0]["id"]
            own = browser(await client.delete(f"/v1/account/factors/{factor}", headers=own))
            planned = (await client.post("/v1/account/totp", json={}, headers=own)).json()
            app = pyotp.TOTP(planned["secret"])
            body = {"id": planned["id"], "code": app.now()}
            assert (await client.post("/v1/account/totp/confirm", json=body, headers=own)).status_code == 200
            await step_back(opened)
        answer = await thief.post("/v1/session/factor", json={"ticket": ticket, "code": app.now()})
        asked = await thief.post("/v1/session/factor/challenge", json={"ticket": ticket})
    assert (answer.status_code, asked.status_code) == (401, 401)
    assert await tickets(opened) == 0


@pytest.mark.parametrize("how", ["disabled", "left", "removed"])
async def test_who_is_gone_between_the_factor_and_the_session_gets_none(
    opened: Stack, tenant: UUID, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    who = await with_password(opened, tenant, "coach")
    async with opened.client() as client, opened.client() as thief:
        own, app = await with_app(opened, client)
        await step_back(opened)
        ticket = (await sign_in(thief)).json()["ticket"]

        async def happens() -> None:
            if how == "disabled":
                await opened.accounts.people.disable(opened.operator, tenant=tenant, person=who)
            elif how == "left":
                await Leaving(gate=opened.gate).leave(opened.operator, tenant=tenant, person=who)
            else:
                factor = (await client.get("/v1/account", headers=own)).json()["factors"][0]["id"]
                assert (await client.delete(f"/v1/account/factors/{factor}", headers=own)).status_code == 200

        before(opened, Action.SESSION_STARTED, happens, monkeypatch)
        answer = await thief.post("/v1/session/factor", json={"ticket": ticket, "code": app.now()})
    assert answer.status_code == 401, answer.text
    assert await live(opened) == (1 if how == "removed" else 0)


async def test_who_was_let_in_again_shows_the_password_again(opened: Stack, tenant: UUID) -> None:
    who = await with_password(opened, tenant, "coach")
    people = opened.accounts.people
    async with opened.client() as client:
        _, app = await with_app(opened, client)
        await step_back(opened)
        ticket = (await sign_in(client)).json()["ticket"]
        await people.disable(opened.operator, tenant=tenant, person=who)
        await people.enable(opened.operator, tenant=tenant, person=who)
        answer = await client.post("/v1/session/factor", json={"ticket": ticket, "code": app.now()})
        assert answer.status_code == 401


async def test_a_passkey_that_is_removed_between_its_signature_and_the_session_begins_none(
    opened: Stack, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_password(opened, tenant, "coach")
    async with opened.client() as client, opened.client() as thief:
        own = browser(await sign_in(client))
        device = Device()
        own = await registered(client, own, device)
        factor = (await client.get("/v1/account", headers=own)).json()["factors"][0]["id"]

        async def happens() -> None:
            assert (await client.delete(f"/v1/account/factors/{factor}", headers=own)).status_code == 200

        asked = (await thief.post("/v1/session/passkey/challenge")).json()
        waited = before(opened, Action.SESSION_STARTED, happens, monkeypatch)
        body = {"challenge": asked["challenge"], "credential": device.sign(asked["options"])}
        answer = await thief.post("/v1/session/passkey", json=body)
    assert waited
    assert answer.status_code == 401, answer.text
    assert await live(opened) == 1


async def test_recovery_codes_that_were_renewed_meanwhile_are_worthless(
    opened: Stack, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_password(opened, tenant, "coach")
    async with opened.client() as client, opened.client() as thief:
        own, _ = await with_app(opened, client)
        codes = (await client.post("/v1/account/recovery-codes", headers=own)).json()["codes"]
        ticket = (await sign_in(thief)).json()["ticket"]

        async def happens() -> None:
            assert (await client.post("/v1/account/recovery-codes", headers=own)).status_code == 200

        before(opened, Action.SESSION_STARTED, happens, monkeypatch)
        answer = await thief.post("/v1/session/factor", json={"ticket": ticket, "recovery_code": codes[0]})
    assert answer.status_code == 401


async def test_a_second_factor_that_is_demanded_meanwhile_is_demanded_of_the_new_session(
    opened: Stack, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_password(opened, tenant, "coach")
    administrator = await browser_of(opened, tenant, "administrator")
    async with opened.client() as client:

        async def happens() -> None:
            answer = await client.patch("/v1/rules", json={"second_factor": True}, headers=administrator)
            assert answer.status_code == 200, answer.text

        before(opened, Action.SESSION_STARTED, happens, monkeypatch)
        headers = browser(await sign_in(client))
        refused = await client.get("/v1/collections", headers=headers)
        assert (refused.status_code, refused.json()["type"]) == (403, "/problems/second-factor-required")


async def test_many_sign_ins_of_one_person_at_once_wait_for_each_other_and_none_fails(
    opened: Stack, tenant: UUID
) -> None:
    """Each locks the person's row and then notes when they were last seen: two must not wait for each other."""
    who = await joined(opened, tenant, "coach")
    begun = await asyncio.gather(*(session(opened, tenant, who, ip=None) for _ in range(12)))
    assert len({one.id for one in begun}) == 12


@pytest.mark.parametrize("state", ["invited", "active"])
async def test_a_link_is_void_once_the_address_was_corrected(opened: Stack, tenant: UUID, state: str) -> None:
    people = opened.accounts.people
    made = await people.invite(opened.operator, tenant=tenant, email=EMAIL, name="Robin Doe", roles=["coach"])
    token = made.invitation.token
    who = made.person
    assert token is not None
    async with opened.client() as client:
        if state == "active":
            body = {"token": token.reveal(), "password": PASSWORD}
            assert (await client.post("/v1/invitations/accept", json=body)).status_code == 200
            token = (await people.reset(opened.operator, tenant=tenant, person=who)).invitation.token
            assert token is not None
        await people.change(opened.operator, tenant=tenant, person=who, name="Robin Roe", email=EMAIL)
        async with opened.database.connect() as connection:
            assert await connection.fetchval("SELECT count(*) FROM access.invitation WHERE used_at IS NULL") == 1
        await people.change(opened.operator, tenant=tenant, person=who, email="robin.roe@example.org")
        answer = await client.post("/v1/invitations/accept", json={"token": token.reveal(), "password": NEW})
        assert answer.status_code == 401, "who has the mailbox that was named by mistake has nothing"
        token = (await people.reset(opened.operator, tenant=tenant, person=who)).invitation.token
        assert token is not None
        answer = await client.post("/v1/invitations/accept", json={"token": token.reveal(), "password": NEW})
        assert answer.status_code == 200
        assert (await sign_in(client, email="robin.roe@example.org", password=NEW)).status_code == 200
