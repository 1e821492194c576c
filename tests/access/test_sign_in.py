"""Signing in over the API: passwords, second factors, recovery codes, and what each of them refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import httpx
import pyotp
import pytest

from access.signed_in import joined, sent_by, session
from api.stack import Stack, entries, stack
from database import Database
from wellkeep.access.passwords import Hashed
from wellkeep.base.ids import PLATFORM_TENANT

EMAIL, PASSWORD = "robin@example.org", "vier Woerter die niemand sagt é"


@pytest.fixture
async def opened(database: Database) -> AsyncIterator[Stack]:
    async with stack(database) as process:
        yield process


@pytest.fixture
async def tenant(opened: Stack) -> UUID:
    return await opened.tenant("st-elsewhere")


async def with_password(opened: Stack, tenant: UUID, *roles: str, email: str = EMAIL) -> UUID:
    """Return a person who took an invitation, the way people do."""
    made = await opened.accounts.people.invite(
        opened.operator, tenant=tenant, email=email, name="Robin Doe", roles=roles
    )
    assert made.invitation.token is not None
    async with opened.client() as client:
        body = {"token": made.invitation.token.reveal(), "password": PASSWORD}
        answer = await client.post("/v1/invitations/accept", json=body)
    assert answer.json() == {"person": str(made.person)}, answer.text
    return made.person


async def sign_in(client: httpx.AsyncClient, **more: str) -> httpx.Response:
    """Sign in from a browser that was not here before; what comes along stands in the client's headers alone."""
    client.cookies.clear()
    body = {"tenant": "st-elsewhere", "email": EMAIL, "password": PASSWORD} | more
    return await client.post("/v1/session", json=body)


def browser(answer: httpx.Response) -> dict[str, str]:
    """Return the headers that a browser sends after `answer` signed it in."""
    assert answer.status_code == 200, answer.text
    jar = "; ".join(text.split(";")[0] for text in answer.headers.get_list("set-cookie"))
    return {"Cookie": jar, "X-CSRF-Token": answer.json()["csrf_token"], "Sec-Fetch-Site": "same-origin"}


async def step_back(opened: Stack) -> None:
    """Let thirty seconds go by for the apps: the step that was used lies one earlier."""
    async with opened.database.connect() as connection:
        await connection.execute("UPDATE access.factor SET last_step = last_step - 1 WHERE last_step IS NOT NULL")


async def forget_tries(opened: Stack) -> None:
    async with opened.database.connect() as connection:
        await connection.execute("DELETE FROM access.throttle")


async def with_app(opened: Stack, client: httpx.AsyncClient) -> tuple[dict[str, str], pyotp.TOTP]:
    """Sign in and set up an app; returns the headers of the session that came of it, and the app."""
    headers = browser(await sign_in(client))
    planned = (await client.post("/v1/account/totp", json={}, headers=headers)).json()
    app = pyotp.TOTP(planned["secret"])
    assert pyotp.parse_uri(planned["uri"]).secret == planned["secret"]
    assert planned["qr"].startswith("data:image/svg+xml;")
    body = {"id": planned["id"], "code": app.now()}
    confirmed = await client.post("/v1/account/totp/confirm", json=body, headers=headers)
    assert (await client.get("/v1/session", headers=headers)).status_code == 401, "the id is new"
    return browser(confirmed), app


async def test_a_password_signs_in_with_a_cookie_no_script_and_no_other_site_has(opened: Stack, tenant: UUID) -> None:
    who = await with_password(opened, tenant, "coach")
    async with opened.client() as client:
        answer = await sign_in(client)
        found = answer.json()
        assert (found["person"], found["tenant"], "ticket" in found) == (str(who), str(tenant), False)
        cookie = next(text for text in answer.headers.get_list("set-cookie") if "wk_session" in text)
        assert cookie.startswith("__Host-wk_session=")
        assert cookie.endswith("; Path=/; Secure; HttpOnly; SameSite=Lax")
        headers = browser(answer)
        here = (await client.get("/v1/session", headers=headers)).json()
        assert (here["person"], here["roles"], here["second_factor"]) == (str(who), ["coach"], False)
        assert here["csrf_token"] == headers["X-CSRF-Token"]
        assert (await client.get("/v1/collections", headers=headers)).status_code == 200
        assert (await client.delete("/v1/session", headers=headers)).status_code == 204
        assert (await client.get("/v1/session", headers=headers)).status_code == 401
    told = str(await entries(opened, tenant)) + str(await entries(opened, PLATFORM_TENANT)) + opened.log.getvalue()
    assert EMAIL not in told
    assert "Robin" not in told


