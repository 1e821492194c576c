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
