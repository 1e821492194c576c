"""The document says what is served, completely; the pages about it load nothing from elsewhere."""

from __future__ import annotations

import re
from typing import Any

import httpx
import msgspec
import pytest

from api.requests import LISTENED, path, send
from api.stack import NOTES, Stack
from wellkeep.api import openapi, problems
from wellkeep.api.decoding import decode
from wellkeep.api.routes import Route

PUBLIC = openapi.document([route for listener, route in LISTENED if listener == "public"], title="x")


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        here = {node["$ref"]} if "$ref" in node else set()
        return here.union(*(references(value) for value in node.values()))
    return set().union(*(references(value) for value in node)) if isinstance(node, list) else set()


def test_every_reference_resolves() -> None:
    for reference in references(PUBLIC):
        assert reference.removeprefix("#/components/schemas/") in PUBLIC["components"]["schemas"]


@pytest.mark.parametrize("case", LISTENED, ids=lambda case: f"{case[0]}-{case[1].name}")
def test_every_route_documents_its_refusals(case: tuple[str, Route]) -> None:
    _, route = case
    operation = openapi.document([route], title="x")["paths"][route.path][route.method.lower()]
    answers = operation["responses"]
    for kind in openapi.problems_of(route):
        content = answers[str(kind.status)]["content"]["application/problem+json"]
        assert content["examples"][kind.code]["value"]["type"] == problems.TYPE_ROOT + kind.code
    assert operation["security"] == ([{"apiKey": []}] if route.permission else [])
    assert all("X-Request-Id" in answer["headers"] for answer in answers.values())
    if route.body not in (None, bytes):
        decode(msgspec.json.encode(route.example), route.body)


async def test_what_is_answered_is_documented(opened: Stack) -> None:
    """Send good and spoilt requests to every route: each status and media type stands in the document."""
    tenant = await opened.tenant("northside")
    keys = (await opened.key(tenant, "administrator", "privacy_officer", "integration"), await opened.platform_key())
    async with opened.client(keys[0]) as public, opened.client(keys[1], listener="admin") as admin:
        assert (await public.post("/v1/collections", json=NOTES)).status_code == 201
        for listener, route in LISTENED:
            client = public if listener == "public" else admin
            described = openapi.document([route], title="x")["paths"][route.path][route.method.lower()]["responses"]
            for answer in (
                await send(client, route),
                await send(client, route, headers={"Authorization": "none"}),
                await send(client, route, params={"what": "1"}),
                await send(client, route, json={"what": 1}),
                await send(client, route, content=b"x" * (route.limit + 1)),
                await client.request("PROPFIND", path(route)),
            ):
                told = described.get(str(answer.status_code))
                assert told is not None, (route.name, answer.status_code, answer.text)
                media = answer.headers.get("content-type", "").split(";")[0]
                assert not media or media in told["content"], (route.name, answer.status_code, media)


async def test_every_problem_has_its_page(opened: Stack) -> None:
    async with opened.client() as client:
        for kind in problems.CATALOGUE:
            assert (await client.get(problems.TYPE_ROOT + kind.code)).status_code == 200


async def test_the_pages_load_nothing_from_elsewhere(opened: Stack) -> None:
    async with opened.client() as client:
        page: httpx.Response = await client.get("/docs")
        assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
        loaded = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
        assert {address for address in loaded if not address.startswith("/")} == set()
        assert "<script" not in page.text
        assert "style=" not in page.text
        assert (await client.get("/docs/style.css")).headers["content-type"].startswith("text/css")
        assert (await client.get("/v1/openapi.json")).json()["openapi"] == "3.1.0"