async def test_whatever_is_wrong_of_the_first_factor_gets_the_same_answer(opened: Stack, tenant: UUID) -> None:
    await with_password(opened, tenant, "coach")
    await opened.accounts.people.invite(
        opened.operator, tenant=tenant, email="sam@example.org", name="Sam", roles=["coach"]
    )
    told = []
    async with opened.client() as client:
        for wrong in (
            {"password": "another thing altogether"},
            {"email": "nobody@example.org"},
            {"tenant": "nowhere"},
            {"email": "sam@example.org"},
            {"tenant": "platform"},
        ):
            answer = await sign_in(client, **wrong)
            problem = answer.json()
            problem.pop("request_id")
            told.append((answer.status_code, problem, answer.headers.get_list("set-cookie")))
    assert told[0][0] == 401
    assert all(one == told[0] for one in told)
    failures = [event for event in await entries(opened, PLATFORM_TENANT) if event["action"] == "auth.failed"]
    assert len(failures) == 1, "the others of this minute are counted"
    async with opened.database.connect() as connection:
        assert await connection.fetchval("SELECT count(*) FROM access.session") == 0


async def test_an_app_is_asked_for_and_no_code_is_good_twice(opened: Stack, tenant: UUID) -> None:
    await with_password(opened, tenant, "administrator")
    async with opened.client() as client:
        first = browser(await sign_in(client))
        refused = await client.get("/v1/users", headers=first)
        assert (refused.status_code, refused.json()["type"]) == (403, "/problems/second-factor-required")
        assert (await client.get("/v1/account", headers=first)).status_code == 200
        headers, app = await with_app(opened, client)
        assert (await client.get("/v1/users", headers=headers)).status_code == 200
        asked = (await sign_in(client)).json()
        assert asked["factors"] == ["totp", "recovery_code"]
        ticket = asked["ticket"]
        again = await client.post("/v1/session/factor", json={"ticket": ticket, "code": app.now()})
        assert again.status_code == 401, "the code that confirmed it is used up"
        await step_back(opened)
        right = await client.post("/v1/session/factor", json={"ticket": ticket, "code": app.now()})
        assert right.json()["second_factor"] is True
        twice = await client.post("/v1/session/factor", json={"ticket": ticket, "code": app.now()})
        assert twice.status_code == 401, "neither ticket nor code is good twice"
        await step_back(opened)
        assert (await sign_in(client, code=app.now())).json()["second_factor"] is True
        with_session = {**browser(right)}
        assert (await client.get("/v1/users", headers=with_session)).status_code == 200


async def test_a_ticket_has_five_tries(opened: Stack, tenant: UUID) -> None:
    await with_password(opened, tenant, "coach")
    async with opened.client() as client:
        _, app = await with_app(opened, client)
        await step_back(opened)
        ticket = (await sign_in(client)).json()["ticket"]
        for _ in range(5):
            answer = await client.post("/v1/session/factor", json={"ticket": ticket, "code": "000000"})
            assert answer.status_code == 401
            await forget_tries(opened)
        answer = await client.post("/v1/session/factor", json={"ticket": ticket, "code": app.now()})
        assert answer.status_code == 401
        for _ in range(
            12
        ):  # each wait is twice as long as the one before: the sixth or, on a slow machine, a later one
            ticket = (await sign_in(client)).json()["ticket"]
            answer = await client.post("/v1/session/factor", json={"ticket": ticket, "code": "000000"})
            if answer.status_code == 429:
                break
        assert answer.status_code == 429, "other tickets do not help"
        assert int(answer.headers["retry-after"]) >= 1


async def test_recovery_codes_are_good_once_and_told_of(opened: Stack, tenant: UUID) -> None:
    who = await with_password(opened, tenant, "coach")
    async with opened.client() as client:
        headers = browser(await sign_in(client))
        none = await client.post("/v1/account/recovery-codes", headers=headers)
        assert none.status_code == 409, "they stand in for a factor"
        headers, _ = await with_app(opened, client)
        codes = (await client.post("/v1/account/recovery-codes", headers=headers)).json()["codes"]
        assert len(set(codes)) == 10
        ticket = (await sign_in(client)).json()["ticket"]
        body = {"ticket": ticket, "recovery_code": codes[3].upper()}
        assert (await client.post("/v1/session/factor", json=body)).json()["second_factor"] is True
        ticket = (await sign_in(client)).json()["ticket"]
        assert (await client.post("/v1/session/factor", json=body | {"ticket": ticket})).status_code == 401
        await opened.findings.flush()
        found = [(str(one.kind), one.detail) for one in await opened.findings.list(tenant)]
        assert ("factor.recovered", {"person": str(who)}) in found
        assert "factor.recovered" in {event["action"] for event in await entries(opened, tenant)}
        assert (await client.get("/v1/account", headers=headers)).json()["recovery_codes_left"] == 9


