"""One request through one route: known headers, identity, body, the route's function, within its time.

Every exception ends here as a problem document; what was unforeseen is logged by its type and our own frames.
The order is the defence: nobody's body is read before they are known, nothing is decoded before it is bounded, and no
service is reached by an address whose query or media type was not understood.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from litestar import Request
from litestar.types import ASGIApp

from wellkeep.access.limits import FAILED_WEIGHT
from wellkeep.api import browser, decoding, headers, limiting, peer, problems, query
from wellkeep.api.answers import Answer, Stream
from wellkeep.api.exchange import Exchange, exchange_of
from wellkeep.api.limits import read_body
from wellkeep.api.logs import log
from wellkeep.api.routes import Call, Listener, Route
from wellkeep.api.runtime import Runtime
from wellkeep.base import errors
from wellkeep.gate.acts import Caller

Endpoint = Callable[[Request], Awaitable[ASGIApp]]  # type: ignore[type-arg]  # Litestar resolves the bare name

_UNDECODED = (None, bytes)


def endpoint(route: Route, runtime: Runtime, listener: Listener = "public") -> Endpoint:
    """Return the handler that Litestar calls for `route` of `listener`."""
    protected = route.permission is not None

    async def handle(request: Request) -> ASGIApp:  # type: ignore[type-arg]  # Litestar resolves the bare name
        scope = request.scope
        exchange = exchange_of(scope)
        exchange.route = route
        try:
            found = headers.known(scope["headers"])
            async with asyncio.timeout(route.seconds):
                if protected:
                    caller = await _identify(runtime, exchange, request, found)
                    await limiting.admit(runtime.limits, exchange, caller, weight=route.weight)
                else:
                    caller = None
                    weight, kind = route.weight, route.counted
                    await limiting.admit_stranger(runtime.limits, exchange, request.scope, weight=weight, kind=kind)
                browser.must_be_ours(found, request.method)
                parameters = query.parse(scope["query_string"], route.query)
                raw = b"" if route.body is None else await _body(route, request, found)
                body = raw if route.body in _UNDECODED else await decoding.decode_aside(raw, route.body)
                path = scope["path_params"]
                asked = (runtime, exchange.request, found, path, scope["raw_path"], parameters, body, caller)
                call = Call(*asked, peer.address(scope), listener)
                answer: Answer | Stream = await route.serve(call)
                if isinstance(answer, Stream):
                    await answer.prepare()
        except Exception as error:  # noqa: BLE001  # the edge is where every error becomes a problem document
            return _refused(error, exchange, route, request)
        return answer

    return handle


def refused(error: Exception, exchange: Exchange, *, allow: str | None = None) -> Answer:
    """Return the problem document of `error`, and log it where the fault is ours."""
    return problems.answer(_noted(error, exchange), request=exchange.request, allow=allow)


def _noted(error: Exception, exchange: Exchange) -> errors.WellkeepError:
    known = problems.translate(error)
    exchange.code = known.code
    if known.status == errors.Internal.status:
        log.error("request.failed", error=error, request=exchange.request)
    return known


def _refused(error: Exception, exchange: Exchange, route: Route, request: Request) -> Answer:  # type: ignore[type-arg]
    """Return a page for a browser that asked for one, else the problem document."""
    if route.refuse is None or not headers.from_a_page(request.scope["headers"]):
        return refused(error, exchange)
    return route.refuse(_noted(error, exchange), request.scope["path"], exchange.request)


async def _identify(runtime: Runtime, exchange: Exchange, request: Request, found: dict[bytes, bytes]) -> Caller:  # type: ignore[type-arg]
    ip = peer.address(request.scope)
    agent = headers.agent(found)
    try:
        principal = await runtime.authenticator.authenticate(
            headers.authorization(found),
            request=exchange.request,
            ip=ip,
            agent=agent,
            session=browser.presented(found, request.method),
        )
    except errors.Unauthenticated:
        await limiting.admit_stranger(runtime.limits, exchange, request.scope, weight=FAILED_WEIGHT)
        raise
    exchange.tenant = principal.tenant
    return Caller(principal, headers.purpose(found), exchange.request, ip, agent)


async def _body(route: Route, request: Request, found: dict[bytes, bytes]) -> bytes:  # type: ignore[type-arg]
    headers.expect_media(found, route.media)
    return await read_body(
        request.receive,
        announced=found.get(b"content-length"),
        limit=route.limit,
        waits=b"expect" in found,
    )
