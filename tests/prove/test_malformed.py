"""Malformed requests reach every route in every shape, and each knows the canaries that it holds."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from wellkeep.prove.malformed import Canaries, Malformed, malformed, plaintext, stranger

DOCUMENT: dict[str, Any] = {
    "paths": {"/v1/collections/{collection}/records": {"get": {}, "post": {}}, "/v1/imports": {"post": {}}}
}


def held_by(request: Malformed) -> list[str]:
    """Return the canaries that stand somewhere in the request."""
    text = unquote(repr(request.arguments))
    return [canary.name for canary in request.canaries if canary.value in text]


def test_each_route_gets_each_shape_and_bodies_go_where_bodies_are_taken() -> None:
    made = list(malformed(DOCUMENT, Canaries()))
    posted = {one.shape for one in made if one.arguments["method"] == "POST"}
    read = {one.shape for one in made if one.arguments["method"] == "GET"}
    assert read < posted
    assert {"address", "cookies", "query", "headers", "bytes in a header"} <= read
    assert {"wrong choice alone", "no text", "torn", "twice", "media type"} <= posted - read
    assert len(made) == len(read) + 2 * len(posted)


def test_each_request_holds_what_it_says() -> None:
    canaries = Canaries()
    singles = [stranger("/v1/collections", canaries), plaintext("http://127.0.0.1:80", canaries)]
    for request in [*malformed(DOCUMENT, canaries), *singles]:
        assert held_by(request) == [canary.name for canary in request.canaries], request.shape


def test_a_part_of_a_shape_has_one_canary_on_all_routes() -> None:
    canaries = Canaries()
    made = list(malformed(DOCUMENT, canaries))
    cookies = {one.canaries for one in made if one.shape == "cookies"}
    assert len(cookies) == 1
    assert len({canary.value for canary in canaries.all}) == len(canaries.all)
