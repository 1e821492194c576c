"""One line to Redis, by the one way out: a script that counts, and answers within fifty milliseconds or not at all.

Rules: nothing waits for a connection: it is made in the background, and while there is none whoever asks is told so at
once; an answer that is late, an error or rubbish ends the line, since nobody knows what belongs to what after that;
what is read is a number or nothing. The script is one atomic step on one key, by the clock of the server, which all
workers share. What is stored is a hash of an id and three numbers, and is forgotten by itself. The threats: a store
that is slow, gone, full or somebody else's must slow no request down and let nobody past a limit.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

from wellkeep.base.errors import WellkeepError
from wellkeep.base.secrets import Secret
from wellkeep.egress.egress import Egress

ANSWER_SECONDS: Final = 0.05
CONNECT_SECONDS: Final = 2.0
PAUSE_SECONDS: Final = 0.5
_LONGEST_LINE = 128
_FIELDS = 4

SCRIPT: Final = b"""
local t = redis.call('TIME')
local weight, limit, width = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local index, at = math.floor(now / width), now % width
local held = redis.call('HMGET', KEYS[1], 'i', 'c', 'p')
local was, current, previous = tonumber(held[1]) or -1, tonumber(held[2]) or 0, tonumber(held[3]) or 0
if was ~= index then
  if was == index - 1 then previous = current else previous = 0 end
  current = 0
end
local used = current + math.ceil(previous * (width - at) / width)
local ok = 0
if limit < 0 or used + weight <= limit then
  ok = 1
  current = current + weight
  redis.call('HSET', KEYS[1], 'i', index, 'c', current, 'p', previous)
  redis.call('PEXPIRE', KEYS[1], 2 * width)
end
return {ok, current, previous, at}
"""
_SHA = hashlib.sha1(SCRIPT, usedforsecurity=False).hexdigest().encode()

_log = structlog.get_logger("wellkeep.access")


class LineDown(Exception):
    """There is no line, or it went while the answer was awaited."""


class RedisLine:
    """One per process; `start` it, and `stop` it before the process goes."""

    def __init__(
        self,
        egress: Egress,
        place: str,
        *,
        password: Callable[[], Secret[bytes] | None],
        user: str | None = None,
        changed: Callable[[bool], None],
    ) -> None:
        """Speak to `place`, in clear where it says so; `changed` is told whenever the line comes up or goes down."""
        self._egress = egress
        self._place = place
        self._password = password
        self._user = user
        self._changed = changed
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._waiting: deque[asyncio.Future[list[int]]] = deque()
        self._keeping: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()

    async def start(self) -> None:
        """Begin to connect, and wait until that was tried once, at most two seconds."""
        self._keeping = asyncio.get_running_loop().create_task(self._keep(), name="limits-line")
        with suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._tried.wait()

    async def stop(self) -> None:
        """Hang up."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        self._drop()

    async def count(self, key: str, *, weight: int, limit: int, milliseconds: int) -> list[int]:
        """Return ok (1, 0), the counts of this window and of the one before, and the milliseconds since it began.

        A negative `limit` is none. Raises LineDown.
        """
        if self._streams is None:
            raise LineDown
        answer: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        arguments = (b"%d" % weight, b"%d" % limit, b"%d" % milliseconds)
        self._streams[1].write(_command(b"EVALSHA", _SHA, b"1", key.encode(), *arguments))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await answer
        except TimeoutError:
            self._drop()
            raise LineDown from None

    async def _keep(self) -> None:
        """Connect, read until the line goes, and begin anew."""
        while True:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    streams = await self._connected()
            except (WellkeepError, OSError, ValueError, EOFError) as error:  # a TimeoutError is an OSError
                _log.warning("limits.no_line", error=type(error).__name__)
                self._tell(up=False)
            else:
                self._streams = streams
                self._tell(up=True)
                await self._read(streams[0])
                self._drop()
                self._tell(up=False)
            await asyncio.sleep(PAUSE_SECONDS)

    def _tell(self, *, up: bool) -> None:
        self._tried.set()
        self._changed(up)

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        place = self._egress.places.get(self._place)
        reader, writer = await self._egress.stream(self._place, tls=place is None or not place.clear)
        try:
            secret = self._password()
            if secret is not None:
                user = () if self._user is None else (self._user.encode(),)
                writer.write(_command(b"AUTH", *user, secret.reveal().strip()))
                await _expect(reader, b"+OK")
            writer.write(_command(b"SCRIPT", b"LOAD", SCRIPT))
            await _expect(reader, b"$40")
            await _expect(reader, _SHA)
        except BaseException:
            writer.close()
            raise
        return reader, writer

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Hand out answers until something comes that is none."""
        with suppress(OSError, ValueError, EOFError):
            while True:
                numbers = await _numbers(reader)
                if not self._waiting:
                    return
                answer = self._waiting.popleft()
                if not answer.done():
                    answer.set_result(numbers)

    def _drop(self) -> None:
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].transport.abort()
        while self._waiting:
            answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(LineDown())


def _command(*parts: bytes) -> bytes:
    return b"".join((b"*%d\r\n" % len(parts), *(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)))


async def _line(reader: asyncio.StreamReader) -> bytes:
    line = await reader.readline()
    if not line.endswith(b"\r\n") or len(line) > _LONGEST_LINE:
        raise ValueError
    return line[:-2]


async def _expect(reader: asyncio.StreamReader, wanted: bytes) -> None:
    if await _line(reader) != wanted:
        raise ValueError


async def _numbers(reader: asyncio.StreamReader) -> list[int]:
    """Return the four numbers of an answer; raises ValueError for anything else, an error of the server's included."""
    await _expect(reader, b"*%d" % _FIELDS)
    found = []
    for _ in range(_FIELDS):
        line = await _line(reader)
        if not line.startswith(b":") or not line[1:].isdigit():
            raise ValueError
        found.append(int(line[1:]))
    return found
