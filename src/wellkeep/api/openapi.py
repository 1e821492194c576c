"""The OpenAPI 3.1 document of one listener, made of its route tables.

Rule: it is complete because it has no second source: shapes, permissions, headers, limits and every problem stand in
the route that is served. A test calls what it describes and compares.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from wellkeep.api import problems
from wellkeep.api.problems import Problem
from wellkeep.api.routes import Route
from wellkeep.base import errors
from wellkeep.base.errors import WellkeepError
from wellkeep.base.purpose import Purpose
from wellkeep.vault.input import LONGEST_EXTERNAL_ID

_REFERENCE = "#/components/schemas/{name}"
_EVERYWHERE: tuple[type[WellkeepError], ...] = (
    problems.MalformedRequest,
    problems.MethodNotAllowed,
    errors.Validation,
    problems.HeadersTooLarge,
    errors.Internal,
    errors.Unavailable,
)
_PROTECTED: tuple[type[WellkeepError], ...] = (
    errors.Unauthenticated,
    errors.Forbidden,
    errors.NotFound,
    errors.PurposeRequired,
    errors.SecondFactorRequired,
    errors.StepUpRequired,
    errors.KeysRevoked,
    errors.RateLimited,
    errors.BudgetExceeded,
    errors.LedgerUnavailable,
    errors.KeysUnavailable,
)
_WITH_BODY: tuple[type[WellkeepError], ...] = (
    errors.TooLarge,
    problems.UnsupportedMediaType,
    problems.RequestTimeout,
)

_REQUEST_HEADERS: dict[str, dict[str, Any]] = {
    "X-Purpose-Of-Use": {
        "description": "why PHI is looked at (HL7 v3 PurposeOfUse); required on reads where the tenant says so",
        "schema": {"type": "string", "enum": [purpose.value for purpose in Purpose]},
        "example": "TREAT",
    },
    "Idempotency-Key": {
        "description": "repeating the same request with the same key within 24 hours gives the first answer again",
        "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
        "example": "9b0c1f8e-order-17",
    },
    "If-Match": {
        "description": "the ETag that you read; 412 where it has changed since, 428 where the header is missing",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[1-9][0-9]{0,8}"$'},
        "example": '"1"',
    },
    "If-None-Match": {
        "description": "the ETag that you have; 304 where it is still the one",
        "schema": {"type": "string"},
        "example": '"1"',
    },
}
_ANSWER_HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-Id": {
        "description": "the id of this request in the ledger and in the logs",
        "schema": {"type": "string", "format": "uuid"},
    },
    "ETag": {
        "description": "the revision, in double quotes",
        "schema": {"type": "string", "pattern": '^"[1-9][0-9]{0,8}"$'},
    },
    "Location": {"description": "where to read what was made", "schema": {"type": "string"}},
    "Retry-After": {"description": "seconds to wait", "schema": {"type": "integer"}},
    "WWW-Authenticate": {"description": "how to authenticate", "schema": {"type": "string"}},
    "Allow": {"description": "the methods of this address", "schema": {"type": "string"}},
    "Cache-Control": {"description": "always no-store", "schema": {"type": "string", "const": "no-store"}},
}
_PATH_SCHEMAS: dict[str, dict[str, Any]] = {
    "collection": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}$"},
    "number": {"type": "integer", "minimum": 0, "maximum": 999_999},
    "external_id": {"type": "string", "minLength": 1, "maxLength": LONGEST_EXTERNAL_ID},
}
_IDENTIFIER = {"type": "string", "format": "uuid"}
_TITLES = {
    200: "Done",
    201: "Made",
    202: "Taken, and done in the background",
    204: "Done; no content",
    303: "Go there",
    304: "You have it already",
    503: "Not ready",
}
_EMPTY = frozenset({204, 303, 304})
"""Answers whose whole meaning is in the head."""


def document(routes: Sequence[Route], *, title: str) -> dict[str, Any]:
    """Return the OpenAPI document of `routes`."""
    shapes = {shape for route in routes for shape in (route.body, route.returns) if shape not in {None, bytes}}
    ordered = sorted(shapes | {Problem}, key=lambda shape: str(shape.__name__))
    _, schemas = msgspec.json.schema_components(ordered, ref_template=_REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": version("wellkeep"),
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer", "bearerFormat": _KEY_FORMAT}},
        },
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
    }


_ABOUT = (
    "Records go in sealed and come out only with a ledger entry. Bodies are JSON; problems are RFC 9457 documents "
    "with a stable `type`; unknown keys, unknown query parameters and duplicate keys are refused."
)
_KEY_FORMAT = "wk_<environment>_<key id>_<secret>"


def problems_of(route: Route) -> tuple[type[WellkeepError], ...]:
    """Return every problem that `route` can answer with, once."""
    kinds = [*_EVERYWHERE, *route.problems]
    if route.permission is not None:
        kinds += _PROTECTED
    if route.body is not None:
        kinds += _WITH_BODY
    if "If-Match" in route.takes:
        kinds += [errors.PreconditionFailed, errors.PreconditionRequired]
    return tuple(dict.fromkeys(kinds))


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": _parameters(route),
        "responses": _responses(route),
        "security": [{"apiKey": []}] if route.permission is not None else [],
    }
    if route.permission is not None:
        operation["x-permission"] = route.permission.value
    else:
        operation["x-open-because"] = route.open_because
    if route.body is not None:
        content: dict[str, Any] = {"schema": _schema(route.body)}
        if route.example:
            content["example"] = route.example
        operation["requestBody"] = {"required": True, "content": {route.media: content}}
        operation["x-body-limit"] = route.limit
    return operation


def _schema(shape: Any) -> dict[str, Any]:
    return (
        {"type": "string", "format": "binary"} if shape is bytes else {"$ref": _REFERENCE.format(name=shape.__name__)}
    )


def _parameters(route: Route) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _PATH_SCHEMAS.get(name, _IDENTIFIER)}
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]
    found += [
        {
            "name": parameter.name,
            "in": "query",
            "required": False,
            "description": parameter.meaning,
            "schema": {"type": "string", "pattern": f"^{parameter.pattern.pattern}$"},
            "example": parameter.example,
        }
        for parameter in route.query
    ]
    return found + [{"name": name, "in": "header", **_REQUEST_HEADERS[name]} for name in route.takes]


def _headers(names: Sequence[str]) -> dict[str, Any]:
    return {name: _ANSWER_HEADERS[name] for name in ("X-Request-Id", "Cache-Control", *names)}


def _responses(route: Route) -> dict[str, Any]:
    done: dict[str, Any] = {"description": _TITLES[route.status], "headers": _headers(route.answer_headers)}
    if route.returns is not None:
        done["content"] = {"application/json": {"schema": _schema(route.returns)}}
    elif route.status not in _EMPTY:
        done["content"] = {route.answer_media: {"schema": {"type": "string"}}}
    if route.also_media:
        done["content"][route.also_media] = {"schema": {"type": "string"}}
    responses = {str(route.status): done}
    for status in route.also:
        other = {"description": _TITLES[status], "headers": _headers(route.answer_headers)}
        if status not in _EMPTY and "content" in done:
            other["content"] = done["content"]
        responses[str(status)] = other
    for status, kinds in _by_status(problems_of(route)).items():
        refusal = _refusal(status, kinds)
        if str(status) in responses:
            refusal["content"] |= responses[str(status)].get("content", {})
        responses[str(status)] = refusal
    return dict(sorted(responses.items()))


def _by_status(kinds: Sequence[type[WellkeepError]]) -> dict[int, list[type[WellkeepError]]]:
    grouped: dict[int, list[type[WellkeepError]]] = {}
    for kind in kinds:
        grouped.setdefault(kind.status, []).append(kind)
    return grouped


def _refusal(status: int, kinds: Sequence[type[WellkeepError]]) -> dict[str, Any]:
    names = {401: ("WWW-Authenticate",), 405: ("Allow",), 429: ("Retry-After",), 503: ("Retry-After",)}.get(status, ())
    examples = {
        kind.code: {
            "value": {
                "type": problems.TYPE_ROOT + kind.code,
                "title": kind.title,
                "status": status,
                "detail": kind.title,
                "request_id": "0198c0de-0000-7000-8000-000000000000",
            }
        }
        for kind in kinds
    }
    schema = _REFERENCE.format(name="Problem")
    return {
        "description": " · ".join(kind.title for kind in kinds),
        "headers": _headers(names),
        "content": {"application/problem+json": {"schema": {"$ref": schema}, "examples": examples}},
    }
