"""Promise: a patient can be told who used their records, in words and on paper, and nothing else is given away."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest

from api.stack import Stack, entries
from wellkeep.api import disclosure_page
from wellkeep.api.disclosure_summary import bars, totals
from wellkeep.api.headers import known, wants_html
from wellkeep.assembly.disclosures import Accounting, Actor, Disclosure, Doing, Reason
from wellkeep.base.ids import uuid7

CHARTS = {
    "name": "charts",
    "subject": "required",
    "fields": [
        {"name": "birth_date", "type": "date", "class": "phi"},
        {"name": "family", "type": "string", "class": "pii"},
    ],
}
SECRET = "Xk9CanaryZq"
HOSTILE = "<script>alert(1)</script>\"'&"
_REFUSE = "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA ledger FROM wk_ledger"


async def charted(opened: Stack) -> tuple[UUID, str, str]:
    """Make a patient whose chart was stored, read and denied; return their tenant, their id and an officer's key."""
    tenant = await opened.tenant("northside")
    async with opened.client(await opened.key(tenant, "administrator", "integration", "clinician")) as client:
        assert (await client.post("/v1/collections", json=CHARTS)).status_code == 201
        person = (await client.post("/v1/subjects")).json()["id"]
        body = {"subject": person, "fields": {"birth_date": "1956-08-01", "family": SECRET}}
        made = await client.post("/v1/collections/charts/records", json=body)
        chart = f"/v1/collections/charts/records/{made.json()['id']}"
        read = await client.get(chart, headers={"X-Purpose-Of-Use": "TREAT"})
        assert read.json()["fields"]["family"] == SECRET
    async with opened.client(await opened.key(tenant, "auditor")) as denied:
        assert (await denied.get(chart)).status_code == 403
    return tenant, person, await opened.key(tenant, "privacy_officer")


def where(person: str) -> str:
    return f"/v1/subjects/{person}/disclosures"


async def test_json_names_the_program_what_it_did_and_the_entry(opened: Stack) -> None:
    tenant, person, key = await charted(opened)
    async with opened.client(key) as officer:
        answer = await officer.get(where(person), headers={"X-Purpose-Of-Use": "PATRQT"})
        again = (await officer.get(where(person))).json()
    found = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert (found["subject"], found["merged"], found["cursor"]) == (person, [], None)
    assert [(one["what"]["action"], one["outcome"]) for one in found["disclosures"]] == [
        ("record.read", "denied"),
        ("record.read", "authorised"),
        ("record.create", "done"),
        ("subject.create", "done"),
    ]
    denied, read = found["disclosures"][:2]
    assert read["who"]["name"] == "a-test"
    assert read["who"]["words"] == "the program “a-test” (roles administrator, integration, clinician)"
    assert read["what"]["words"] == "read 2 fields of your record in “charts”: birth date, family"
    assert read["why"] | {"rule": ""} == {"purpose": "TREAT", "words": "treatment", "rule": ""}
    assert denied["why"]["rule"] == "deny:no-role/record:read"
    entered = {event["id"]: event for event in await entries(opened, tenant)}
    assert {one["id"] for one in found["disclosures"]} <= set(entered)
    newest = again["disclosures"][0]
    assert (newest["what"]["action"], newest["why"]["purpose"]) == ("subject.disclosures", "PATRQT")
    assert entered[newest["id"]]["count"] == 4
    assert SECRET not in answer.text


async def test_a_denied_change_that_is_about_nobody_yet_is_an_entry_and_no_disclosure(opened: Stack) -> None:
    """As the how-to says: it was refused before anybody looked whose it is, and nothing of anybody's was disclosed."""
    tenant, person, key = await charted(opened)
    body = {"subject": person, "fields": {"birth_date": "1956-08-01"}}
    records = "/v1/collections/charts/records"
    async with opened.client(await opened.key(tenant, "auditor")) as denied:
        answers = [
            await denied.post(f"{records}/batch", json={"records": [body]}),
            await denied.put(f"{records}/by-external-id/m1", json=body),
            await denied.post(records, json=body),
        ]
    assert [answer.status_code for answer in answers] == [403] * 3
    async with opened.client(key) as officer:
        found = (await officer.get(where(person))).json()["disclosures"]
    told = [one["what"]["action"] for one in found if one["outcome"] == "denied"]
    assert told == ["record.create", "record.read"], "of one record that names the patient it is told"
    entered = [event for event in await entries(opened, tenant) if event["outcome"] == "denied"]
    assert len(entered) == 4


