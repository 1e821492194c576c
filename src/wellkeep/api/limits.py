"""What one caller may cost: bytes, seconds, connections.

Rules: every body is counted while it arrives, whatever `Content-Length` says; every request has an end; a head that
trickles in is cut off. The threat is a client that takes memory or time from the others (RFC 9110 names no bound, so we
do).
"""

from __future__ import annotations

import asyncio

from litestar.types import Receive

from wellkeep.api.problems import MalformedRequest, RequestTimeout
from wellkeep.base.errors import TooLarge

RECORD_BYTES = 1024 * 1024
"""Largest JSON body."""
PART_BYTES = 8 * 1024 * 1024
"""Largest part of an import."""
DRAINED_BYTES = 32 * 1024 * 1024
"""Of a body that is refused, as much is read and dropped so that the client gets to see the answer."""
DRAINED_SECONDS = 5.0
BODY_SECONDS = 20.0
"""A body has arrived after this long, or is refused with 408."""
REQUEST_SECONDS = 30.0
"""An ordinary request is given up after this long, with 503."""
LONG_REQUEST_SECONDS = 120.0
"""The same for batches, parts and exports."""
HEAD_BYTES = 16 * 1024
HEAD_LINES = 64
HEAD_SECONDS = 10.0
"""A request line with its headers has arrived after this long, or the connection is closed."""
HANDSHAKE_SECONDS = 10.0
IDLE_SECONDS = 15
"""An idle connection is kept this long."""
CONNECTIONS = 4096
"""Connections a listener holds in one process."""
IN_FLIGHT = 512
"""Requests a process works at; what comes on top is sent away with 503."""
QUERY_BYTES = 4096
QUERY_PARAMETERS = 16


async def read_body(receive: Receive, *, announced: bytes | None, limit: int, waits: bool) -> bytes:
    """Return the body, at most `limit` bytes.

    `announced` is the Content-Length as it was sent, `waits` whether the client waits for `100 Continue` before it
    sends. Raises TooLarge, RequestTimeout where it does not arrive in time, MalformedRequest where the client leaves.
    """
    if announced is not None and _announced(announced) > limit:
        if not waits and _announced(announced) <= DRAINED_BYTES:
            await _drain(receive)
        raise TooLarge(_too_large(limit))
    message = await _next(receive)
    if not message[1]:
        if len(message[0]) > limit:
            raise TooLarge(_too_large(limit))
        return message[0]
    return await _gather(receive, first=message[0], limit=limit)


async def _gather(receive: Receive, *, first: bytes, limit: int) -> bytes:
    body = bytearray(first)
    more = True
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while more and len(body) <= limit:
                piece, more = await _next(receive)
                body += piece
    except TimeoutError:
        raise RequestTimeout from None
    if len(body) > limit:
        del body
        if more:
            await _drain(receive)
        raise TooLarge(_too_large(limit))
    return bytes(body)


async def _next(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] != "http.request":
        raise MalformedRequest("The connection was closed before the body had arrived")
    return message.get("body", b""), message.get("more_body", False)


async def _drain(receive: Receive) -> None:
    dropped = 0
    more = True
    try:
        async with asyncio.timeout(DRAINED_SECONDS):
            while more and dropped <= DRAINED_BYTES:
                piece, more = await _next(receive)
                dropped += len(piece)
    except TimeoutError:
        return


def _announced(text: bytes) -> int:
    if not text.isdigit() or len(text) > 15:  # noqa: PLR2004  # the parser has refused worse before us
        raise MalformedRequest("Content-Length is not a number of bytes")
    return int(text)


def _too_large(limit: int) -> str:
    return f"The body of this address holds at most {limit} bytes"
