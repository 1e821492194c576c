"""What a browser is told and what it can't be made to do: on every route of both listeners, whoever asks."""

from __future__ import annotations

import pytest

from api.requests import LISTENED, path, send
from api.stack import Stack
from wellkeep.api.headers import SECURITY
from wellkeep.api.routes import Route

HOSTILE = {"Origin": "https://evil.example.org", "Access-Control-Request-Method": "POST"}
READS = {"read", "search", "explain"}
"""Acts that change nothing but the ledger. A page lists by `record:search`; a value is searched for by POST alone."""
PAGES = {"content-security-policy"}
JSON_BODIES = [(listener, route) for listener, route in LISTENED if route.body not in (None, bytes)]


@pytest.fixture
async def administrator(opened: Stack) -> str:
    return await opened.key(await opened.tenant("northside"), "administrator", "privacy_officer", "integration")


async def test_every_answer_carries_the_headers_that_bind_a_browser(opened: Stack) -> None:
    """HSTS, nosniff, a policy that lets nothing in, no framing, no referrer, no cache: on refusals as well."""
    async with opened.client() as public, opened.client(listener="admin") as admin:
        for listener, route in LISTENED:
            answer = await send(public if listener == "public" else admin, route)
            for name, value in SECURITY:
                if not (route.renders and name.decode() in PAGES):
                    assert answer.headers[name.decode()] == value.decode(), (route.path, name)
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy, route.path
            assert "frame-ancestors 'none'" in policy, route.path
            assert "unsafe" not in policy, route.path


async def test_no_other_origin_is_let_in(opened: Stack, administrator: str) -> None:
    """There is no CORS: no answer names an origin, that of a preflight neither."""
    platform = await opened.platform_key()
    async with opened.client(administrator) as public, opened.client(platform, listener="admin") as admin:
        for listener, route in LISTENED:
            client = public if listener == "public" else admin
            answers = [await client.options(path(route), headers=HOSTILE)]
            if route.method == "GET":
                answers.append(await send(client, route, headers=HOSTILE))
            told = [name for answer in answers for name in answer.headers if name.startswith("access-control-")]
            assert not told, route.path


async def test_a_form_of_another_site_is_no_request_of_ours(opened: Stack, administrator: str) -> None:
    """What a page elsewhere can send without asking first (text/plain, forms) is refused before it is decoded."""
    platform = await opened.platform_key()
    assert len(JSON_BODIES) > 20
    async with opened.client(administrator) as public, opened.client(platform, listener="admin") as admin:
        for listener, route in JSON_BODIES:
            client = public if listener == "public" else admin
            for media in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
                answer = await send(client, route, content=b"{}", headers={"Content-Type": media})
                assert answer.status_code in {401, 403, 415}, (route.path, media, answer.text)


def test_nothing_is_changed_by_asking_for_it() -> None:
    """What GET serves needs a permission to read, or none: a link that somebody follows changes nothing."""
    for _, route in LISTENED:
        if route.method == "GET" and route.permission is not None:
            what, _, act = route.permission.value.partition(":")
            assert act in READS or what == "account", route.path
            assert route.body is None, route.path


async def test_no_callback_makes_a_script_of_an_answer(opened: Stack, administrator: str) -> None:
    async with opened.client(administrator) as public:
        for where in ("/v1/collections", "/healthz", "/v1/openapi.json"):
            answer = await public.get(where, params={"callback": "steal", "jsonp": "steal"})
            assert "steal(" not in answer.text
            assert answer.headers["content-type"].startswith("application/")
            assert answer.headers["x-content-type-options"] == "nosniff"


async def test_what_is_answered_says_what_it_is(opened: Stack, administrator: str) -> None:
    """Every body names its media type; JSON is UTF-8 by its own definition, and pages say so."""
    async with opened.client(administrator) as public:
        for listener, route in LISTENED:
            if listener == "public" and route.method == "GET":
                answer = await send(public, route)
                media = answer.headers.get("content-type", "")
                assert media or not answer.content, route.path
                assert not media.startswith("text/") or "charset=utf-8" in media.lower(), route.path


def test_every_body_is_bounded_where_it_is_described() -> None:
    """No route takes a body whose shape, size and fields nobody wrote down."""
    for _, route in LISTENED:
        if route.body is not None:
            assert 0 < route.limit <= 8 * 1024 * 1024, route.path
            assert _forbids_unknown(route), route.path


def _forbids_unknown(route: Route) -> bool:
    return route.body is bytes or bool(route.body.__struct_config__.forbid_unknown_fields)
