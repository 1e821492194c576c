"""A good request for every route, from its own example, and how to send one."""

from __future__ import annotations

import re
from typing import Any

import httpx

from wellkeep.api import catalogue
from wellkeep.api.metrics import Metrics
from wellkeep.api.routes import Route

NOBODY = "0198c0de-0000-7000-8000-00000000dead"
_PARAMETERS = {
    "role": "auditor",
    "collection": "notes",
    "number": "0",
    "external_id": "MRN-1",
    "code": "validation",
    "claim": "rest.fields",
    "file": "console.css",
    "place": "identity",
    "tenant": "st-elsewhere",
    "provider": "keycloak",
}

PUBLIC = catalogue.routes("public", Metrics(catalogue.names()))
ADMIN = catalogue.routes("admin", Metrics(catalogue.names()))
LISTENED = [(listener, route) for listener, routes in (("public", PUBLIC), ("admin", ADMIN)) for route in routes]
PROTECTED = [(listener, route) for listener, route in LISTENED if route.permission is not None]


def path(route: Route, **given: str) -> str:
    """Return the route's address with parameters filled in."""
    return re.sub(r"\{(\w+)\}", lambda match: given.get(match[1]) or _PARAMETERS.get(match[1], NOBODY), route.path)


def body(route: Route) -> dict[str, Any]:
    """Return the keyword of httpx that carries a body of the right shape."""
    if route.body is None:
        return {}
    if route.body is bytes:
        return {"content": b"x", "headers": {"Content-Type": route.media}}
    return {"json": route.example}


async def send(client: httpx.AsyncClient, route: Route, **changes: Any) -> httpx.Response:
    """Send a good request to `route`, with `changes`."""
    options: dict[str, Any] = {"url": path(route), **body(route)}
    headers = {**options.pop("headers", {}), **changes.pop("headers", {})}
    if "If-Match" in route.takes:
        headers.setdefault("If-Match", '"1"')
    if changes.keys() & {"content", "json"}:
        options.pop("json", None)
        options.pop("content", None)
    return await client.request(route.method, headers=headers, **{**options, **changes})
