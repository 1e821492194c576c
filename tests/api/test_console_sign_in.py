"""Promise: signing in on a page takes the same steps as at the API, without a script, and leads nowhere but here."""

from __future__ import annotations

import re
from uuid import UUID

import httpx
import pyotp
import pytest

from access.signed_in import joined, sent_by, session
from api.stack import Stack, entries
from wellkeep.base.ids import PLATFORM_TENANT

EMAIL, PASSWORD = "robin@example.org", "seven violet otters juggle maps"
FORM = {"tenant": "st-elsewhere", "email": EMAIL, "password": PASSWORD}
HTML = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
OURS = HTML | {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
async def tenant(opened: Stack) -> UUID:
    return await opened.tenant("st-elsewhere")


@pytest.fixture
async def robin(opened: Stack, tenant: UUID) -> UUID:
    """Return a person who took an invitation and set a password."""
    people = opened.accounts.people
    made = await people.invite(opened.operator, tenant=tenant, email=EMAIL, name="Robin Doe", roles=("clinician",))
    assert made.invitation.token is not None
    body = {"token": made.invitation.token.reveal(), "password": PASSWORD}
    async with opened.client() as client:
        assert (await client.post("/v1/invitations/accept", json=body)).status_code == 200
    return made.person


async def with_app(opened: Stack, tenant: UUID, person: UUID) -> pyotp.TOTP:
    """Set an authenticator app up for `person`; the step that confirmed it lies thirty seconds back."""
    headers = sent_by(await session(opened, tenant, person, mfa=False, ip=None))
    async with opened.client() as client:
        planned = (await client.post("/v1/account/totp", json={}, headers=headers)).json()
        app = pyotp.TOTP(planned["secret"])
        body = {"id": planned["id"], "code": app.now()}
        assert (await client.post("/v1/account/totp/confirm", json=body, headers=headers)).status_code == 200
    async with opened.database.connect() as connection:
        await connection.execute("UPDATE access.factor SET last_step = last_step - 2")
    return app


def hidden(answer: httpx.Response, name: str) -> str:
    """Return what a hidden input of the page holds."""
    found = re.search(f'name="{name}" value="([^"]*)"', answer.text)
    assert found is not None
    return found[1]


async def test_a_form_signs_in_and_leads_back_to_the_page_that_was_asked_for(opened: Stack, robin: UUID) -> None:
    async with opened.client() as browser:
        asked = await browser.get("/console/account", headers=HTML)
        assert (asked.status_code, hidden(asked, "back")) == (401, "/console/account")
        done = await browser.post("/sign-in", data=FORM | {"back": hidden(asked, "back")}, headers=OURS)
        assert (done.status_code, done.headers["location"], done.content) == (303, "/console/account", b"")
        page = await browser.get("/console/account", headers=HTML)
        assert page.status_code == 200
        assert EMAIL in page.text
        assert (await browser.get("/v1/session")).json()["person"] == str(robin)


@pytest.mark.usefixtures("robin")
@pytest.mark.parametrize(
    "wanted",
    [
        "", "https://evil.example/console", "//evil.example/console", "/console//evil.example", "/console/../v1",
        "/console\\evil", "/v1/session", "/console?x=y", "/console\r\nSet-Cookie: x=y", "javascript:alert(1)",
    ],
    ids=["none", "other", "no-scheme", "slashes", "dots", "backslash", "api", "query", "header", "script"],
)  # fmt: skip
async def test_nobody_is_led_elsewhere(opened: Stack, wanted: str) -> None:
    async with opened.client() as browser:
        done = await browser.post("/sign-in", data=FORM | {"back": wanted}, headers=OURS)
    assert (done.status_code, done.headers["location"]) == (303, "/console")


@pytest.mark.usefixtures("robin")
async def test_whatever_is_wrong_is_said_in_the_same_words(opened: Stack) -> None:
    told = set()
    async with opened.client() as browser:
        for wrong in ({"password": "another thing"}, {"email": "nobody@example.org"}, {"tenant": "nowhere"}):
            answer = await browser.post("/sign-in", data=FORM | wrong, headers=OURS)
            assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
            assert (wrong.get("password") or PASSWORD) not in answer.text, "what is secret is never shown again"
            told.add(re.search('role="alert">([^<]+)<', answer.text)[1])  # type: ignore[index]
    assert told == {"The tenant, the e-mail or the password is not right"}


async def test_the_second_factor_is_asked_for_on_a_page_of_its_own(opened: Stack, tenant: UUID, robin: UUID) -> None:
    app = await with_app(opened, tenant, robin)
    async with opened.client() as browser:
        asked = await browser.post("/sign-in", data=FORM | {"back": "/console/ledger"}, headers=OURS)
        assert (asked.status_code, "set-cookie" in asked.headers) == (200, False)
        shown = {"ticket": hidden(asked, "ticket"), "back": hidden(asked, "back")}
        code = app.now()
        refused = await browser.post("/sign-in/factor", data=shown | {"code": "no code"}, headers=OURS)
        assert (refused.status_code, hidden(refused, "ticket")) == (401, shown["ticket"])
        spaced = f"{code[:3]} {code[3:]}"
        done = await browser.post("/sign-in/factor", data=shown | {"code": spaced}, headers=OURS)
        assert (done.status_code, done.headers["location"]) == (303, "/console/ledger")
        assert (await browser.get("/v1/session")).json()["second_factor"] is True


async def test_a_recovery_code_does_in_its_place(opened: Stack, tenant: UUID, robin: UUID) -> None:
    await with_app(opened, tenant, robin)
    headers = sent_by(await session(opened, tenant, robin, ip=None))
    async with opened.client() as browser:
        codes = (await browser.post("/v1/account/recovery-codes", headers=headers)).json()["codes"]
        browser.cookies.clear()
        asked = await browser.post("/sign-in", data=FORM, headers=OURS)
        shown = {"ticket": hidden(asked, "ticket"), "recovery_code": f" {codes[0]} ", "code": ""}
        done = await browser.post("/sign-in/factor", data=shown, headers=OURS)
        assert (done.status_code, done.headers["location"]) == (303, "/console")


@pytest.mark.usefixtures("robin")
async def test_another_sites_form_signs_nobody_in(opened: Stack) -> None:
    """Signing somebody in as somebody else is an attack, too; the refusal is a page, and no cookie."""
    async with opened.client() as browser:
        for forged in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
            answer = await browser.post("/sign-in", data=FORM, headers=HTML | forged)
            assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
            assert "Send this from our own pages" in answer.text


@pytest.mark.parametrize(
    "body",
    [
        "tenant=a&tenant=b", "tenant=a&role=administrator", "password=" + "x" * 4097, "tenant=%ff%fe",
        "&".join(f"a{number}=b" for number in range(20)), "\u00e9",
    ],
    ids=["twice", "unknown", "long", "no-utf8", "many", "no-ascii"],
)  # fmt: skip
@pytest.mark.parametrize("where", ["/sign-in", "/sign-in/factor"])
async def test_what_is_no_form_of_ours_is_refused_before_anything_is_looked_up(
    opened: Stack, body: str, where: str
) -> None:
    headers = OURS | {"Content-Type": "application/x-www-form-urlencoded"}
    async with opened.client() as browser:
        answer = await browser.post(where, content=body.encode(), headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "text/html; charset=utf-8")
    assert "administrator" not in answer.text
    failures = [event for event in await entries(opened, PLATFORM_TENANT) if event["action"] == "auth.failed"]
    assert failures == []


async def test_who_guesses_is_slowed_down_in_words(opened: Stack, tenant: UUID) -> None:
    await joined(opened, tenant, "clinician", email=EMAIL)
    async with opened.client() as browser:
        for _ in range(40):
            answer = await browser.post("/sign-in", data=FORM | {"password": "a guess"}, headers=OURS)
            if answer.status_code == 429:
                break
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert "Sign in" in answer.text


async def test_the_link_of_an_invitation_has_a_page_and_no_server_sees_it(opened: Stack, tenant: UUID) -> None:
    people = opened.accounts.people
    made = await people.invite(opened.operator, tenant=tenant, email=EMAIL, name="Robin Doe", roles=())
    address = httpx.URL(made.invitation.link("localhost") or "")
    async with opened.client() as browser:
        page = await browser.get(address.path, headers=HTML)
    assert (page.status_code, address.fragment != "") == (200, True)
    assert 'data-act="POST /v1/invitations/accept"' in page.text
