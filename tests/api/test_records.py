"""The path of a record over HTTP: in sealed, out with an entry, changed only by who read it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from api.stack import NOTES, Stack, entries

RECORDS = "/v1/collections/notes/records"


@pytest.fixture
async def client(opened: Stack) -> AsyncIterator[httpx.AsyncClient]:
    """Open a client of an integration, in a tenant with one collection."""
    tenant = await opened.tenant("northside")
    async with opened.client(await opened.key(tenant, "administrator")) as administrator:
        made = await administrator.post("/v1/collections", json=NOTES)
        assert made.status_code == 201, made.text
        assert made.headers["etag"] == '"1"'
    async with opened.client(await opened.key(tenant, "integration")) as client:
        yield client


async def test_a_record_goes_in_and_comes_out(client: httpx.AsyncClient) -> None:
    made = await client.post(RECORDS, json={"fields": {"title": "A title", "body": "words", "priority": 3}})
    assert made.status_code == 201, made.text
    assert made.headers["etag"] == '"1"'
    assert made.headers["location"] == f"{RECORDS}/{made.json()['id']}"
    read = await client.get(made.headers["location"])
    assert read.status_code == 200, read.text
    assert read.json()["fields"] == {"title": "A title", "body": "words", "priority": 3}
    assert read.headers["cache-control"] == "no-store"
    some = await client.get(made.headers["location"], params={"fields": "body"})
    assert some.json()["fields"] == {"body": "words"}
    known = await client.get(made.headers["location"], headers={"If-None-Match": '"1"'})
    assert (known.status_code, known.content) == (304, b"")


async def test_a_change_names_what_it_was_made_from(client: httpx.AsyncClient) -> None:
    made = await client.post(RECORDS, json={"fields": {"title": "One"}})
    where = made.headers["location"]
    body = {"fields": {"title": "Two"}}
    assert (await client.patch(where, json=body)).status_code == 428
    assert (await client.patch(where, json=body, headers={"If-Match": '"7"'})).status_code == 412
    assert (await client.patch(where, json=body, headers={"If-Match": "*"})).status_code == 422
    changed = await client.patch(where, json=body, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"'), changed.text
    assert (await client.delete(where, headers={"If-Match": '"1"'})).status_code == 412
    gone = await client.delete(where, headers={"If-Match": '"2"'})
    assert (gone.status_code, gone.content) == (204, b""), gone.text
    assert (await client.get(where)).status_code == 404


async def test_the_same_idempotency_key_gives_the_same_answer(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "order-17"}
    first = await client.post(RECORDS, json={"fields": {"title": "One"}}, headers=headers)
    again = await client.post(RECORDS, json={"fields": {"title": "One"}}, headers=headers)
    assert again.json() == first.json()
    other = await client.post(RECORDS, json={"fields": {"title": "Two"}}, headers=headers)
    assert (other.status_code, other.json()["type"]) == (409, "/problems/conflict")
    bad = await client.post(RECORDS, json={"fields": {"title": "One"}}, headers={"Idempotency-Key": "a key"})
    assert (bad.status_code, bad.json()["errors"][0]["path"]) == (422, "header/Idempotency-Key")


async def test_another_tenants_record_is_not_found(client: httpx.AsyncClient, opened: Stack) -> None:
    made = await client.post(RECORDS, json={"fields": {"title": "One"}})
    other = await opened.tenant("southside")
    async with opened.client(await opened.key(other, "administrator")) as administrator:
        assert (await administrator.post("/v1/collections", json=NOTES)).status_code == 201
    async with opened.client(await opened.key(other, "integration")) as stranger:
        theirs = await stranger.get(made.headers["location"])
        nobodys = await stranger.get(f"{RECORDS}/0198c0de-0000-7000-8000-000000000001")
    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.json() | {"request_id": ""} == nobodys.json() | {"request_id": ""}


async def test_the_request_id_is_ours_and_stands_in_the_entry(client: httpx.AsyncClient, opened: Stack) -> None:
    chosen = "0198c0de-0000-7000-8000-00000000beef"
    made = await client.post(RECORDS, json={"fields": {"title": "One"}}, headers={"X-Request-Id": chosen})
    assert made.headers["x-request-id"] != chosen
    tenant = next(one.id for one in await opened.tenants.list(opened.operator) if one.name == "northside")
    created = [event for event in await entries(opened, tenant) if event["action"] == "record.create"]
    assert created[0]["request"] == made.headers["x-request-id"]


async def test_a_role_that_does_not_permit_it_is_refused(opened: Stack) -> None:
    tenant = await opened.tenant("northside")
    async with opened.client(await opened.key(tenant, "auditor")) as auditor:
        refused = await auditor.post(RECORDS, json={"fields": {}})
    assert (refused.status_code, refused.json()["type"]) == (403, "/problems/forbidden")
    denied = [event for event in await entries(opened, tenant) if event["outcome"] == "denied"]
    assert denied[-1]["request"] == refused.headers["x-request-id"]


async def test_nobody_gets_in_without_a_key(opened: Stack) -> None:
    async with opened.client() as nobody:
        for header in ("", "Bearer", "Bearer x", "Basic dTpw", "Bearer wk_test_x_y", "Bearer \xff"):
            refused = await nobody.get("/v1/collections", headers=[(b"authorization", header.encode("latin-1"))])
            assert refused.status_code == 401, header
            assert refused.headers["www-authenticate"].startswith("Bearer")


async def test_a_batch_tells_each_outcome(client: httpx.AsyncClient) -> None:
    rows = [{"fields": {"title": "One"}}, {"fields": {"nothing": 1}}, {"fields": {"title": "Three"}}]
    answer = await client.post(f"{RECORDS}/batch", json={"records": rows})
    assert answer.status_code == 200, answer.text
    outcomes = answer.json()["outcomes"]
    assert [one["status"] for one in outcomes] == [201, 422, 201]
    assert outcomes[1]["errors"][0]["code"] == "unknown-field"
    assert (await client.get(f"{RECORDS}/{outcomes[2]['id']}")).json()["fields"] == {"title": "Three"}


async def test_a_search_goes_by_post_and_page_by_page(client: httpx.AsyncClient) -> None:
    rows = [{"fields": {"title": "Same", "priority": place}} for place in range(5)]
    assert (await client.post(f"{RECORDS}/batch", json={"records": rows})).status_code == 200
    first = await client.post(f"{RECORDS}/search", json={"where": {"title": "same"}, "limit": 3})
    assert first.status_code == 200, first.text
    rest = await client.post(
        f"{RECORDS}/search", json={"where": {"title": "same"}, "limit": 3, "cursor": first.json()["cursor"]}
    )
    found = [one["fields"]["priority"] for one in (*first.json()["records"], *rest.json()["records"])]
    assert (sorted(found), rest.json()["cursor"]) == ([0, 1, 2, 3, 4], None)
    bent = await client.post(
        f"{RECORDS}/search", json={"where": {"title": "other"}, "limit": 3, "cursor": first.json()["cursor"]}
    )
    assert bent.status_code == 422


async def test_an_external_id_may_hold_slashes(client: httpx.AsyncClient) -> None:
    where = f"{RECORDS}/by-external-id/urn%3Amrn%2F17%20a"
    made = await client.put(where, json={"fields": {"title": "One"}})
    again = await client.put(where, json={"fields": {"title": "One"}})
    changed = await client.put(where, json={"fields": {"title": "Two"}})
    assert [one.status_code for one in (made, again, changed)] == [201, 200, 200], made.text
    assert made.json()["id"] == again.json()["id"] == changed.json()["id"]
    assert [one.json()["revision"] for one in (made, again, changed)] == [1, 1, 2]


async def test_patients_are_made_and_merged(client: httpx.AsyncClient, opened: Stack) -> None:
    one, two = [(await client.post("/v1/subjects")).json()["id"] for _ in range(2)]
    tenant = next(each.id for each in await opened.tenants.list(opened.operator) if each.name == "northside")
    async with opened.client(await opened.key(tenant, "privacy_officer")) as officer:
        merged = await officer.post(f"/v1/subjects/{one}/merge", json={"into": two})
        assert (merged.status_code, merged.json()["merged_into"]) == (200, two), merged.text
        assert (await officer.get(f"/v1/subjects/{one}")).json()["merged_into"] == two
        found = await officer.get("/v1/ledger/entries", params={"subject": two, "limit": "1"})
    assert found.status_code == 200, found.text
    assert found.json()["entries"][0]["event"]["action"] == "subject.merge"


async def test_an_import_takes_parts_until_it_starts(client: httpx.AsyncClient) -> None:
    made = await client.post("/v1/imports", json={"collection": "notes", "format": "ndjson"})
    assert made.status_code == 201, made.text
    where = made.headers["location"]
    raw = {"Content-Type": "application/octet-stream"}
    assert (await client.put(f"{where}/parts/0", content=b'{"title": "One"}\n', headers=raw)).status_code == 204
    assert (await client.put(f"{where}/parts/0", content=b"x" * 8_388_609, headers=raw)).status_code == 413
    started = await client.post(f"{where}/start")
    assert (started.status_code, started.json()["state"]) == (202, "queued"), started.text
    assert (await client.put(f"{where}/parts/1", content=b"{}", headers=raw)).status_code == 409
    assert (await client.get(where)).json()["state"] == "queued"
    assert (await client.get(f"{where}/errors")).content == b""
    assert (await client.post(f"{where}/stop")).json()["state"] == "stopped"