async def test_a_stolen_session_adds_and_removes_no_factor(opened: Stack, tenant: UUID) -> None:
    who = await joined(opened, tenant, "administrator")
    async with opened.client() as client:
        await opened.accounts.people.change(opened.operator, tenant=tenant, person=who, email=EMAIL)
        first = sent_by(await session(opened, tenant, who, mfa=False, ip=None))
        other = sent_by(await session(opened, tenant, who, mfa=False, ip=None))
        planned = (await client.post("/v1/account/totp", json={}, headers=first)).json()
        body = {"id": planned["id"], "code": pyotp.TOTP(planned["secret"]).now()}
        fresh = browser(await client.post("/v1/account/totp/confirm", json=body, headers=first))
        assert (await client.get("/v1/session", headers=other)).status_code == 401, "the other sessions have ended"
        stale = sent_by(await session(opened, tenant, who, fresh=False, ip=None))
        factor = (await client.get("/v1/account", headers=stale)).json()["factors"][0]["id"]
        for method, url, sent in (
            ("POST", "/v1/account/totp", {}),
            ("POST", "/v1/account/passkeys/challenge", None),
            ("POST", "/v1/account/recovery-codes", None),
            ("DELETE", f"/v1/account/factors/{factor}", None),
        ):
            answer = await client.request(method, url, json=sent, headers=stale)
            assert (answer.status_code, answer.json()["type"]) == (403, "/problems/step-up-required"), url
        last = await client.delete(f"/v1/account/factors/{factor}", headers=fresh)
        assert last.status_code == 409, "an administrator keeps one"
        wrong = await client.post("/v1/session/step-up", json={"code": "000000"}, headers=stale)
        assert wrong.status_code == 422
        await step_back(opened)
        code = pyotp.TOTP(planned["secret"]).now()
        proved = browser(await client.post("/v1/session/step-up", json={"code": code}, headers=stale))
        assert (await client.get("/v1/session", headers=stale)).status_code == 401
        assert (await client.get("/v1/session", headers=proved)).json()["fresh"] is True
        assert (await client.post("/v1/account/totp", json={}, headers=proved)).status_code == 200


async def test_the_first_factor_is_set_up_by_who_signed_in_just_now(opened: Stack, tenant: UUID) -> None:
    """Nothing was shown but the password: a cookie that was stolen later must not bind the account to the thief."""
    await with_password(opened, tenant, "coach")
    async with opened.client() as client:
        headers = browser(await sign_in(client))
        planned = (await client.post("/v1/account/totp", json={}, headers=headers)).json()
        for seconds in (-601, 3_600):
            async with opened.database.connect() as connection:
                moved = "UPDATE access.session SET created_at = clock_timestamp() + $1 * interval '1 second'"
                await connection.execute(moved, seconds)
            confirming = {"id": planned["id"], "code": pyotp.TOTP(planned["secret"]).now()}
            adding = {"challenge": planned["id"], "credential": {}, "name": "Key"}
            for url, sent in (
                ("/v1/account/totp", {}),
                ("/v1/account/totp/confirm", confirming),
                ("/v1/account/passkeys/challenge", None),
                ("/v1/account/passkeys", adding),
            ):
                answer = await client.post(url, json=sent, headers=headers)
                assert (answer.status_code, answer.json()["type"]) == (403, "/problems/step-up-required"), url
                assert answer.json()["detail"].startswith("Sign in anew"), url
        headers = browser(await sign_in(client))
        answer = await client.post("/v1/account/totp/confirm", json=confirming, headers=headers)
        assert answer.status_code == 200


async def test_a_stale_session_of_a_provider_s_second_factor_makes_itself_fresh_by_none(
    opened: Stack, tenant: UUID
) -> None:
    """A provider showed the factor, none of ours is there yet: a stolen cookie must not add one and step up by it."""
    person = await joined(opened, tenant, "administrator")
    begun = await session(opened, tenant, person, mfa=True, fresh=False, ip=None)
    async with opened.client() as client:
        headers = sent_by(begun)
        planned = await client.post("/v1/account/totp", json={}, headers=headers)
        passkey = await client.post("/v1/account/passkeys/challenge", headers=headers)
    for answer in (planned, passkey):
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/step-up-required")


