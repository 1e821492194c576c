"""What goes back: a status, bytes and headers, written once and sent as they are.

An answer is an ASGI application of its own, so Litestar sends it without another copy, conversion or negotiation.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import msgspec
from litestar.types import Receive, Scope, Send

JSON = b"application/json"
JSON_PROBLEM = b"application/problem+json"
NDJSON = b"application/x-ndjson"
BYTES = b"application/octet-stream"
HTML = b"text/html; charset=utf-8"
CSS = b"text/css; charset=utf-8"
PLAIN = b"text/plain; charset=utf-8"
TEXT = b"text/plain; version=0.0.4; charset=utf-8"

_PIECE_SECONDS = 60.0

Headers = Sequence[tuple[bytes, bytes]]

_encoder = msgspec.json.Encoder()
encode = _encoder.encode


class Answer:
    """A whole answer: `body` is sent with its length; 204 and 304 have none."""

    __slots__ = ("body", "headers", "media", "status")

    def __init__(self, status: int, body: bytes = b"", *, media: bytes = JSON, headers: Headers = ()) -> None:
        """Hold what is to be sent."""
        self.status = status
        self.body = body
        self.media = media
        self.headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's signature
        """Send it."""
        head = [*self.headers]
        if self.body:
            head.append((b"content-type", self.media))
        if self.status not in _BODILESS:
            head.append((b"content-length", b"%d" % len(self.body)))
        await send({"type": "http.response.start", "status": self.status, "headers": head})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


_BODILESS = frozenset({204, 304})


class Stream:
    """An answer in pieces, for exports: each piece was opened under a receipt that the iterator's maker holds.

    A failure half-way breaks the connection off, so that a part is never taken for the whole.
    """

    __slots__ = ("_first", "headers", "media", "pieces", "status")

    def __init__(self, pieces: AsyncIterator[bytes], *, media: bytes, status: int = 200, headers: Headers = ()) -> None:
        """Hold the iterator; nothing is read from it before `prepare`."""
        self.status = status
        self.pieces = pieces
        self.media = media
        self.headers = headers
        self._first = b""

    async def prepare(self) -> None:
        """Make the first piece, so that a refusal still becomes a problem document."""
        self._first = await anext(self.pieces, b"")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's signature
        """Send piece by piece; a client that takes none for a minute is left."""
        head = [*self.headers, (b"content-type", self.media)]
        await send({"type": "http.response.start", "status": self.status, "headers": head})
        await _send_piece(send, self._first)
        async for piece in self.pieces:
            await _send_piece(send, piece)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send_piece(send: Send, piece: bytes) -> None:
    async with asyncio.timeout(_PIECE_SECONDS):
        await send({"type": "http.response.body", "body": piece, "more_body": True})


def json(value: object, *, status: int = 200, headers: Headers = ()) -> Answer:
    """Return `value` (a Struct or built-ins) as JSON."""
    return Answer(status, encode(value), headers=headers)


def etag(revision: int) -> tuple[bytes, bytes]:
    """Return the strong entity tag of a revision (RFC 9110, 8.8.3)."""
    return (b"etag", b'"%d"' % revision)


def location(path: str, identifier: UUID) -> tuple[bytes, bytes]:
    """Return where the thing just made can be read."""
    return (b"location", f"{path}/{identifier}".encode("ascii"))
