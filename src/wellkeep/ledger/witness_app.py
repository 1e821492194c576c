"""The witness over HTTP: one address, a bounded body in bounded time, nothing of a request in any log (ASGI)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from wellkeep.ledger.witness import MAX_REQUEST_BYTES, Reply, Witness

PATH = "/add-checkpoint"
BODY_SECONDS = 10.0
_AT_ONCE = 8

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class WitnessApp:
    """What uvicorn calls."""

    def __init__(self, witness: Witness, *, body_seconds: float = BODY_SECONDS) -> None:
        """Answer for `witness`."""
        self._witness = witness
        self._body_seconds = body_seconds
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        reply = await self._reply(scope, receive)
        headers = [
            (b"content-type", reply.kind.encode()),
            (b"content-length", b"%d" % len(reply.body)),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        ]
        if reply.status in {408, 413}:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def _reply(self, scope: Message, receive: Receive) -> Reply:
        if scope["path"] != PATH:
            return Reply(404, b"not here\n")
        if scope["method"] != "POST":
            return Reply(405, b"POST\n")
        try:
            async with asyncio.timeout(self._body_seconds):
                body = await _body(receive)
        except TimeoutError:
            return Reply(408, b"too slow\n")
        if body is None:
            return Reply(413, b"too large\n")
        async with self._turns:
            try:
                return await asyncio.to_thread(self._witness.add_checkpoint, body)
            except sqlite3.Error:
                return Reply(503, b"nothing can be kept, so nothing is signed\n")


async def _body(receive: Receive) -> bytes | None:
    """Return the whole body, None where it is too large. Who hangs up sent what they sent."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_REQUEST_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(body)
