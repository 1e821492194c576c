"""The plain listener: pages go to HTTPS, the API is refused, and a key that came in clear is reported."""

from __future__ import annotations

import httpx

from api.stack import Stack
from wellkeep.api.redirector import Redirector


def client(opened: Stack) -> httpx.AsyncClient:
    redirector = Redirector(opened, authority="vault.example.org:8443")
    transport = httpx.ASGITransport(redirector)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url="http://evil.example.com")


async def test_pages_are_redirected_to_our_own_address(opened: Stack) -> None:
    async with client(opened) as plain:
        for path in ("/", "/docs", "/problems/validation"):
            answer = await plain.get(path)
            assert (answer.status_code, answer.headers["location"]) == (308, f"https://vault.example.org:8443{path}")
        for path in ("//evil.example.com", "/a?x=1", "/%0d%0aX: y", "/..//x"):
            answer = await plain.get(path)
            assert answer.headers.get("location", "https://vault.example.org").startswith("https://vault.example.org")
            assert "evil" not in answer.headers.get("location", "")
        assert (await plain.post("/docs")).status_code == 404


async def test_the_api_is_refused_and_the_key_reported_by_its_id(opened: Stack) -> None:
    tenant = await opened.tenant("northside")
    key = await opened.key(tenant, "administrator")
    async with client(opened) as plain:
        refused = await plain.get("/v1/collections", headers={"Authorization": f"Bearer {key}"})
        unknown = await plain.get("/v1/collections", headers={"Authorization": f"Bearer {key[:-4]}abcd"})
        nobody = await plain.post("/v1/collections", json={})
    for answer in (refused, unknown, nobody):
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/https-required")
        assert "location" not in answer.headers
    async with opened.database.entered(tenant) as connection:
        found = await connection.fetch("SELECT kind, key, count, detail::text AS detail FROM findings.finding")
    assert [(row["kind"], row["count"]) for row in found] == [("credential.exposed", 1)]
    secret = key.rpartition("_")[2]
    assert secret not in f"{found[0]['key']}{found[0]['detail']}{opened.log.getvalue()}"
