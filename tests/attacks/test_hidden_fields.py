"""What a role does not see is not to be guessed: each way to ask after a hidden value answers alike, right or wrong."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from access.signed_in import browser
from api.stack import Stack, stack
from database import Database
from wellkeep.base.ids import uuid7

SECRET, GUESS, FREE = "Xk9Hidden", "Zq7Guess", "Vv3Free"
CHARTS = {
    "name": "charts",
    "subject": "self",
    "fields": [
        {"name": "desk", "type": "string", "class": "plain", "group": "administrative"},
        {"name": "ward", "type": "string", "class": "pii", "index": "exact", "group": "administrative"},
        {"name": "code", "type": "string", "class": "phi", "index": "exact"},
        {"name": "number", "type": "string", "class": "phi", "index": "unique"},
        {"name": "family", "type": "string", "class": "phi", "index": "prefix"},
        {"name": "note", "type": "text", "class": "phi"},
        {"name": "count", "type": "integer", "class": "phi"},
    ],
}
HIDDEN = ("code", "number", "family", "note", "count")
RECORDS = "/v1/collections/charts/records"
ROLE = {
    "permissions": ["record:read", "record:search", "record:change", "record:create", "record:delete"],
    "groups": ["administrative", "identifier"],
    "purposes": ["HOPERAT"],
    "default_purpose": "HOPERAT",
}
BY_NAME = {
    "permissions": ["record:read", "record:search", "record:change", "record:create", "record:delete"],
    "groups": ["administrative", "identifier", "clinical"],
    "hidden": [f"charts.{name}" for name in HIDDEN],
    "purposes": ["HOPERAT"],
    "default_purpose": "HOPERAT",
}


@dataclass
class Desk:
    """A tenant with one record, and somebody who sees no clinical field of it: by its groups, or field by field."""

    opened: Stack
    client: httpx.AsyncClient
    software: dict[str, str]
    heads: dict[str, dict[str, str]]
    record: str
    subject: str

    async def send(self, who: dict[str, str], method: str, url: str, body: Any = None, **more: str) -> httpx.Response:
        head = who | {name.replace("_", "-"): value for name, value in more.items()}
        return await self.client.request(method, url, json=body, headers=head)

    async def alike(self, answers: Sequence[httpx.Response], status: int) -> None:
        """Fail where answers differ in anything but the request's own id, or tell a value."""
        told = {(one.status_code, one.text.replace(one.headers["x-request-id"], "")) for one in answers}
        assert len(told) == 1, told
        assert answers[0].status_code == status, answers[0].text
        assert not any(word in one.text for one in answers for word in (SECRET, GUESS))


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    async with stack(database) as opened, opened.client() as client:
        tenant = await opened.tenant("northside")
        administrator = {"Authorization": f"Bearer {await opened.key(tenant, 'administrator')}"}
        software = {"Authorization": f"Bearer {await opened.key(tenant, 'integration')}"}
        assert (await client.post("/v1/collections", json=CHARTS, headers=administrator)).status_code == 201
        heads = {}
        for name, role in (("desk", ROLE), ("by_name", BY_NAME)):
            made = await client.put(f"/v1/roles/{name}", json=role, headers=administrator)
            assert made.is_success, made.text
            heads[f"{name} key"] = {"Authorization": f"Bearer {await opened.key(tenant, name)}"}
            heads[f"{name} person"] = await browser(opened, tenant, name)
        fields = {"desk": "A", "ward": "East"} | dict.fromkeys(HIDDEN[:-1], SECRET) | {"count": 7}
        url = f"{RECORDS}/by-external-id/{SECRET}"
        made = await client.put(url, json={"fields": fields}, headers=software)
        assert made.status_code == 201, made.text
        yield Desk(opened, client, software, heads, made.json()["id"], made.json()["subject"])
        assert SECRET not in opened.log.getvalue()


