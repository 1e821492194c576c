"""The outermost layer of a listener: what every answer carries and every request costs, routed or not.

Rules: each answer, errors of routing included, has our request id and the security headers; a process works at a
bounded number of requests; one line is logged a request, of ids and numbers. The threats: an answer that escaped the
defences because it was made by a library, and a log that holds an address with a patient in it.
"""

from __future__ import annotations

from typing import Any

from litestar.types import ASGIApp, Message, Receive, Send

from wellkeep.api import headers, limits, logs, problems
from wellkeep.api.exchange import Exchange, attach
from wellkeep.api.metrics import Metrics
from wellkeep.api.routes import Listener
from wellkeep.base.clock import Clock
from wellkeep.base.errors import Internal, Unavailable
from wellkeep.base.ids import uuid7

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"})


class Edge:
    """An ASGI application around another."""

    def __init__(self, inner: ASGIApp, *, listener: Listener, metrics: Metrics, clock: Clock) -> None:
        """Wrap `inner`, the application of one listener."""
        self._inner = inner
        self._listener = listener
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        exchange = Exchange(uuid7(), self._clock.monotonic())
        attach(scope, exchange)
        carried = (*headers.SECURITY, (b"x-request-id", str(exchange.request).encode()))

        async def dispatch(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                given = list(message["headers"])
                own = {name for name, _ in given} if exchange.route is not None and exchange.route.renders else ()
                message["headers"] = [*given, *exchange.rate] + [pair for pair in carried if pair[0] not in own]
            await send(message)

        metrics = self._metrics
        metrics.in_flight += 1
        try:
            if metrics.in_flight > limits.IN_FLIGHT:
                await _overloaded(exchange)(scope, receive, dispatch)
            else:
                await self._inner(scope, receive, dispatch)
        except Exception as error:
            logs.log.error("request.broken", error=error, request=exchange.request)
            if exchange.status:
                raise
            await problems.answer(Internal(), request=exchange.request)(scope, receive, dispatch)
        finally:
            metrics.in_flight -= 1
            self._record(scope, exchange)

    def _record(self, scope: Any, exchange: Exchange) -> None:
        elapsed = self._clock.monotonic() - exchange.started
        route = exchange.route
        self._metrics.count(route.name if route else None, status=exchange.status, microseconds=int(elapsed * 1e6))
        method = scope.get("method", "")
        logs.request_line(
            listener=self._listener,
            method=method if method in _METHODS else "other",
            route=route.path if route else "-",
            status=exchange.status,
            ms=round(elapsed * 1000, 2),
            request=exchange.request,
            tenant=exchange.tenant,
            code=exchange.code,
        )


def _overloaded(exchange: Exchange) -> ASGIApp:
    exchange.code = Unavailable.code
    error = Unavailable("More requests are under way than this server works at. Repeat it shortly.", retry_after=1)
    return problems.answer(error, request=exchange.request)
