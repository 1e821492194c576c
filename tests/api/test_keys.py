"""Keys over HTTP: on the administration listener alone, for the platform; a tenant's administrator rotates its own."""

from __future__ import annotations

from uuid import UUID

from api.stack import Stack


async def test_a_rotation_is_begun_once_and_followed(opened: Stack) -> None:
    tenant = await opened.tenant("northside")
    async with opened.client(await opened.platform_key(), listener="admin") as client:
        begun = await client.post("/v1/keys/rotations", json={"tier": "epoch"})
        assert begun.status_code == 202, begun.text
        again = await client.post("/v1/keys/rotations", json={"tier": "epoch"})
        assert again.json()["id"] == begun.json()["id"]
        where = begun.headers["location"]
        assert where == f"/v1/keys/rotations/{begun.json()['id']}"
        await opened.key_rotations.run(UUID(begun.json()["id"]), lambda: False)
        ended = (await client.get(where)).json()
        assert (ended["tier"], ended["state"], ended["target"], ended["error"]) == ("epoch", "done", 2, None)
        listed = (await client.get("/v1/keys/rotations")).json()["rotations"]
        assert [one["id"] for one in listed] == [ended["id"]]
        found = (await client.get("/v1/keys")).json()
        assert [(one["epoch"], one["state"], one["rows"]) for one in found["epochs"]] == [
            (1, "retired", 0),
            (2, "active", 12),
        ]
        assert {one["kms_epoch"] for one in found["keys"] if one["tenant"] == str(tenant)} == {2}
        assert "wrapped" not in str(found)


async def test_what_is_refused(opened: Stack) -> None:
    tenant, other = await opened.tenant("northside"), await opened.tenant("southside")
    key = await opened.key(tenant, "administrator")
    async with opened.client(key, listener="admin") as client:
        assert (await client.post("/v1/keys/rotations", json={"tier": "epoch"})).status_code == 403
        own = (await client.get("/v1/keys")).json()["keys"]
        assert {one["tenant"] for one in own} == {str(tenant)}
        theirs = await client.post("/v1/keys/rotations", json={"tier": "root", "tenant": str(other)})
        assert theirs.status_code in {403, 404}
        mine = await client.post("/v1/keys/rotations", json={"tier": "data"})
        assert mine.status_code == 202, mine.text
        for body in ({"tier": "field"}, {"tier": "epoch", "tenant": "x"}, {}):
            assert (await client.post("/v1/keys/rotations", json=body)).status_code == 422
        assert (await client.get(f"/v1/keys/rotations/{tenant}")).status_code == 404
    async with opened.client(await opened.platform_key(), listener="admin") as client:
        refused = await client.post("/v1/keys/rotations", json={"tier": "epoch", "tenant": str(tenant)})
        assert refused.status_code == 422
    async with opened.client(key) as client:
        assert (await client.get("/v1/keys")).status_code == 404


async def test_how_many_keys_an_epoch_has_is_told_to_a_tenant_of_its_own_alone(opened: Stack) -> None:
    """Of all tenants' the number would say how many customers there are, and when one comes or goes."""
    tenant = await opened.tenant("northside")
    async with opened.client(await opened.key(tenant, "administrator"), listener="admin") as client:
        before = (await client.get("/v1/keys")).json()
        await opened.tenant("southside")
        after = (await client.get("/v1/keys")).json()
    assert after["epochs"] == before["epochs"]
    assert [one["rows"] for one in after["epochs"]] == [len(after["keys"])]
    async with opened.client(await opened.platform_key(), listener="admin") as client:
        everybodys = (await client.get("/v1/keys")).json()
    assert everybodys["epochs"][0]["rows"] > len(after["keys"])
