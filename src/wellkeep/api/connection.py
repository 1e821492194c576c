"""One connection of one client: bounded before the first request is even understood.

Rules: a head arrives whole within its time and size, or the connection is closed; a listener holds a bounded number of
connections; what the HTTP parser refuses is answered with a problem document of ours and none of the parser's words.
The threat is the slow client (Slowloris) and the endless header, for which uvicorn sets no bound with httptools.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from wellkeep.api import headers, limits, problems
from wellkeep.api.answers import JSON_PROBLEM
from wellkeep.base.errors import WellkeepError
from wellkeep.base.ids import uuid7


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's connection, with bounds on its head and on how many there are."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Take what uvicorn gives to each connection."""
        super().__init__(config, server_state, app_state, _loop)
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._refusal: WellkeepError = problems.MalformedRequest("This is not HTTP/1.1 as this server speaks it")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Start the clock; close at once what is one connection too many."""
        super().connection_made(transport)
        if len(self.connections) > limits.CONNECTIONS:
            transport.abort()
            return
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._head_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head, then parse."""
        if self._head_timer is None and self._between_requests():
            self._expect_head()
        if self._head_timer is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_timer is not None and self._head_bytes > limits.HEAD_BYTES and not self.transport.is_closing():
            self._refusal = problems.HeadersTooLarge()
            self.send_400_response("")

    def on_headers_complete(self) -> None:
        """Refuse a head that is too large in all; uvicorn goes on with any other."""
        self._head_arrived()
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > limits.HEAD_BYTES or len(self.headers) > limits.HEAD_LINES:
            self._refusal = problems.HeadersTooLarge()
            raise ValueError("head too large")  # the parser stops and `send_400_response` answers
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # the parser's words stay here
        """Answer what could not be parsed, and close."""
        if self.transport.is_closing():
            return
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.abort()  # an answer is on its way: another one in its midst would be taken for its body
            return
        request = uuid7()
        answer = problems.answer(self._refusal, request=request)
        lines = [STATUS_LINE[answer.status]]
        fields = [*self.server_state.default_headers, *headers.SECURITY, *answer.headers]
        fields += [
            (b"x-request-id", str(request).encode()),
            (b"content-type", JSON_PROBLEM),
            (b"content-length", b"%d" % len(answer.body)),
        ]
        lines += [name + b": " + value + b"\r\n" for name, value in fields]
        if not answer.headers:
            lines.append(b"connection: close\r\n")
        self.transport.write(b"".join([*lines, b"\r\n", answer.body]))
        self.transport.close()

    def _between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expect_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(limits.HEAD_SECONDS, self._head_late)

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.abort()
