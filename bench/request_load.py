"""The load: a bounded number of callers, each with one connection, each sending its next request when it has an answer.

It does as little as it can, since it shares the machine with what is measured: requests are bytes made beforehand, of
an answer the status and the length are read. Its CPU is never counted. Any answer but a success ends the benchmark.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server listens; the certificate is its own, so it is not checked."""

    host: str
    port: int


@dataclass(slots=True)
class Run:
    """What a run gave: seconds a request, and the bodies of the answers, by the number of the request."""

    seconds: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)


class _Caller(asyncio.Protocol):
    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes) -> asyncio.Future[bytes]:
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length or self._answer is None:
            return
        self._buffer = b""
        if head[9:10] == b"2":
            self._answer.set_result(body)
        else:
            self._answer.set_exception(SystemExit(f"not a success: {head[:40]!r} {body[:300]!r}"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(SystemExit(f"the server hung up: {exc}"))

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()


class Callers:
    """So many connections to one server, kept open."""

    def __init__(self, callers: list[_Caller]) -> None:
        self._callers = callers

    def close(self) -> None:
        for caller in self._callers:
            caller.close()

    async def run(self, requests: Sequence[bytes], *, pause: float = 0.0) -> Run:
        """Send all `requests`; a caller waits `pause` seconds between an answer and its next request."""
        result = Run([0.0] * len(requests), [b""] * len(requests))
        numbers = iter(range(len(requests)))
        await asyncio.gather(*(self._work(caller, numbers, requests, result, pause) for caller in self._callers))
        return result

    async def _work(
        self, caller: _Caller, numbers: Iterator[int], requests: Sequence[bytes], result: Run, pause: float
    ) -> None:
        for number in numbers:
            started = time.perf_counter()
            result.bodies[number] = await caller.send(requests[number])
            result.seconds[number] = time.perf_counter() - started
            if pause:
                await asyncio.sleep(pause)


async def connect(target: Target, callers: int) -> Callers:
    """Open `callers` connections over TLS."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    loop = asyncio.get_running_loop()
    found = []
    for _ in range(callers):
        _, caller = await loop.create_connection(_Caller, target.host, target.port, ssl=context)
        found.append(caller)
    return Callers(found)


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """Return the bytes of one request; an underscore in a header's name stands for a dash."""
    lines = [f"{method} {path} HTTP/1.1", "host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body