async def test_a_search_by_what_is_hidden_answers_the_same_whatever_is_asked(desk: Desk) -> None:
    for who in desk.heads.values():
        for name in HIDDEN:
            asked = (SECRET, GUESS, SECRET[:3], 7, 8, None, True, {"x": 1}, "")
            bodies: list[dict[str, Any]] = [{"where": {name: value}} for value in asked]
            bodies += [body | {"subject": desk.subject} for body in bodies]
            bodies += [{"where": {"ward": "East", name: SECRET}}, {"where": {"ward": "West", name: GUESS}}]
            bodies += [{"where": {name: SECRET}, "fields": ["desk"], "limit": 1, "cursor": "AQ"}]
            answers = [await desk.send(who, "POST", f"{RECORDS}/search", body) for body in bodies]
            await desk.alike(answers, 403)


async def test_no_order_no_filter_and_no_field_beside_those_declared(desk: Desk) -> None:
    for who in desk.heads.values():
        for extra in ("sort", "order_by", "filter", "group_by", "count", "offset"):
            answer = await desk.send(who, "POST", f"{RECORDS}/search", {"where": {}, extra: "code"})
            assert (answer.status_code, answer.json()["errors"]) == (422, [{"path": "/*", "code": "unknown-field"}])
        for query in ("sort=code", "where=code", "fields=desk&fields=code", "fields=*", "fields=desk,@external_id"):
            answer = await desk.send(who, "GET", f"{RECORDS}/{desk.record}?{query}")
            assert answer.status_code == 422, query


async def test_what_is_hidden_is_shown_by_no_name_no_revision_and_no_page(desk: Desk) -> None:
    names = ",".join(HIDDEN)
    for who in desk.heads.values():
        queries = ("", f"?fields={names}", "?revision=1", f"?fields=desk,{names}")
        urls = [f"{RECORDS}/{desk.record}{query}" for query in queries]
        shown = [(await desk.send(who, "GET", url)).json() for url in urls]
        bodies: list[dict[str, Any]] = [{"where": {}}, {"where": {"ward": "East"}, "fields": [*HIDDEN, "desk"]}]
        for body in bodies:
            shown += (await desk.send(who, "POST", f"{RECORDS}/search", body)).json()["records"]
        assert len(shown) == len(urls) + 2
        for record in shown:
            assert set(record["fields"]) <= {"desk", "ward"}
            assert set(record["withheld"]) == set(HIDDEN)
            assert SECRET not in str(record)


async def test_a_write_to_what_is_hidden_tells_neither_a_value_nor_that_it_is_taken(desk: Desk) -> None:
    for who in desk.heads.values():
        for name in HIDDEN:
            values = (SECRET, GUESS, 7, None, "x" * 2000, {"x": 1})
            fields = [{"fields": {name: value}} for value in values]
            created = [await desk.send(who, "POST", RECORDS, body) for body in fields]
            created += [await desk.send(who, "POST", RECORDS, body, idempotency_key=f"k{uuid7()}") for body in fields]
            created += [await desk.send(who, "POST", f"{RECORDS}/batch", {"records": [body]}) for body in fields]
            for external in (SECRET, GUESS):
                url = f"{RECORDS}/by-external-id/{external}"
                created += [await desk.send(who, "PUT", url, body) for body in fields]
            await desk.alike(created, 403)
            one = f"{RECORDS}/{desk.record}"
            changed = [await desk.send(who, "PATCH", one, body, if_match=f'"{n}"') for body in fields for n in (1, 2)]
            await desk.alike(changed, 403)
    untouched = (await desk.send(desk.software, "GET", f"{RECORDS}/{desk.record}")).json()
    assert (untouched["revision"], untouched["fields"]["code"]) == (1, SECRET)


async def test_a_put_of_what_is_seen_does_not_say_whether_the_rest_is_as_one_thinks(desk: Desk) -> None:
    """The content that is compared is of what the caller sees; the rest counts as it is stored, whatever it says."""
    for who in desk.heads.values():
        url = f"{RECORDS}/by-external-id/{SECRET}"
        outcomes = []
        for count in (7, 8, 8):
            fields = {"desk": "A", "ward": "East"} | dict.fromkeys(HIDDEN[:-1], SECRET) | {"count": count}
            assert (await desk.send(desk.software, "PUT", url, {"fields": fields})).status_code == 200
            before = (await desk.send(who, "GET", f"{RECORDS}/{desk.record}")).json()["revision"]
            put = await desk.send(who, "PUT", url, {"fields": {"desk": "A", "ward": "East"}})
            outcomes.append((put.status_code, put.json()["revision"] - before))
        assert len(set(outcomes)) == 1, outcomes


