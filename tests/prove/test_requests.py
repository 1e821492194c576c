"""The probes' reviewed table covers every route that needs a permission, and names the right one."""

from __future__ import annotations

from wellkeep.api import catalogue
from wellkeep.api.metrics import Metrics
from wellkeep.api.routes import Listener, Route
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.prove.requests import Place, Request, personal, requests

PLACE = Place.nowhere(record=str(uuid7()), subject=str(uuid7()), tenant=PLATFORM_TENANT)


def protected(listener: Listener) -> dict[str, Route]:
    routes = catalogue.routes(listener, Metrics(catalogue.names()))
    return {route.name: route for route in routes if route.permission is not None}


def sent(*, admin: bool) -> dict[str, Request]:
    return {request.operation: request for request in (*requests(PLACE), *personal()) if request.admin is admin}


def test_each_route_is_tried_once_with_its_permission() -> None:
    for listener, admin in (("public", False), ("admin", True)):
        routes = protected(listener)  # type: ignore[arg-type]  # a literal of the loop's
        assert {name: request.permission for name, request in sent(admin=admin).items()} == {
            name: str(route.permission) for name, route in routes.items()
        }
        for name, request in sent(admin=admin).items():
            assert request.arguments["method"] == routes[name].method, name
    assert len(requests(PLACE)) + len(personal()) == len(sent(admin=False)) + len(sent(admin=True))


def test_what_only_counts_or_lists_definitions_is_all_that_needs_no_entry() -> None:
    silent = {request.operation for request in requests(PLACE) if not request.entered}
    pages = {"console_collections", "console_imports", "console_exports", "console_export"}
    assert silent == {"collection_list", "collection_get", "import_get", "export_get"} | pages


def test_a_place_that_exists_nowhere_is_not_that_of_anybody() -> None:
    other = Place.nowhere(record=str(PLACE.record), subject=str(PLACE.subject), tenant=PLATFORM_TENANT)
    assert other.closing not in {PLACE.closing, PLATFORM_TENANT}
    assert other.key != PLACE.key
