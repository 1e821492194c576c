"""The plain listener: it redirects people to HTTPS and refuses programs.

Rules: a page is redirected (308), the API never: a client that follows redirects would send its key in clear with every
request and nobody would notice. A key that came in clear is exposed, whatever is answered now and whichever network it
is bound to, so it is reported, by its id alone, and belongs revoked. Looking for it counts like a failed sign-in of
the address that it came from. The address to go to is ours, never the request's Host.
"""

from __future__ import annotations

import re
from typing import Any

from litestar.types import Receive, Send

from wellkeep.access.limits import FAILED_WEIGHT
from wellkeep.api import headers, limits, peer, problems
from wellkeep.api.answers import Answer
from wellkeep.api.logs import log
from wellkeep.api.runtime import Runtime
from wellkeep.base.errors import NotFound, RateLimited, Unavailable, WellkeepError
from wellkeep.base.ids import uuid7
from wellkeep.findings.grammar import Kind, Severity

_PAGE = re.compile(rb"/(?:[A-Za-z0-9_-][A-Za-z0-9._~-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._~-]*)*/?)?")
_PERMANENT = 308


class Redirector:
    """The ASGI application of the plain listener."""

    def __init__(self, runtime: Runtime, *, authority: str) -> None:
        """Send pages to `https://<authority>`."""
        self._runtime = runtime
        self._origin = f"https://{authority}".encode("ascii")
        self._in_flight = 0

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Redirect a page, refuse everything else, and report a key."""
        if scope["type"] != "http":
            return
        request = uuid7()
        self._in_flight += 1
        try:
            answer = await self._answer(scope)
        except WellkeepError as error:
            answer = problems.answer(error, request=request)
        finally:
            self._in_flight -= 1
        answer.headers = [*answer.headers, *headers.SECURITY, (b"x-request-id", str(request).encode())]
        log.info("request", listener="plain", route="-", status=answer.status, request=request)
        await answer(scope, receive, send)

    async def _answer(self, scope: Any) -> Answer:
        if self._in_flight > limits.IN_FLIGHT:
            raise Unavailable(retry_after=1)
        await self._report(scope)
        path = scope["raw_path"]
        if path == b"/v1" or path.startswith(b"/v1/"):
            raise problems.HttpsRequired("Use https://. A key that was sent here counts as exposed: revoke it.")
        if scope["method"] not in {"GET", "HEAD"} or _PAGE.fullmatch(path) is None:
            raise NotFound
        return Answer(_PERMANENT, headers=[(b"location", self._origin + path)])

    async def _report(self, scope: Any) -> None:
        """Report the key that came with the request, if it is one of ours; only its id goes on.

        One header is looked at: a request with sixty of them must not cost sixty look-ups. Raises RateLimited.
        """
        value = next((value for name, value in scope["headers"] if name == b"authorization"), None)
        if value is None:
            return
        ip = peer.address(scope)
        _, taken = await self._runtime.limits.of_address(ip, weight=FAILED_WEIGHT)
        if not taken.ok:
            raise RateLimited("Slow down, and use https://", retry_after=taken.wait)
        try:
            principal = await self._runtime.authenticator.exposed(value.decode("latin-1"), request=uuid7(), ip=ip)
        except WellkeepError:
            return  # nothing to look it up with: there is no id to report
        if principal is None:
            return
        credential = str(principal.credential)
        await self._runtime.findings.report(
            principal.tenant,
            kind=Kind.CREDENTIAL_EXPOSED,
            severity=Severity.HIGH,
            key=f"{Kind.CREDENTIAL_EXPOSED}:{credential}",
            detail={"credential": credential},
        )
