"""Reviews and leavers over HTTP: a tenant's own people on the public listener, the platform's on its own."""

from __future__ import annotations

import csv
import io

from access.signed_in import browser, joined, sent_by, session
from api.stack import Stack
from wellkeep.assembly.review_report import COLUMNS

_FORMULA = "=hyperlink@example.org"


async def test_a_review_from_its_opening_to_its_report(opened: Stack) -> None:
    tenant = await opened.tenant("northside")
    ada, ben = [await browser(opened, tenant, "administrator") for _ in range(2)]
    await joined(opened, tenant, "clinician", email=_FORMULA)
    async with opened.client() as client:
        made = await client.post("/v1/reviews", json={}, headers=ada)
        assert made.status_code == 201, made.text
        where = made.headers["location"]
        assert where == f"/v1/reviews/{made.json()['id']}"
        assert (await client.post("/v1/reviews", json={"days": 3}, headers=ben)).status_code == 409
        shown = (await client.get(where, headers=ada)).json()
        items = {one["id"]: one for one in shown["items"]}
        assert shown["review"]["undecided"] == len(items) == 3
        answers = {}
        for item in items:
            answers[item] = await client.post(f"{where}/items/{item}", json={"decision": "keep"}, headers=ada)
        assert sorted(answer.status_code for answer in answers.values()) == [200, 200, 403]
        (own,) = [item for item, answer in answers.items() if answer.status_code == 403]
        for wrong in ({"decision": "maybe"}, {}, {"decision": "keep", "why": "x"}):
            assert (await client.post(f"{where}/items/{own}", json=wrong, headers=ben)).status_code == 422
        unsafe = {name: value for name, value in ben.items() if name != "X-CSRF-Token"}
        gone = {"decision": "revoke"}
        assert (await client.post(f"{where}/items/{own}", json=gone, headers=unsafe)).status_code in {401, 403}
        revoked = await client.post(f"{where}/items/{own}", json=gone, headers=ben)
        assert revoked.status_code == 200, revoked.text
        assert revoked.json()["closed_at"] is not None
        assert (await client.get("/v1/reviews", headers=ada)).status_code == 401, "her session ended with her role"
        report = await client.get(f"{where}/report?format=csv", headers=ben)
        assert report.headers["content-type"].startswith("text/csv")
        assert report.headers["cache-control"] == "no-store"
        rows = list(csv.DictReader(io.StringIO(report.text)))
        assert tuple(rows[0]) == COLUMNS
        assert {row["outcome"] for row in rows} == {"keep", "revoke"}
        assert f"'{_FORMULA}" in {row["email"] for row in rows}
        paper = (await client.get(f"{where}/report?format=markdown", headers=ben)).text
        assert "2 kept, 1 revoked, 0 undecided" in paper
        assert (await client.get(f"{where}/report?format=pdf", headers=ben)).status_code == 422
        listed = (await client.get("/v1/reviews", headers=ben)).json()["reviews"]
        assert [one["id"] for one in listed] == [made.json()["id"]]
        assert (await client.get("/v1/reviews/unused", headers=ben)).json() == {"unused": []}


async def test_another_tenants_review_and_person_are_not_there(opened: Stack) -> None:
    tenant, other = await opened.tenant("northside"), await opened.tenant("southside")
    ada = await browser(opened, tenant, "administrator")
    eve = await browser(opened, other, "administrator")
    victim = await joined(opened, tenant, "clinician")
    async with opened.client() as client:
        where = (await client.post("/v1/reviews", json={}, headers=ada)).headers["location"]
        item = (await client.get(where, headers=ada)).json()["items"][0]["id"]
        for answer in (
            await client.get(where, headers=eve),
            await client.get(f"{where}/report", headers=eve),
            await client.post(f"{where}/items/{item}", json={"decision": "revoke"}, headers=eve),
            await client.post(f"/v1/users/{victim}/leave", headers=eve),
        ):
            assert answer.status_code == 404, answer.text
        assert (await client.get("/v1/reviews/none-such", headers=ada)).status_code == 404


async def test_a_leaver_is_out_with_the_next_request(opened: Stack) -> None:
    tenant = await opened.tenant("northside")
    ada = await browser(opened, tenant, "administrator")
    leaver = await joined(opened, tenant, "administrator")
    theirs = sent_by(await session(opened, tenant, leaver, ip=None))
    async with opened.client() as client:
        assert (await client.get("/v1/reviews", headers=theirs)).status_code == 200
        left = await client.post(f"/v1/users/{leaver}/leave", headers=ada)
        assert left.status_code == 200, left.text
        assert (left.json()["roles"], len(left.json()["sessions"])) == (["administrator"], 1)
        assert (await client.get("/v1/reviews", headers=theirs)).status_code == 401
        again = await client.post(f"/v1/users/{leaver}/leave", headers=ada)
        assert (again.status_code, again.json()["disabled"], again.json()["sessions"]) == (200, False, [])


async def test_the_platform_looks_over_any_tenant_on_its_own_listener(opened: Stack) -> None:
    tenant = await opened.tenant("northside")
    await joined(opened, tenant, "administrator")
    async with opened.client(await opened.platform_key(), listener="admin") as client:
        made = await client.post(f"/v1/tenants/{tenant}/reviews", json={"days": 5})
        assert made.status_code == 201, made.text
        assert made.headers["location"] == f"/v1/tenants/{tenant}/reviews/{made.json()['id']}"
        shown = (await client.get(made.headers["location"])).json()
        assert [one["stuck"] for one in shown["items"]] == [True]
        where = f"{made.headers['location']}/items/{shown['items'][0]['id']}"
        kept = await client.post(where, json={"decision": "keep"})
        assert kept.json()["undecided"] == 0, kept.text
