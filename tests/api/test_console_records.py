"""Promise: the pages of records open nothing, say in the ledger what was listed, and show nobody another's."""

from __future__ import annotations

from uuid import UUID

import httpx
import pytest

from api.stack import NOTES, Stack, entries

HTML = {"Accept": "text/html"}
_SECRET = "what-nobody-is-shown"


@pytest.fixture
async def tenant(opened: Stack) -> UUID:
    return await opened.tenant("northside")


async def stored(opened: Stack, tenant: UUID) -> dict[str, str]:
    """Make a collection, a patient and a record of theirs."""
    async with opened.client(await opened.key(tenant, "administrator", "integration")) as client:
        assert (await client.post("/v1/collections", json=NOTES | {"subject": "required"})).status_code == 201
        subject = (await client.post("/v1/subjects")).json()["id"]
        asked = {"subject": subject, "fields": {"title": _SECRET, "body": _SECRET}}
        made = await client.post("/v1/collections/notes/records", json=asked)
        assert made.status_code == 201, made.text
    return {"record": made.json()["id"], "subject": subject}


async def looked(opened: Stack, tenant: UUID, *paths: str, role: str = "privacy_officer") -> list[httpx.Response]:
    async with opened.client(await opened.key(tenant, role)) as client:
        return [await client.get(path, headers=HTML) for path in paths]


async def test_each_page_is_masked_and_each_look_is_entered(opened: Stack, tenant: UUID) -> None:
    held = await stored(opened, tenant)
    record, subject = held["record"], held["subject"]
    before = len(await entries(opened, tenant))
    pages = await looked(
        opened,
        tenant,
        "/console/records/notes?purpose=PATRQT",
        f"/console/records/notes?subject={subject}",
        f"/console/records/notes/{record}",
        f"/console/subjects/{subject}",
    )
    assert [page.status_code for page in pages] == [200] * 4
    assert all(record in page.text and _SECRET not in page.text for page in pages)
    made = [
        one
        for one in (await entries(opened, tenant))[before:]
        if str(one["action"]).startswith(("record.", "subject."))
    ]
    assert [one["action"] for one in made] == [
        *("record.search", "record.search", "record.read", "subject.read", "record.search")
    ]
    assert all(not one.get("fields") for one in made)
    assert made[0]["purpose"] == "PATRQT"
    assert record in str(made[2]["resource"])
