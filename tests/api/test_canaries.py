"""Nothing that was sent comes back in a refusal or stands in a log: whatever the place, whichever the route."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from api.requests import LISTENED, path, send
from api.stack import NOTES, Stack
from wellkeep.api.routes import Route

CANARY = "Xk9CanaryZq"
NESTED: dict[str, Any] = {CANARY: [CANARY, {CANARY: CANARY}]}


class Clients:
    """A client for each listener, with keys that may do most."""

    def __init__(self, opened: Stack, public: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
        self.opened = opened
        self.by_listener = {"public": public, "admin": admin}

    async def refuse(self, listener: str, route: Route, **changes: Any) -> httpx.Response:
        """Send a spoilt request and check that nothing of it is told or logged."""
        answer = await send(self.by_listener[listener], route, **changes)
        place = f"{listener} {route.name}: {answer.status_code} {answer.text}"
        assert CANARY not in answer.text, place
        assert all(CANARY not in value for value in answer.headers.values()), place
        assert CANARY not in self.opened.log.getvalue(), place
        assert answer.status_code != 500, place
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json", place
            assert answer.json()["request_id"] == answer.headers["x-request-id"]
        return answer


@pytest.fixture
async def clients(opened: Stack) -> AsyncIterator[Clients]:
    """Open a client for each listener."""
    tenant = await opened.tenant("northside")
    administrator = await opened.key(tenant, "administrator", "privacy_officer", "integration", "clinician")
    platform = await opened.platform_key()
    async with opened.client(administrator) as public, opened.client(platform, listener="admin") as admin:
        assert (await public.post("/v1/collections", json=NOTES)).status_code == 201
        yield Clients(opened, public, admin)


def with_json(listed: list[tuple[str, Route]]) -> list[tuple[str, Route]]:
    return [(listener, route) for listener, route in listed if route.body not in (None, bytes)]


def spoilt(example: Any) -> list[Any]:
    """Return `example` with the canary as value, as key, and in the wrong type, at every place in turn."""
    found: list[Any] = [CANARY, [CANARY], NESTED, {**example, CANARY: 1}, {**example, CANARY: NESTED}]
    for name, value in example.items():
        found += [{**example, name: bad} for bad in (CANARY, [CANARY], NESTED, None, 1.5, True, -1, 2**60)]
        if isinstance(value, dict):
            found += [{**example, name: inner} for inner in spoilt(value)]
        if isinstance(value, list) and value and isinstance(value[0], dict):
            found += [{**example, name: [inner]} for inner in spoilt(value[0])]
    return found


async def test_bodies(clients: Clients) -> None:
    """Wrong values, wrong types, unknown keys: 422 by path and code."""
    for listener, route in with_json(LISTENED):
        for bad in spoilt(route.example):
            answer = await clients.refuse(listener, route, json=bad)
            if not isinstance(bad, dict):
                assert answer.status_code == 422, (route.name, answer.text)


async def test_texts_that_are_no_json(clients: Clients) -> None:
    texts = [
        CANARY.encode(),
        f'{{"{CANARY}"'.encode(),
        f'{{"{CANARY}": 1, "{CANARY}": 2}}'.encode(),
        f'{{"name": "{CANARY}", "name": "{CANARY}"}}'.encode(),
        f'{{"{CANARY}": "\\u0000"}}'.encode(),
        f'{{"{CANARY}": "\\ud800"}}'.encode(),
        f'{{"{CANARY}": 9007199254740993}}'.encode(),
        f'{{"{CANARY}": NaN}}'.encode(),
        CANARY.encode() + b"\xff\xfe",
        b"[" * 5000,
        b"",
    ]
    for listener, route in with_json(LISTENED):
        for text in texts:
            answer = await clients.refuse(listener, route, content=text, headers={"Content-Type": "application/json"})
            assert answer.status_code == 422, (route.name, text[:20], answer.text)


async def test_addresses(clients: Clients) -> None:
    """Path and query parameters: of the wrong shape, unknown, repeated, with what an address may not hold."""
    evil = [CANARY, f"{CANARY}'--", f"{CANARY}\x00", f"{CANARY}/../x", f"<b>{CANARY}", f"{CANARY}é"]
    for listener, route in LISTENED:
        for bad in evil:
            names = ("collection", "record_id", "external_id", "subject_id", "import_id", "number", "code")
            url = path(route, **dict.fromkeys((*names, "export_id", "tenant_id", "apikey_id"), quote(bad, safe="")))
            await clients.refuse(listener, route, url=url)
            queries: list[Any] = [{CANARY: "1"}, {bad: bad}]
            queries += [{one.name: bad} for one in route.query if one.pattern.fullmatch(bad) is None]
            for query in queries:
                answer = await clients.refuse(listener, route, params=query)
                assert answer.status_code in {422, 415}, (route.name, query, answer.text)
            for one in route.query:  # what a provider sends back has any form: its shape is right, and it is refused
                if one.pattern.fullmatch(bad) is not None:
                    await clients.refuse(listener, route, params={one.name: bad})
    unrouted = await clients.by_listener["public"].get(f"/{CANARY}", params={CANARY: CANARY})
    assert (unrouted.status_code, CANARY in unrouted.text) == (404, False)


async def test_headers(clients: Clients) -> None:
    """Headers that mean something and headers that don't, cookies and content types."""
    changes: list[dict[str, str]] = [
        {"X-Purpose-Of-Use": CANARY},
        {"Idempotency-Key": f"{CANARY} {CANARY}"},
        {"If-Match": f'"{CANARY}"'},
        {"If-None-Match": f'"{CANARY}"'},
        {"Content-Type": f"application/{CANARY}"},
        {"Content-Type": f"application/json; charset={CANARY}"},
        {"Content-Encoding": CANARY},
        {"Cookie": f"{CANARY}={CANARY}; =; {CANARY}"},
        {"Accept": CANARY},
        {"X-Request-Id": CANARY},
        {"Host": f"{CANARY}:x"},
        {"User-Agent": CANARY},
        {"X-Forwarded-For": CANARY},
        {CANARY: CANARY},
        {"Authorization": f"Bearer {CANARY}"},
        {"Authorization": f"Basic {CANARY}"},
    ]
    for listener, route in LISTENED:
        for change in changes:
            answer = await clients.refuse(listener, route, headers=change)
            if "Authorization" in change and route.permission is not None:
                assert answer.status_code == 401, (route.name, answer.text)


async def test_header_twice(clients: Clients) -> None:
    """A header that means something and comes twice is refused, so no two parsers can read different ones."""
    for name in ("Authorization", "If-Match", "Idempotency-Key", "X-Purpose-Of-Use", "Content-Type"):
        twice = [(name, CANARY), (name, "other")]
        answer = await clients.by_listener["public"].get("/v1/collections", headers=twice)
        assert (answer.status_code, answer.json()["type"]) == (400, "/problems/malformed-request")
        assert CANARY not in answer.text


async def test_methods(clients: Clients) -> None:
    """A method that an address does not take: 405 with those that it does."""
    for listener, route in LISTENED:
        for method in ("TRACE", "PUT", "PATCH", "DELETE", "POST", "GET", CANARY.upper()):
            answer = await clients.by_listener[listener].request(method, path(route), headers={"X-Evil": CANARY})
            assert CANARY not in answer.text.replace(CANARY.upper(), "")
            if answer.status_code == 405:
                assert answer.headers["content-type"] == "application/problem+json"
                assert route.method in answer.headers["allow"], (route.name, answer.headers["allow"])