async def test_another_password_ends_the_other_sessions_and_needs_this_one(opened: Stack, tenant: UUID) -> None:
    await with_password(opened, tenant, "coach")
    async with opened.client() as client:
        here, there = browser(await sign_in(client)), browser(await sign_in(client))
        url, new = "/v1/account/password", "another four words entirely"
        wrong = await client.post(url, json={"current": "x", "password": new}, headers=here)
        assert wrong.status_code == 422, wrong.text
        assert wrong.json()["errors"] == [{"path": "/current", "code": "not-allowed"}]
        weak = await client.post(url, json={"current": PASSWORD, "password": "Robin.Doe 2026"}, headers=here)
        assert weak.json()["errors"] == [{"path": "/password", "code": "password-weak"}]
        changed = await client.post(url, json={"current": PASSWORD, "password": new}, headers=here)
        assert (await client.get("/v1/session", headers=browser(changed))).status_code == 200
        for ended in (here, there):
            assert (await client.get("/v1/session", headers=ended)).status_code == 401
        assert (await sign_in(client)).status_code == 401
        assert (await sign_in(client, password=new)).status_code == 200


async def test_a_password_changed_and_a_factor_removed_make_no_session_fresher(opened: Stack, tenant: UUID) -> None:
    """Who has the password and a session must not keep the second factor shown for ever by changing it again."""
    await with_password(opened, tenant, "coach")
    async with opened.client() as client:
        headers, _ = await with_app(opened, client)
        factor = (await client.get("/v1/account", headers=headers)).json()["factors"][0]["id"]
        planned = (await client.post("/v1/account/totp", json={"name": "other"}, headers=headers)).json()
        body = {"id": planned["id"], "code": pyotp.TOTP(planned["secret"]).now()}
        headers = browser(await client.post("/v1/account/totp/confirm", json=body, headers=headers))
        async with opened.database.connect() as connection:
            await connection.execute("UPDATE access.session SET proved_at = proved_at - interval '5 minutes'")
            proved = await connection.fetchval("SELECT proved_at FROM access.session WHERE ended_at IS NULL")
        body = {"current": PASSWORD, "password": "another four words entirely"}
        headers = browser(await client.post("/v1/account/password", json=body, headers=headers))
        headers = browser(await client.delete(f"/v1/account/factors/{factor}", headers=headers))
        async with opened.database.connect() as connection:
            now = await connection.fetchval("SELECT proved_at FROM access.session WHERE ended_at IS NULL")
        assert now == proved


async def test_a_link_is_good_once_and_a_reset_takes_what_was(opened: Stack, tenant: UUID) -> None:
    who = await with_password(opened, tenant, "coach")
    people = opened.accounts.people
    async with opened.client() as client:
        here = browser(await sign_in(client))
        older = (await people.reset(opened.operator, tenant=tenant, person=who)).invitation.token
        link = (await people.reset(opened.operator, tenant=tenant, person=who)).invitation.token
        assert older is not None
        assert link is not None
        assert (await client.get("/v1/session", headers=here)).status_code == 401
        assert (await sign_in(client)).status_code == 401
        value = link.reveal()
        for wrong in (older.reveal(), value[:-1] + ("0" if value[-1] != "0" else "1"), "x", f"{who.hex}.{'0' * 64}"):
            answer = await client.post("/v1/invitations/accept", json={"token": wrong, "password": PASSWORD})
            assert answer.status_code == 401
        weak = await client.post("/v1/invitations/accept", json={"token": value, "password": "Sunshine2024!"})
        assert weak.json()["errors"] == [{"path": "/password", "code": "password-weak"}]
        good = {"token": value, "password": PASSWORD}
        assert (await client.post("/v1/invitations/accept", json=good)).status_code == 200
        assert (await client.post("/v1/invitations/accept", json=good)).status_code == 401
        assert (await sign_in(client)).status_code == 200
    async with opened.database.connect() as connection:
        await connection.execute("UPDATE access.person SET state = 'disabled', disabled_at = now()")
    async with opened.client() as client:
        assert (await sign_in(client)).status_code == 401


async def test_a_hash_of_less_work_is_made_anew(opened: Stack, tenant: UUID) -> None:
    await with_password(opened, tenant, "coach")
    doors = opened.accounts.doors
    doors.passwords._cost = 13
    try:
        assert doors.passwords.outdated(Hashed("$2b$12$" + "x" * 53, 1))
        async with opened.client() as client:
            assert (await sign_in(client)).status_code == 200
        async with opened.database.connect() as connection:
            stored = await connection.fetchval("SELECT hash FROM access.password")
        assert stored.startswith("$2b$13$")
        async with opened.client() as client:
            assert (await sign_in(client)).status_code == 200
    finally:
        doors.passwords._cost = 12


async def test_what_another_sites_page_sends_signs_nobody_in(opened: Stack, tenant: UUID) -> None:
    await with_password(opened, tenant, "coach")
    async with opened.client() as client:
        for foreign in (
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
        ):
            client.headers = httpx.Headers(foreign)
            assert (await sign_in(client)).status_code == 403
        client.headers = httpx.Headers({"Origin": "https://localhost"})
        assert (await sign_in(client)).status_code == 200