async def test_the_page_is_whole_strict_and_gives_nothing_away(opened: Stack) -> None:
    _, person, key = await charted(opened)
    browser = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
    async with opened.client(key) as officer:
        shown = await officer.get(where(person), headers=browser)
        asked = await officer.get(where(person), params={"format": "html"})
        plain = await officer.get(where(person), params={"format": "json"}, headers=browser)
        paged = await officer.get(where(person), params={"format": "html", "limit": "5"})
    assert plain.headers["content-type"] == "application/json"
    assert (paged.status_code, paged.json()["errors"][0]["path"]) == (422, "query/limit")
    for answer in (shown, asked):
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert answer.headers["cache-control"] == "no-store"
        assert len(answer.headers.get_list("content-security-policy")) == 1
        assert SECRET not in answer.text
    text = shown.text
    style = re.findall(r"<style>(.*?)</style>", text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    policy = shown.headers["content-security-policy"]
    assert len(style) == 1
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"<script|<link|<img|<iframe| style=| on[a-z]+=|https?://|url\(|@import", text)
    assert "read 2 fields of your record in “charts”: birth date, family — for treatment." in text
    assert "The program “a-test” (role auditor) tried to read your record in “charts”; this was refused" in text
    assert "⊘ Refused" in text


async def test_other_tenants_other_roles_and_strangers(opened: Stack) -> None:
    _, person, _ = await charted(opened)
    other = await opened.tenant("southside")
    async with opened.client(await opened.key(other, "privacy_officer")) as stranger:
        for media in ("application/json", "text/html"):
            answer = await stranger.get(where(person), headers={"Accept": media})
            assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
        assert (await stranger.get(where("0198c0de-0000-7000-8000-00000000DEAD"))).status_code == 404
    async with opened.client(await opened.key(other, "integration")) as powerless:
        assert (await powerless.get(where(person))).status_code == 403
    async with opened.client() as nobody:
        assert (await nobody.get(where(person))).status_code == 401


@pytest.mark.parametrize("media", ["application/json", "text/html"])
async def test_a_ledger_that_refuses_answers_503_and_shows_nothing(opened: Stack, media: str) -> None:
    _, person, key = await charted(opened)
    async with opened.client(key) as officer:
        async with opened.database.connect() as connection:
            await connection.execute(_REFUSE)
        answer = await officer.get(where(person), headers={"Accept": media})
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/ledger-unavailable")
    assert "charts" not in answer.text
    assert "a-test" not in answer.text


async def test_pages_and_times(opened: Stack) -> None:
    _, person, key = await charted(opened)
    async with opened.client(key) as officer:
        first = (await officer.get(where(person), params={"limit": "2"})).json()
        rest = await officer.get(where(person), params={"limit": "2", "cursor": first["cursor"]})
        seen = [one["what"]["action"] for one in first["disclosures"] + rest.json()["disclosures"]]
        assert seen == ["record.read", "record.read", "record.create", "subject.create"]
        moment = first["disclosures"][-1]["time"]
        before = (await officer.get(where(person), params={"until": moment})).json()
        assert [one["what"]["action"] for one in before["disclosures"]] == ["record.create", "subject.create"]
        for wrong in ({"until": "2026-02-30T00:00:00Z"}, {"limit": "201"}, {"format": "pdf"}, {"untill": moment}):
            assert (await officer.get(where(person), params=wrong)).status_code == 422, wrong


async def test_entries_by_purpose_outcome_and_time(opened: Stack) -> None:
    _, person, key = await charted(opened)

    async def found(**params: str) -> list[str]:
        answer = await officer.get("/v1/ledger/entries", params=params)
        assert answer.status_code == 200, answer.text
        return [entry["event"]["action"] for entry in answer.json()["entries"]]

    async with opened.client(key) as officer:
        assert await found(purpose="TREAT") == ["record.read"]
        assert await found(outcome="denied", subject=person) == []
        assert await found(outcome="denied", action="access.denied") == ["access.denied"]
        assert await found(purpose="TREAT", outcome="done") == []
        assert await found(until="2020-01-01T00:00:00Z") == []
        assert await found(since="2020-01-01T00:00:00Z", until="2100-01-01T00:00:00Z", purpose="TREAT") == [
            "record.read"
        ]
        for wrong in ({"purpose": "TEA"}, {"outcome": "fine"}, {"until": "yesterday"}):
            assert (await officer.get("/v1/ledger/entries", params=wrong)).status_code == 422, wrong