async def test_the_answer_to_anothers_request_is_not_told_to_who_knows_its_key(desk: Desk) -> None:
    body = {"fields": {"number": FREE}}
    first = await desk.send(desk.software, "POST", RECORDS, body, idempotency_key="the-same")
    assert first.status_code == 201
    for who in desk.heads.values():
        for sent in (body, {"fields": {"desk": "B"}}):
            answer = await desk.send(who, "POST", RECORDS, sent, idempotency_key="the-same")
            assert first.json()["id"] not in answer.text
    officer = await browser(desk.opened, await _tenant(desk), "clinician")
    assert (await desk.send(officer, "POST", RECORDS, body, idempotency_key="the-same")).status_code == 409


async def test_a_cursor_is_of_one_query_and_opens_nothing_that_the_query_would_not(desk: Desk) -> None:
    for _ in range(3):
        await desk.send(desk.software, "POST", RECORDS, {"fields": {"desk": "C", "ward": "East", "code": SECRET}})
    search = f"{RECORDS}/search"
    by_code = {"where": {"code": SECRET}, "limit": 1}
    privileged = (await desk.send(desk.software, "POST", search, by_code)).json()["cursor"]
    everything = (await desk.send(desk.software, "POST", search, {"where": {}, "limit": 1})).json()["cursor"]
    raw = bytearray(base64.urlsafe_b64decode(everything + "=" * (-len(everything) % 4)))
    forged = []
    for place in range(len(raw)):
        changed = bytearray(raw)
        changed[place] ^= 1
        forged.append(base64.urlsafe_b64encode(bytes(changed)).rstrip(b"=").decode())
    forged += [everything + "A", everything[:-1], "A", "A" * 300, privileged]
    for who in desk.heads.values():
        await desk.alike([await desk.send(who, "POST", search, by_code | {"cursor": privileged})], 403)
        answers = [await desk.send(who, "POST", search, {"where": {}, "cursor": cursor}) for cursor in forged]
        await desk.alike(answers, 422)
        page = (await desk.send(who, "POST", search, {"where": {}, "cursor": everything})).json()
        assert SECRET not in str(page), "another's cursor says where to go on, and not what is seen there"
    other = await desk.opened.tenant("westside")
    for role in ("administrator", "integration"):
        head = {"Authorization": f"Bearer {await desk.opened.key(other, role)}"}
        if role == "administrator":
            assert (await desk.client.post("/v1/collections", json=CHARTS, headers=head)).status_code == 201
        else:
            answers = [await desk.send(head, "POST", search, {"where": {}, "cursor": one}) for one in (everything, "A")]
            await desk.alike(answers, 422)


async def test_a_revision_is_all_that_a_condition_tells(desk: Desk) -> None:
    one, body = f"{RECORDS}/{desk.record}", {"fields": {"desk": "B"}}
    for who in desk.heads.values():
        refused = [await desk.send(who, "PATCH", one, body, if_match=text) for text in ('"99"', '"98"', '"1000000"')]
        await desk.alike(refused, 412)
        for text in ("*", '"1", "2"', 'W/"1"', SECRET, '"-1"', '"1.0"', "1"):
            assert (await desk.send(who, "PATCH", one, body, if_match=text)).status_code == 422, text
        assert (await desk.send(who, "PATCH", one, body)).status_code == 428
        seen = await desk.send(who, "GET", one, if_none_match='"1"')
        assert (seen.status_code, seen.content) == (304, b"")


async def _tenant(desk: Desk) -> Any:
    async with desk.opened.database.connect() as connection:
        return await connection.fetchval("SELECT id FROM wk.tenants WHERE name = 'northside'")
