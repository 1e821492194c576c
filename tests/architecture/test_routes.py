"""Every route is behind a permission or says why it is open; every listener serves its own routes and no others."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any, cast

import pytest
from litestar.routes import HTTPRoute

from wellkeep.api import catalogue, openapi
from wellkeep.api.application import Application, build
from wellkeep.api.metrics import Metrics
from wellkeep.api.routes import Listener, Route
from wellkeep.base.errors import Misconfigured

LISTENERS: tuple[Listener, ...] = ("public", "admin")
SIGN_IN = {
    "session_begin", "session_factor", "session_factor_challenge", "session_passkey", "session_passkey_challenge",
    "invitation_accept",
}  # fmt: skip
PROVIDERS = {"sign_in_begin", "sign_in_finish", "sign_in_logout"}
REFERENCE = {"openapi", "docs", "docs_style", "problem_page"}
TRUST = {"trust", "trust_claim", "trust_json", "trust_style", "trust_logo", "security_txt"}
CONSOLE = {
    "console_sign_in", "console_sign_in_begin", "console_sign_in_factor", "console_sign_in_provider",
    "console_invitation", "console_file",
}  # fmt: skip
OPEN = {
    "public": SIGN_IN | PROVIDERS | TRUST | CONSOLE | REFERENCE | {"healthz", "readyz"},
    "admin": SIGN_IN | CONSOLE | REFERENCE | {"healthz", "readyz", "metrics"},
}
"""Reviewed: the only addresses that answer without a key."""


def application(listener: Listener) -> Application:
    return build(cast("Any", SimpleNamespace()), listener=listener)


def served(listener: Listener) -> set[tuple[str, str]]:
    """Return what Litestar really routes: method and address, with the parameters' types taken off."""
    found: set[tuple[str, str]] = set()
    for route in application(listener).litestar.routes:
        assert isinstance(route, HTTPRoute), "only plain HTTP is served: no WebSocket, no mounted application"
        address = re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path)
        found |= {(str(method), address) for method in route.methods if method != "OPTIONS"}
    return found


@pytest.mark.parametrize("listener", LISTENERS)
def test_only_reviewed_routes_are_open(listener: Listener) -> None:
    routes = application(listener).routes
    assert {route.name for route in routes if route.permission is None} == OPEN[listener]
    assert all(route.open_because for route in routes if route.permission is None)


@pytest.mark.parametrize("listener", LISTENERS)
def test_nothing_is_served_that_no_table_declares(listener: Listener) -> None:
    declared = {(str(route.method), route.path) for route in application(listener).routes}
    assert served(listener) == declared


@pytest.mark.parametrize("listener", LISTENERS)
def test_the_document_lists_exactly_what_is_served(listener: Listener) -> None:
    described = openapi.document(application(listener).routes, title="x")["paths"]
    assert {(method.upper(), path) for path, methods in described.items() for method in methods} == served(listener)


def test_administration_is_not_on_the_public_listener() -> None:
    public = {path for _, path in served("public")}
    assert not [path for path in public if path.startswith(("/v1/tenants", "/metrics"))]


def test_every_route_has_its_row_in_the_counters() -> None:
    names = catalogue.names()
    assert len(set(names)) == len(names)
    for listener in LISTENERS:
        assert {route.name for route in catalogue.routes(listener, Metrics(names))} <= set(names)


async def _nothing(_call: object) -> Any:
    raise AssertionError


def test_a_route_that_is_neither_protected_nor_open_stops_the_start() -> None:
    with pytest.raises(Misconfigured):
        Route(method="GET", path="/v1/x", name="x", summary="x", tag="x", serve=_nothing)
