"""The ledger takes no entry: then nothing is read, searched or changed, and it all works again when it does."""

from __future__ import annotations

from typing import Any

import pytest

from faults.audit import Auditor
from faults.deployed import RECORDS, Deployed, eventually
from faults.load import CANARY, Load

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.fault]

_REFUSE = """
CREATE FUNCTION ledger.fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
CREATE TRIGGER fault BEFORE INSERT ON ledger.entry EXECUTE FUNCTION ledger.fault()
"""
_ACCEPT = "DROP TRIGGER fault ON ledger.entry; DROP FUNCTION ledger.fault()"
_ENTRIES = "SELECT count(*) AS count FROM ledger.entry"
_STORED = "SELECT count(*) AS count FROM vault.record"


async def count(deployed: Deployed, sql: str) -> int:
    found: int = (await deployed.fetch(sql))[0]["count"]
    return found


async def test_no_entry_no_access(deployed: Deployed) -> None:
    client = deployed.client()
    body = {"fields": {"code": "K1", "body": CANARY, "visits": 1}}
    made = await client.post(RECORDS, json=body)
    record = f"{RECORDS}/{made.json()['id']}"
    change: dict[str, Any] = {"json": {"fields": {"visits": 2}}, "headers": {"If-Match": '"1"'}}
    before = await count(deployed, _ENTRIES)
    async with deployed.as_superuser() as connection:
        await connection.execute(_REFUSE)
    try:
        read = [
            await client.get(record),
            await client.post(f"{RECORDS}/search", json={"where": {"code": "K1"}}),
            await client.post(f"{RECORDS}/search", json={"where": {"code": "nobody"}}),
            await client.get("/v1/collections"),
            await client.get(f"{RECORDS}/0198c0de-0000-7000-8000-000000000001"),
        ]
        unauthorised = await client.get("/v1/ledger/entries")
        first = await client.post(RECORDS, json=body, headers={"Idempotency-Key": "while-refusing"})
        stored = await count(deployed, _STORED)
        later = [
            await client.post(RECORDS, json=body),
            await client.patch(record, **change),
            await client.delete(record, headers={"If-Match": '"1"'}),
            await client.put(f"{RECORDS}/by-external-id/m1", json=body),
            await client.post(f"{RECORDS}/batch", json={"records": [body, body]}),
            await client.post("/v1/subjects"),
        ]
        ready = await client.get("/readyz")
        assert await count(deployed, _STORED) == stored, "something was changed that can't be entered"
        assert await count(deployed, _ENTRIES) == before
    finally:
        async with deployed.as_superuser() as connection:
            await connection.execute(_ACCEPT)
    for answer in (*read[:3], first, *later, unauthorised):
        assert answer.status_code == 503, (answer.request.url, answer.text)
        assert answer.json()["type"] == "/problems/ledger-unavailable"
        assert int(answer.headers["retry-after"]) >= 1
        assert CANARY not in answer.text
    assert "repeat with the same Idempotency-Key" in first.json()["detail"]
    for answer in read[3:]:
        assert CANARY not in answer.text
    assert (ready.status_code, ready.json()["parts"]["ledger"]) == (503, False)

    async def mended() -> bool:
        return (await client.patch(record, **change)).status_code == 200

    await eventually(mended, seconds=15, what="changes are taken again")
    assert (await client.get(record)).json()["fields"]["visits"] == 2
    again = await client.post(RECORDS, json=body, headers={"Idempotency-Key": "while-refusing"})
    assert (again.status_code, again.json()["id"]) == (201, first.json()["resource"])
    await deployed.drained()
    assert (await deployed.verified()).ok


async def test_refusing_under_load(deployed: Deployed) -> None:
    """Callers that are told 503 in the middle repeat, and end with exactly what they were acknowledged."""
    auditor = Auditor(deployed)
    await auditor.begin()
    async with Load(deployed.client(), seed=41) as load:
        await load.served(60)
        async with deployed.as_superuser() as connection:
            await connection.execute(_REFUSE)
        await load.refused(40)
        async with deployed.as_superuser() as connection:
            await connection.execute(_ACCEPT)
        await load.all_served()
        account = await load.stop()
    assert set(account.refused) == {"/problems/ledger-unavailable"}
    await auditor.end(account)
