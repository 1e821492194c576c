"""Each protected route really asks the gate: without the permission nothing is done, and the denial is on record."""

from __future__ import annotations

from uuid import UUID

from api.requests import PROTECTED, path, send
from api.stack import NOTES, Stack, entries
from wellkeep.access.roles import load
from wellkeep.base.ids import PLATFORM_TENANT

PERSONS_OWN = load().people.own | load().people.never_keys


async def test_a_key_without_any_permission_gets_nowhere(opened: Stack) -> None:
    """A key whose scopes leave everything out: 403 on each route, and an entry of the denial for each request."""
    tenant = await opened.tenant("northside")
    async with opened.client(await opened.key(tenant, "administrator")) as administrator:
        assert (await administrator.post("/v1/collections", json=NOTES)).status_code == 201
    powerless = await opened.key(tenant, "administrator", "privacy_officer", "integration", scopes=())
    platform = await opened.key(PLATFORM_TENANT, "administrator", scopes=())
    denied: dict[str, str] = {}
    async with opened.client(powerless) as public, opened.client(platform, listener="admin") as admin:
        for listener, route in PROTECTED:
            answer = await send(public if listener == "public" else admin, route)
            assert answer.status_code == 403, (route.name, answer.text)
            denied[answer.headers["x-request-id"]] = route.name
    on_record = {
        str(event["request"])
        for log in (tenant, PLATFORM_TENANT)
        for event in await entries(opened, log)
        if event["outcome"] == "denied"
    }
    assert {name for request, name in denied.items() if request not in on_record} == set()


async def test_a_revoked_key_is_refused_with_the_next_request(opened: Stack) -> None:
    tenant = await opened.tenant("northside")
    key = await opened.key(tenant, "administrator")
    async with (
        opened.client(key) as client,
        opened.client(await opened.platform_key(), listener="admin") as platform,
    ):
        assert (await client.get("/v1/collections")).status_code == 200
        keys = (await platform.get(f"/v1/tenants/{tenant}/apikeys")).json()["apikeys"]
        gone = await platform.delete(f"/v1/tenants/{tenant}/apikeys/{keys[0]['id']}")
        assert (gone.status_code, gone.content) == (204, b""), gone.text
        assert (await client.get("/v1/collections")).status_code == 401


async def test_no_route_answers_a_key_that_was_revoked_since_it_was_looked_up(opened: Stack) -> None:
    """Both keys are known to the process already, so nobody but the database can say that they stand no longer."""
    tenant = await opened.tenant("northside")
    key = await opened.key(tenant, "administrator", "privacy_officer", "integration", "auditor")
    platform = await opened.platform_key()
    async with opened.client(key) as public, opened.client(platform, listener="admin") as admin:
        assert (await public.post("/v1/collections", json=NOTES)).status_code == 201
        started = await public.post("/v1/imports", json={"collection": "notes", "format": "ndjson"})
        exported = await public.post("/v1/exports", json={"collection": "notes", "format": "ndjson"})
        assert (await admin.get("/v1/tenants")).status_code == 200
        async with opened.database.connect() as connection:
            await connection.execute("UPDATE access.api_key SET revoked_at = now()")
        given = {
            "import_id": started.json()["id"],
            "export_id": exported.json()["id"],
            "tenant_id": str(tenant),
        }
        for listener, route in PROTECTED:
            answer = await send(public if listener == "public" else admin, route, url=path(route, **given))
            # What a person alone may do is refused to a key, whether it stands or not.
            refused = 403 if route.permission in PERSONS_OWN else 401
            assert answer.status_code == refused, (route.name, answer.text)
    denied = [event["rule"] for event in await entries(opened, tenant) if event["outcome"] == "denied"]
    assert "deny:revoked/export:read" in denied
    assert len(denied) == sum(listener == "public" for listener, _ in PROTECTED)


async def test_a_tenant_and_its_keys_are_administered(opened: Stack) -> None:
    async with opened.client(await opened.platform_key(), listener="admin") as platform:
        made = await platform.post("/v1/tenants", json={"name": "westside"})
        assert made.status_code == 201, made.text
        where = f"{made.headers['location']}/apikeys"
        wanted = {"name": "front-desk", "roles": ["administrator"], "days": 1}
        assert (await platform.post(where, json=wanted)).status_code == 403, "the customer's own administrator does"
        first = await opened.key(UUID(made.json()["id"]), "administrator")
        async with opened.client(first, listener="admin") as own:
            issued = await own.post(where, json=wanted)
        assert issued.status_code == 201, issued.text
        listed = await platform.get(where)
        assert issued.json()["key"] not in listed.text
        assert "westside" in (await platform.get("/v1/tenants")).text
        async with opened.client(issued.json()["key"]) as client:
            assert (await client.get("/v1/collections")).json() == {"collections": []}
            assert (await platform.post(f"{made.headers['location']}/close")).status_code == 204
            assert (await client.get("/v1/collections")).status_code == 403
    assert issued.json()["key"] not in opened.log.getvalue()
