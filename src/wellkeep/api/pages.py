"""The readable reference at /docs, rendered on the server from the route tables.

Rule: a page loads nothing but our own style sheet and runs no script, so its content policy can forbid everything else
and it works on a machine without a network.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from wellkeep.api import headers, openapi, problems
from wellkeep.api.answers import CSS, HTML, Answer
from wellkeep.api.routes import Call, Route
from wellkeep.base import errors

_STYLE = b"""
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font: 14px/1.5 ui-monospace, monospace; }
pre { border: 1px solid var(--line); border-radius: 6px; padding: .75rem; overflow-x: auto; }
section { border-top: 1px solid var(--line); padding: 1rem 0; }
h3 code { font-size: 15px; } .method { display: inline-block; min-width: 4.5rem; font-weight: 700; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line); }
nav ul { columns: 2; list-style: none; padding: 0; } .quiet { opacity: .7; }
"""


def reference_routes(routes: Sequence[Route], *, title: str) -> tuple[Route, ...]:
    """Return the routes that describe `routes` and themselves: the OpenAPI document, the page, its style sheet."""
    served: dict[str, Answer] = {}

    def show(name: str) -> Any:
        async def serve(_call: Call) -> Answer:
            return served[name]

        return serve

    own = (
        _static("/v1/openapi.json", "openapi", "This interface as an OpenAPI 3.1 document", show("openapi")),
        _static("/docs", "docs", "This interface to read", show("docs"), media="text/html"),
        _static("/docs/style.css", "docs_style", "The style sheet of the reference", show("style"), media="text/css"),
        _static("/problems/{code}", "problem_page", "What a problem type means", _problem, media="text/html"),
    )
    described = openapi.document([*routes, *own], title=title)
    served["openapi"] = Answer(200, msgspec.json.encode(described))
    page = "".join(_reference(described, title)).encode()
    served["docs"] = Answer(200, page, media=HTML, headers=(headers.PAGE_POLICY,))
    served["style"] = Answer(200, _STYLE, media=CSS)
    return own


def _static(path: str, name: str, summary: str, serve: Any, *, media: str = "application/json") -> Route:
    return Route(
        method="GET",
        path=path,
        name=name,
        summary=summary,
        tag="reference",
        serve=serve,
        open_because="it is the published documentation",
        answer_media=media,
    )


_PROBLEMS = {kind.code: kind for kind in problems.CATALOGUE}


async def _problem(call: Call) -> Answer:
    kind = _PROBLEMS.get(call.path["code"])
    if kind is None:
        raise errors.NotFound
    body = "".join(
        (
            *_head(kind.title),
            f"<h1>{_text(kind.title)}</h1>",
            f"<p><code>{_text(problems.TYPE_ROOT + kind.code)}</code>, status {kind.status}</p>",
            f"<p>{_text((kind.__doc__ or '').strip())}</p>",
            '<p><a href="/docs">The whole interface</a></p></main></html>',
        )
    )
    return Answer(200, body.encode(), media=HTML, headers=(headers.PAGE_POLICY,))


def _text(value: object) -> str:
    return html.escape(str(value))


def _head(title: str) -> Iterator[str]:
    yield '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    yield f'<title>{_text(title)}</title><link rel="stylesheet" href="/docs/style.css"><main>'


def _reference(described: dict[str, Any], title: str) -> Iterator[str]:
    yield from _head(title)
    yield f"<h1>{_text(title)}</h1><p>{_text(described['info']['description'])}</p>"
    yield '<p>For programs: <a href="/v1/openapi.json">/v1/openapi.json</a>.</p>'
    operations = [
        (method.upper(), path, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    yield "<nav><ul>"
    for method, path, operation in operations:
        yield f'<li><a href="#{_text(operation["operationId"])}">{_text(method)} {_text(path)}</a></li>'
    yield "</ul></nav>"
    for method, path, operation in operations:
        yield from _section(method, path, operation)
    yield "<h2>Shapes</h2>"
    for name, schema in described["components"]["schemas"].items():
        yield f'<section id="shape-{_text(name)}"><h3>{_text(name)}</h3>{_pretty(schema)}</section>'
    yield "<h2>Problems</h2><table>"
    for kind in problems.CATALOGUE:
        where = problems.TYPE_ROOT + kind.code
        yield f'<tr><td><a href="{where}">{kind.code}</a></td><td>{kind.status}</td><td>{_text(kind.title)}</td></tr>'
    yield "</table></main></html>"


def _section(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f'<section id="{_text(operation["operationId"])}">'
    yield f'<h3><code><span class="method">{_text(method)}</span>{_text(path)}</code></h3>'
    yield f"<p>{_text(operation['summary'])}</p>"
    needs = operation.get("x-permission")
    yield f'<p class="quiet">Needs the permission <code>{_text(needs)}</code>.</p>' if needs else ""
    if operation["parameters"]:
        yield "<table>"
        for parameter in operation["parameters"]:
            about = _text(parameter.get("description", ""))
            yield f"<tr><td><code>{_text(parameter['name'])}</code></td><td>{parameter['in']}</td><td>{about}</td></tr>"
        yield "</table>"
    for content in operation.get("requestBody", {}).get("content", {}).values():
        name = content["schema"].get("$ref", "").rpartition("/")[2]
        yield f'<p>Body: <a href="#shape-{_text(name)}">{_text(name)}</a></p>' if name else "<p>Body: bytes</p>"
        yield _pretty(content["example"]) if "example" in content else ""
    yield "<table>"
    for status, answer in operation["responses"].items():
        yield f"<tr><td>{_text(status)}</td><td>{_text(answer['description'])}</td></tr>"
    yield "</table></section>"


def _pretty(value: object) -> str:
    return f"<pre>{_text(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())}</pre>"
