"""The plain listener: pages go to HTTPS, the API is refused, and a key that came in clear is reported."""

from __future__ import annotations

import httpx
import pytest

from api.stack import Stack
from wellkeep.access.key_bounds import Bounds
from wellkeep.access.limits import FAILED_WEIGHT
from wellkeep.api.redirector import Redirector
from wellkeep.base.limit_settings import LimitSettings


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


async def test_a_key_that_is_bound_to_networks_is_reported_from_wherever_it_came_in_clear(opened: Stack) -> None:
    """It leaked on the way, and who listens may sit in that network."""
    tenant = await opened.tenant("northside")
    bounds = Bounds(("192.0.2.0/24",))
    given = {"tenant": tenant, "name": "bridge", "roles": ["integration"], "bounds": bounds}
    issued = await opened.api_keys.create(opened.operator, **given)  # type: ignore[arg-type]
    headers = {"Authorization": f"Bearer {issued.key.reveal()}"}
    async with opened.client() as public:
        assert (await public.get("/v1/collections", headers=headers)).status_code == 401, "which remembers the key"
    async with client(opened) as plain:
        for _ in range(2):
            assert (await plain.get("/v1/collections", headers=headers)).status_code == 403
    async with opened.database.entered(tenant) as connection:
        found = await connection.fetch("SELECT kind, key FROM findings.finding")
        used = await connection.fetchval("SELECT last_used_at FROM access.api_key")
    assert [(row["kind"], row["key"]) for row in found] == [
        ("credential.exposed", f"credential.exposed:{issued.about.id}")
    ]
    assert used is None, "to be seen is not to be used"


async def test_what_has_ended_is_not_reported(opened: Stack) -> None:
    tenant = await opened.tenant("northside")
    issued = await opened.api_keys.create(opened.operator, tenant=tenant, name="bridge", roles=["integration"])
    async with client(opened) as plain:
        await opened.api_keys.revoke(opened.operator, tenant=tenant, key_id=issued.about.id)
        refused = await plain.get("/v1/collections", headers={"Authorization": f"Bearer {issued.key.reveal()}"})
        assert refused.status_code == 403
    async with opened.database.entered(tenant) as connection:
        assert await connection.fetch("SELECT FROM findings.finding") == []


async def test_looking_for_a_key_in_clear_is_counted_like_any_failed_sign_in(
    opened: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opened.limits, "_settings", LimitSettings(address_requests=5 * FAILED_WEIGHT))
    async with client(opened) as plain:
        headers = [{"Authorization": f"Bearer wk_test_{number}"} for number in range(20)]
        told = [await plain.get("/v1/collections", headers=one) for one in headers]
        assert [one.status_code for one in told[:5]] == [403] * 5
        assert told[-1].status_code == 429
        assert int(told[-1].headers["retry-after"]) > 0
        assert (await plain.get("/docs")).status_code == 308, "who brings no key asks for no look-up"
