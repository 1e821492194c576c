"""Rates and budgets over HTTP: who asks too much is told how much and when, and nothing is opened beyond."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from api.stack import NOTES, Stack, entries
from wellkeep.access.api_keys import Bounds
from wellkeep.base.limit_settings import LimitSettings


async def keyed(opened: Stack, tenant: UUID, *roles: str, bounds: Bounds | None = None) -> str:
    issued = await opened.api_keys.create(
        opened.operator, tenant=tenant, name="a-test", roles=roles, bounds=bounds or Bounds()
    )
    return issued.key.reveal()


async def with_notes(opened: Stack, count: int) -> tuple[UUID, list[str]]:
    """Return a tenant with `count` notes, and their ids."""
    tenant = await opened.tenant(f"limited-{uuid4().hex[:8]}")
    async with opened.client(await keyed(opened, tenant, "administrator")) as client:
        assert (await client.post("/v1/collections", json=NOTES)).status_code == 201
    async with opened.client(await keyed(opened, tenant, "integration")) as client:
        made = [
            await client.post("/v1/collections/notes/records", json={"fields": {"title": f"n{n}"}})
            for n in range(count)
        ]
    return tenant, [one.json()["id"] for one in made]


async def test_each_answer_says_what_is_left_and_over_the_limit_is_429(opened: Stack) -> None:
    tenant, _ = await with_notes(opened, 0)
    key = await keyed(opened, tenant, "integration", bounds=Bounds(requests=10))
    other = await keyed(opened, tenant, "integration", bounds=Bounds(requests=10))
    async with opened.client(key) as client:
        answers = [await client.get("/v1/collections") for _ in range(12)]
        assert [one.status_code for one in answers] == [200] * 10 + [429] * 2
        assert answers[0].headers["ratelimit-policy"] == '"key";q=10;w=60'
        assert answers[0].headers["ratelimit"].startswith('"key";r=9;t=')
        last = answers[-1]
        assert last.json()["type"] == "/problems/rate-limited"
        assert 1 <= int(last.headers["retry-after"]) <= 120
        assert last.headers["ratelimit"].startswith('"key";r=0;t=')
    async with opened.client(other) as client:
        assert (await client.get("/v1/collections")).status_code == 200, "another key has a count of its own"


async def test_a_search_weighs_more_than_a_read(opened: Stack) -> None:
    tenant, _ = await with_notes(opened, 0)
    key = await keyed(opened, tenant, "integration", bounds=Bounds(requests=10))
    async with opened.client(key) as client:
        found = await client.post("/v1/collections/notes/records/search", json={"where": {}})
    assert found.headers["ratelimit"].startswith('"key";r=8;')


async def test_who_guesses_keys_is_slowed_down_and_who_has_one_is_not(
    opened: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant, _ = await with_notes(opened, 0)
    monkeypatch.setattr(opened.limits, "_settings", LimitSettings(address_requests=50))
    async with opened.client("wk_test_nonsense") as client:
        told = [(await client.get("/v1/collections")).status_code for _ in range(8)]
    assert told == [401] * 5 + [429] * 3
    async with opened.client(await keyed(opened, tenant, "integration")) as client:
        assert (await client.get("/v1/collections")).status_code == 200
        assert (await client.get("/healthz")).status_code == 200


async def test_nothing_is_opened_beyond_the_budget(opened: Stack) -> None:
    tenant, records = await with_notes(opened, 4)
    key = await keyed(opened, tenant, "integration", bounds=Bounds(records=5))
    async with opened.client(key) as client:
        for record in records[:2]:
            assert (await client.get(f"/v1/collections/notes/records/{record}")).status_code == 200
        refused = await client.post("/v1/collections/notes/records/search", json={"where": {}})
        assert (refused.status_code, refused.json()["type"]) == (429, "/problems/budget-exceeded")
        assert 1 <= int(refused.headers["retry-after"]) <= 2 * 3600
        assert "fields" not in refused.text
        page = await client.post("/v1/collections/notes/records/search", json={"where": {}, "limit": 3})
        assert len(page.json()["records"]) == 3
        for _ in range(2):
            assert (await client.get(f"/v1/collections/notes/records/{records[3]}")).status_code == 429
    told = [one for one in await entries(opened, tenant) if one.get("error") == "budget-exceeded"]
    assert [one["count"] for one in told] == [4, 1, 1]
    await opened.findings.flush()
    (found,) = [one for one in await opened.findings.list(tenant) if one.kind == "budget.exceeded"]
    assert found.count == 1, "once an hour"


async def test_what_never_fits_is_not_put_off(opened: Stack) -> None:
    tenant, _ = await with_notes(opened, 4)
    async with opened.client(await keyed(opened, tenant, "integration", bounds=Bounds(records=3))) as client:
        refused = await client.post("/v1/collections/notes/records/search", json={"where": {}})
        assert (refused.status_code, "retry-after" in refused.headers) == (429, False), "no wait would help"
        assert "ask for fewer" in refused.json()["detail"]
        page = await client.post("/v1/collections/notes/records/search", json={"where": {}, "limit": 3})
        assert len(page.json()["records"]) == 3


async def test_a_key_bound_to_a_collection_over_http(opened: Stack) -> None:
    tenant, (record, *_) = await with_notes(opened, 1)
    issued = await opened.api_keys.create(
        opened.operator, tenant=tenant, name="bound", roles=["integration"], scopes=["system/notes.r"]
    )
    other = await opened.api_keys.create(
        opened.operator, tenant=tenant, name="elsewhere", roles=["integration"], scopes=["system/visits.cruds"]
    )
    async with opened.client(issued.key.reveal()) as client:
        assert (await client.get(f"/v1/collections/notes/records/{record}")).status_code == 200
        assert (await client.post("/v1/collections/notes/records/search", json={"where": {}})).status_code == 403
    fields = {"fields": {"title": "x"}}
    async with opened.client(other.key.reveal()) as client:
        here = "/v1/collections/notes/records"
        told = [
            await client.get(f"{here}/{record}"),
            await client.post(here, json=fields),
            await client.post(f"{here}/batch", json={"records": [fields]}),
            await client.put(f"{here}/by-external-id/one", json=fields),
            await client.post(f"{here}/search", json={"where": {}}),
            await client.patch(f"{here}/{record}", json=fields, headers={"If-Match": '"1"'}),
            await client.delete(f"{here}/{record}", headers={"If-Match": '"1"'}),
            await client.post("/v1/imports", json={"collection": "notes", "format": "ndjson"}),
            await client.post("/v1/exports", json={"collection": "notes"}),
            await client.post("/v1/subjects"),
            await client.get("/v1/collections/notes"),
        ]
    assert {one.status_code for one in told} == {403}
