"""Requests that must be refused, a canary in each part: address, query, headers, cookies, keys, values, raw bytes.

Each says which canaries it holds, so that an answer that repeats one is known for what it is. A part of a shape has one
canary on all routes: the scan of the logs looks for all of them at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from wellkeep.prove.canary import Canary
from wellkeep.prove.sample import PEOPLE

_JSON = {"Content-Type": "application/json"}
_WITH_BODY = frozenset({"post", "put", "patch"})
Fresh = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Malformed:
    """One request: the documented route that it goes to, what is wrong with it, how it is sent, what it holds."""

    route: str
    shape: str
    arguments: dict[str, Any]
    canaries: tuple[Canary, ...]


class Canaries:
    """The canaries of one run, by the shape and the part that they are sent in."""

    def __init__(self) -> None:
        """Begin with none."""
        self._made: dict[str, Canary] = {}

    def get(self, place: str) -> Canary:
        """Return the canary of a place, made when first asked for."""
        return self._made.setdefault(place, Canary.make(place))

    @property
    def all(self) -> list[Canary]:
        """Return those that were sent."""
        return list(self._made.values())


def malformed(document: Mapping[str, Any], canaries: Canaries) -> Iterator[Malformed]:
    """Yield requests of every shape to each route of an OpenAPI document."""
    for path, methods in document["paths"].items():
        for method in methods:
            shapes = [*_HEADS, *(_BODIES if method in _WITH_BODY else ())]
            for shape in shapes:
                yield _made(shape, method, path, canaries)


def stranger(path: str, canaries: Canaries) -> Malformed:
    """Return a request with a key that nobody was given."""
    return _made(_another_key, "get", path, canaries)


def plaintext(base: str, canaries: Canaries) -> Malformed:
    """Return a request to the listener without TLS, as a client that was set up wrongly would send it."""
    return _made(_unencrypted, "post", base, canaries)


def _made(shape: Callable[[str, Fresh], dict[str, Any]], method: str, path: str, canaries: Canaries) -> Malformed:
    held: list[Canary] = []
    name = shape.__name__.strip("_").replace("_", " ")

    def fresh(part: str) -> str:
        held.append(canaries.get(f"{name}: {part}"))
        return held[-1].value

    arguments = {"method": method.upper(), "url": _filled(path)} | shape(path, fresh)
    return Malformed(path, name, arguments, tuple(held))


def _filled(path: str) -> str:
    return "/".join("0" if part.startswith("{") else part for part in path.replace("{collection}", PEOPLE).split("/"))


def _address(path: str, fresh: Fresh) -> dict[str, Any]:
    parts = [quote(fresh("address")) if part.startswith("{") else part for part in path.split("/")]
    return {"url": "/".join([*parts, quote(fresh("deeper"))])}


def _place_in_the_address(path: str, fresh: Fresh) -> dict[str, Any]:
    parts = path.replace("{collection}", PEOPLE).split("/")
    return {"url": "/".join(quote(fresh("address")) if part.startswith("{") else part for part in parts)}


def _bytes_in_the_address(path: str, fresh: Fresh) -> dict[str, Any]:
    return {"url": f"{_filled(path)}/{fresh('address')}%ff%fe%00"}


def _query(_path: str, fresh: Fresh) -> dict[str, Any]:
    return {"params": {fresh("query key"): fresh("query value"), "fields": fresh("fields"), "limit": fresh("limit")}}


def _headers(_path: str, fresh: Fresh) -> dict[str, Any]:
    return {
        "headers": {
            "X-Purpose-Of-Use": fresh("purpose"),
            "If-Match": fresh("revision"),
            "If-None-Match": fresh("known revision"),
            "Idempotency-Key": f"{fresh('repeated')} x",
            "User-Agent": fresh("agent"),
            "Referer": f"https://example.org/{fresh('referer')}",
            "X-Forwarded-For": fresh("forwarded"),
            f"X-{fresh('header')}": fresh("header value"),
        }
    }


def _cookies(_path: str, fresh: Fresh) -> dict[str, Any]:
    return {"headers": {"Cookie": f"{fresh('cookie')}={fresh('cookie value')}"}}


def _another_key(_path: str, fresh: Fresh) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {fresh('key')}"}}


def _bytes_in_a_header(_path: str, fresh: Fresh) -> dict[str, Any]:
    return {"headers": {b"X-Purpose-Of-Use": fresh("purpose").encode() + b"\xff\xfe"}}


def _unknown_key(_path: str, fresh: Fresh) -> dict[str, Any]:
    return {"content": json.dumps({fresh("key"): fresh("value")}), "headers": _JSON}


def _wrong_type(_path: str, fresh: Fresh) -> dict[str, Any]:
    value = {"history": [fresh("value")], fresh("field"): fresh("field value")}
    return {"content": json.dumps({"fields": value, "roles": {"a": fresh("roles")}}), "headers": _JSON}


def _wrong_choice(_path: str, fresh: Fresh) -> dict[str, Any]:
    chosen = {"fields": {"state": fresh("enum value")}, "where": {"state": fresh("enum filter")}}
    named = {"format": fresh("format"), "kind": fresh("kind"), "roles": [fresh("role")], "name": fresh("name")}
    return {"content": json.dumps(chosen | named), "headers": _JSON}


def _wrong_choice_alone(_path: str, fresh: Fresh) -> dict[str, Any]:
    return {"content": json.dumps({"fields": {"state": fresh("enum value")}}), "headers": _JSON}


def _twice(_path: str, fresh: Fresh) -> dict[str, Any]:
    key = fresh("key")
    return {"content": f'{{"fields": {{"{key}": 1, "{key}": 2}}}}', "headers": _JSON}


def _torn(_path: str, fresh: Fresh) -> dict[str, Any]:
    return {"content": '{"fields": {"history": "' + fresh("torn"), "headers": _JSON}


def _no_text(_path: str, fresh: Fresh) -> dict[str, Any]:
    return {"content": b'{"fields": {"history": "' + fresh("bytes").encode() + b'\xff\xfe"}}', "headers": _JSON}


def _media_type(_path: str, fresh: Fresh) -> dict[str, Any]:
    return {"content": fresh("body"), "headers": {"Content-Type": f"text/{fresh('media')}; charset={fresh('set')}"}}


def _unencrypted(_base: str, fresh: Fresh) -> dict[str, Any]:
    return {
        "url": f"{_base}/v1/collections/{fresh('address')}/records?{fresh('query')}=1",
        "json": {fresh("key"): fresh("value")},
        "headers": {"Authorization": f"Bearer {fresh('secret')}"},
    }


_HEADS = (
    _address,
    _place_in_the_address,
    _bytes_in_the_address,
    _query,
    _headers,
    _cookies,
    _bytes_in_a_header,
)
_BODIES = (_unknown_key, _wrong_type, _wrong_choice, _wrong_choice_alone, _twice, _torn, _no_text, _media_type)
