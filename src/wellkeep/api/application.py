"""One Litestar application a listener, made of route tables.

Rules: Litestar routes and sends; it neither decodes nor documents nor explains errors, because its texts quote what was
sent. A listener serves its own tables alone: administration does not exist on the public one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from litestar import Litestar, Request, Response
from litestar.exceptions import MethodNotAllowedException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from wellkeep.api import catalogue
from wellkeep.api.answers import Answer
from wellkeep.api.edge import Edge
from wellkeep.api.endpoint import endpoint, refused
from wellkeep.api.exchange import exchange_of
from wellkeep.api.metrics import Metrics
from wellkeep.api.routes import Listener, Route
from wellkeep.api.runtime import Runtime
from wellkeep.base.clock import Clock, SystemClock


@dataclass(frozen=True, slots=True)
class Application:
    """A listener's application: what uvicorn runs, and what is inside for tests to look at."""

    asgi: ASGIApp
    litestar: Litestar
    routes: tuple[Route, ...]


def build(
    runtime: Runtime, *, listener: Listener, metrics: Metrics | None = None, clock: Clock | None = None
) -> Application:
    """Return the application of `listener`; raises Misconfigured where a route is neither protected nor open."""
    counters = metrics or Metrics(catalogue.names())
    routes = catalogue.routes(listener, counters)
    inner = assemble(routes, runtime, listener)
    edge = Edge(inner, listener=listener, metrics=counters, clock=clock or SystemClock())
    return Application(edge, inner, routes)


def assemble(routes: Sequence[Route], runtime: Runtime, listener: Listener = "public") -> Litestar:
    """Return the Litestar application that serves `routes` and nothing of its own."""

    def on_error(request: Request, error: Exception) -> Response:  # type: ignore[type-arg]  # Litestar resolves the names
        return _response(refused(error, exchange_of(request.scope), allow=_allow(error)))

    return Litestar(
        [
            HTTPRouteHandler(
                route.litestar_path,
                http_method=route.method,
                status_code=200,  # the answer brings its own
                name=route.name,
                opt={"route": route},
            )(endpoint(route, runtime, listener))
            for route in routes
        ],
        openapi_config=None,
        logging_config=None,
        exception_handlers={Exception: on_error},
        debug=False,
    )


def _allow(error: Exception) -> str | None:
    """Return the methods of the address, which Litestar knows from our own tables."""
    if isinstance(error, MethodNotAllowedException) and error.headers:
        return error.headers.get("allow")
    return None


def _response(answer: Answer) -> Response:  # type: ignore[type-arg]  # as above
    headers = {name.decode("ascii"): value.decode("ascii") for name, value in answer.headers}
    return Response(answer.body, status_code=answer.status, media_type=answer.media.decode("ascii"), headers=headers)
