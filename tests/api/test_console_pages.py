"""Promise: a page shows what its reader could have asked the API for, runs nothing but its own script, and no more."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from access.signed_in import browser, joined, sent_by, session
from api.requests import PUBLIC
from api.stack import Stack, entries
from wellkeep.api.headers import SECURITY
from wellkeep.assembly import ledger_search
from wellkeep.base.permissions import Permission
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.web.console import PLACES
from wellkeep.web.rendering import static

HTML = {"Accept": "text/html"}
PAGES = [route for route in PUBLIC if route.tag == "console" and route.renders and route.method == "GET"]
NAME = "<script>alert(1)</script>\"'<img src=x onerror=alert(2)>"
STRICT = re.compile(
    r"default-src 'none'; script-src 'nonce-([\w-]{22})'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    r"form-action 'self'; frame-ancestors 'none'; base-uri 'none'; "
    r"require-trusted-types-for 'script'; trusted-types 'none'"
)


@pytest.fixture
async def tenant(opened: Stack) -> UUID:
    return await opened.tenant("st-elsewhere")


def nonce(answer: httpx.Response) -> str:
    """Return the nonce of the one policy that the answer has; fails for any other policy."""
    (policy,) = answer.headers.get_list("content-security-policy")
    found = STRICT.fullmatch(policy)
    assert found is not None, policy
    return found[1]


async def noticed(opened: Stack, tenant: UUID, *, kind: Kind = Kind.SESSION_MOVED) -> None:
    key = finding_key(kind)
    await opened.findings.report(tenant, kind=kind, severity=Severity.HIGH, key=key, detail={"count": 1})


def places(page: httpx.Response) -> list[str]:
    """Return where the navigation leads."""
    found = re.search('<nav aria-label="Main">(.*?)</nav>', page.text, re.DOTALL)
    assert found is not None
    return re.findall('href="([^"]+)"', found[1])


async def test_every_page_goes_out_under_the_strict_policy_with_a_nonce_of_its_own(opened: Stack, tenant: UUID) -> None:
    headers = HTML | await browser(opened, tenant, "administrator", "privacy_officer")
    event = (await entries(opened, tenant))[0]["id"]
    seen = set()
    async with opened.client() as client:
        for route in PAGES:
            for sent in (headers, HTML):
                page = await client.get(route.path.replace("{event_id}", str(event)), headers=sent)
                seen.add(nonce(page))
                ours = rf'<script nonce="{nonce(page)}" src="/console/files/(console(?:-\w+)?\.js)" defer></script>'
                scripts = re.findall(ours, page.text)
                assert scripts[0] == "console.js"
                assert len(scripts) == page.text.count("<script")
                assert not re.search(r'\son\w+="|style="|javascript:', page.text), "nothing inline"
                for name, value in SECURITY:
                    if name != b"content-security-policy":
                        assert page.headers[name.decode()] == value.decode()
    assert len(seen) == 2 * len(PAGES) > 10


async def test_who_has_not_signed_in_is_asked_to_and_a_program_gets_a_problem(opened: Stack) -> None:
    async with opened.client() as stranger:
        page = await stranger.get("/console/ledger", headers=HTML)
        program = await stranger.get("/console/ledger")
        both = await stranger.get("/console/ledger", headers={"Accept": "application/json, text/html;q=0.9"})
    assert (page.status_code, page.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert 'action="/sign-in"' in page.text
    assert 'name="back" value="/console/ledger"' in page.text
    for answer in (program, both):
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")


async def test_now_shows_each_role_its_own_and_offers_no_page_that_is_closed(opened: Stack, tenant: UUID) -> None:
    await noticed(opened, tenant)
    async with opened.client() as client:
        officer = await client.get("/console", headers=HTML | await browser(opened, tenant, "privacy_officer"))
        coach = await client.get("/console", headers=HTML | await browser(opened, tenant, "coach"))
    assert places(officer) == [one.path for one in PLACES if one.name != "Break-glass"]
    assert places(coach) == ["/console", "/console/records", "/console/account"]
    assert "session.moved" in officer.text
    assert "1 thing needs somebody" in officer.text
    assert "session.moved" not in coach.text
    assert "Open findings" not in coach.text


async def test_what_a_page_offers_is_asked_of_the_policy_and_enters_nothing(opened: Stack, tenant: UUID) -> None:
    headers = await browser(opened, tenant, "coach")
    async with opened.client() as client:
        await client.get("/v1/session", headers=headers)
        before = await entries(opened, tenant)
        assert (await client.get("/console", headers=HTML | headers)).status_code == 200
    new = (await entries(opened, tenant))[len(before) :]
    assert {(event["action"], event["outcome"]) for event in new} <= {("account.read", "authorised")}


async def test_an_administrator_without_a_second_factor_is_told_where_to_set_one_up(
    opened: Stack, tenant: UUID
) -> None:
    headers = HTML | await browser(opened, tenant, "administrator", "privacy_officer", mfa=False)
    async with opened.client() as client:
        now = await client.get("/console", headers=headers)
        ledger = await client.get("/console/ledger", headers=headers)
    assert (now.status_code, places(now)) == (200, ["/console", "/console/account"])
    assert ledger.status_code == 403
    assert '<a href="/console/account">Set up a second factor</a>' in ledger.text
    nonce(ledger)


async def test_the_ledger_is_searched_by_a_form_and_read_page_by_page(opened: Stack, tenant: UUID) -> None:
    headers = HTML | await browser(opened, tenant, "privacy_officer")
    async with opened.client() as client:
        empty = "action=&outcome=&purpose=&actor=&subject=&since=&until="
        for _ in range(51):
            page = await client.get(f"/console/ledger?{empty}", headers=headers)
        assert len(re.findall('scope="row"', page.text)) == 50
        older = re.search('rel="next" href="([^"]+)"', page.text)
        assert older is not None
        rest = await client.get(older[1].replace("&amp;", "&"), headers=headers)
        found = await client.get("/console/ledger?action=session.started&outcome=", headers=headers)
        nothing = await client.get("/console/ledger?since=2019-01-01T00:00&until=2019-01-02T00:00", headers=headers)
        wrong = await client.get("/console/ledger?action=no.such", headers=headers)
        no_day = await client.get("/console/ledger?since=2019-02-31T00:00", headers=headers)
    assert set(_events(rest)).isdisjoint(_events(page))
    assert len(_events(rest)) > 0
    assert set(re.findall("<code>([a-z.]+)</code>", found.text)) == {"session.started"}
    assert "No entry fits" in nothing.text
    assert (wrong.status_code, no_day.status_code) == (422, 422)


async def test_an_entry_is_shown_with_all_that_it_says_and_its_proof(opened: Stack, tenant: UUID) -> None:
    headers = HTML | await browser(opened, tenant, "privacy_officer")
    stranger = HTML | await browser(opened, await opened.tenant("northside"), "privacy_officer")
    event: dict[str, Any] = (await entries(opened, tenant))[-1]
    async with opened.client() as client:
        page = await client.get(f"/console/ledger/{event['id']}", headers=headers)
        theirs = await client.get(f"/console/ledger/{event['id']}", headers=stranger)
    assert page.status_code == 200
    for value in (event["id"], event["action"], event["actor"]["id"], event["request"], "false"):
        assert f"<code>{value}</code>" in page.text
    assert f'href="/v1/ledger/entries/{event["id"]}/proof"' in page.text
    assert (theirs.status_code, event["action"] in theirs.text) == (404, False)


async def test_what_somebody_stored_is_text_on_every_page(opened: Stack, tenant: UUID) -> None:
    who = await joined(opened, tenant, "privacy_officer")
    async with opened.database.entered(tenant) as connection:
        await connection.execute("UPDATE access.person SET name = $2 WHERE id = $1", who, NAME)
    headers = HTML | sent_by(await session(opened, tenant, who, ip=None))
    async with opened.client() as client:
        for path in ("/console", "/console/ledger", "/console/account"):
            page = await client.get(path, headers=headers)
            assert page.status_code == 200
            assert "&lt;script&gt;alert(1)" in page.text, path
            assert not {"<script>", "<img src=x"} & set(re.findall("<script>|<img src=x", page.text)), path


async def test_findings_are_a_tenants_own(opened: Stack, tenant: UUID) -> None:
    other = await opened.tenant("northside")
    await noticed(opened, tenant)
    await noticed(opened, other, kind=Kind.KEYS_STALE)
    async with opened.client() as client:
        headers = await browser(opened, tenant, "privacy_officer")
        (found,) = (await client.get("/v1/findings", headers=headers)).json()["findings"]
        refused = await client.get("/v1/findings", headers=await browser(opened, tenant, "coach"))
    assert (found["kind"], found["severity"], found["count"]) == ("session.moved", "high", 1)
    assert refused.status_code == 403


async def test_the_files_are_what_they_say_and_there_are_no_others(opened: Stack) -> None:
    async with opened.client() as client:
        for name, media in (
            ("console.css", "text/css"),
            ("wellkeep.css", "text/css"),
            ("console.js", "text/javascript"),
        ):
            answer = await client.get(f"/console/files/{name}")
            assert (answer.content, answer.headers["content-type"]) == (static(name), f"{media}; charset=utf-8")
        for name in ("secrets.toml", "..%2fconsole.py", "LICENSE"):
            assert (await client.get(f"/console/files/{name}")).status_code == 404


def test_a_page_in_the_navigation_is_opened_by_the_permission_that_it_names() -> None:
    routes = {route.path: route.permission for route in PAGES}
    assert {place.path: place.permission for place in PLACES} == {
        path: permission for path, permission in routes.items() if path in {place.path for place in PLACES}
    }
    assert Permission.ACCOUNT_ENROL in routes.values()


def _events(page: httpx.Response) -> list[str]:
    return re.findall(r'href="/console/ledger/([0-9a-f-]{36})"', page.text)


async def test_an_entry_stands_between_its_neighbours_and_says_who_by_name(opened: Stack, tenant: UUID) -> None:
    headers = HTML | await browser(opened, tenant, "privacy_officer")
    async with opened.client() as client:
        for _ in range(3):
            assert (await client.get("/v1/findings", headers=headers)).status_code == 200
        made = [one for one in await entries(opened, tenant) if one["action"] == "finding.read"]
        page = await client.get(f"/console/ledger/{made[1]['id']}", headers=headers)
        first = await client.get(f"/console/ledger/{(await entries(opened, tenant))[0]['id']}", headers=headers)
    assert page.status_code == 200, page.text
    for beside in (made[0], made[2]):
        assert f'href="/console/ledger/{beside["id"]}"' in page.text
    assert re.search("UTC, Robin Doe", page.text)
    assert "it is the first" in first.text


async def test_the_week_is_drawn_of_what_is_in_the_log(opened: Stack, tenant: UUID) -> None:
    headers = HTML | await browser(opened, tenant, "privacy_officer")
    async with opened.client() as client:
        page = await client.get("/console/ledger", headers=headers)
        filtered = await client.get("/console/ledger?outcome=denied", headers=headers)
    told = re.search(r'aria-label="(\d+) entries in the last seven days', page.text)
    assert told is not None
    before = len(await entries(opened, tenant)) - 2
    assert 3 < int(told[1]) <= before
    assert 'class="heat"' not in filtered.text


async def test_only_hours_that_are_over_are_remembered(
    opened: Stack, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = HTML | await browser(opened, tenant, "privacy_officer")

    async def total() -> int:
        page = await client.get("/console/ledger", headers=headers)
        told = re.search(r'aria-label="(\d+) entries in the last seven days', page.text)
        assert told is not None
        return int(told[1])

    async with opened.client() as client:
        first, second = await total(), await total()
        assert second > first, "each look is an entry, and this hour is counted anew"
        monkeypatch.setattr(ledger_search, "_SETTLED", timedelta(hours=-2))
        third, fourth = await total(), await total()
        assert third == fourth > second, "what is remembered is not asked for again"
        opened.ledger_search._counted.clear()
        assert await total() > fourth