def hostile(**changes: Any) -> Disclosure:
    """Return a disclosure whose every text would be markup."""
    plain = Disclosure(
        time=datetime(2026, 5, 3, 14, 2, tzinfo=UTC),
        who=Actor(type=HOSTILE, id=HOSTILE, name=HOSTILE, roles=(HOSTILE,), on_behalf_of=HOSTILE, words=HOSTILE),
        what=Doing(
            action="record.read", words=HOSTILE, collections=(HOSTILE,), fields=(HOSTILE,), records=(), count=None
        ),
        why=Reason(purpose=HOSTILE, words=HOSTILE, rule=HOSTILE),
        ip=HOSTILE,
        outcome="authorised",
        error=HOSTILE,
        subject=uuid7(),
        id=uuid7(),
        epoch=1,
        seq=2,
        request=uuid7(),
    )
    return msgspec.structs.replace(plain, **changes)


def accounting(told: list[Disclosure]) -> Accounting:
    moment = datetime(2026, 5, 4, tzinfo=UTC)
    since = moment - timedelta(days=2000)
    return Accounting(
        subject=uuid7(), merged=(uuid7(),), made_at=moment, since=since, until=None, disclosures=told, cursor=None
    )


def test_everything_on_the_page_is_escaped() -> None:
    page = disclosure_page.render(accounting([hostile()]), complete=True).decode()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    body = page.split("</style>")[1]
    assert not re.search(r"[^=]\"'", body)


def test_a_page_that_is_empty_or_not_all_of_it_says_so() -> None:
    empty = disclosure_page.render(accounting([]), complete=True).decode()
    assert "nothing was recorded about you" in empty
    assert "not all of it" not in empty
    part = disclosure_page.render(accounting([hostile()]), complete=False).decode()
    assert "This is not all of it." in part
    assert "back to 3 May 2026, 14:02" in part
    assert "until <strong>3 May 2026, 14:03</strong>" in part


def test_days_are_drawn_where_there_is_more_than_one() -> None:
    one = disclosure_page.render(accounting([hostile(), hostile()]), complete=True).decode()
    later = hostile(time=hostile().time + timedelta(days=1))
    two = disclosure_page.render(accounting([later, hostile()]), complete=True).decode()
    assert ("<svg" in one, two.count("<rect")) == (False, 2)


def test_each_entry_counts_in_one_sum() -> None:
    told = [
        hostile(),
        hostile(outcome="denied"),
        hostile(outcome="failed"),
        *(
            hostile(what=msgspec.structs.replace(hostile().what, action=action))
            for action in ("record.change", "subject.read", "record.import", "ledger.read", "export.download")
        ),
    ]
    assert totals(told) == (2, 2, 2, 2)
    days = [datetime(2026, month, 1, tzinfo=UTC).date() for month in (1, 1, 3)]
    assert bars(days) == ([2] + [0] * 58 + [1], "day")
    assert bars([*days, datetime(2026, 5, 9, tzinfo=UTC).date()]) == ([2, 0, 1, 0, 1], "month")


@pytest.mark.parametrize(
    ("accept", "page"),
    [
        (None, False),
        ("*/*", False),
        ("application/json", False),
        ("text/html", True),
        ("Text/HTML; charset=utf-8", True),
        ("text/html;q=0", False),
        ("text/html;q=0.5, application/json", False),
        ("text/html, application/json;q=0.9", True),
        ("text/html, application/json", False),
        ("text/html;q=nan", False),
        (",;,", False),
    ],
)
def test_which_of_the_two_is_wanted(accept: str | None, page: bool) -> None:  # noqa: FBT001 -- a parameter
    headers = httpx.Headers([] if accept is None else [("Accept", accept)])
    assert wants_html(known(headers.raw) if accept is None else known([(b"accept", accept.encode())])) is page
