"""One line to Redis, by the one way out: a script that counts, and answers within fifty milliseconds or not at all.

Rules: nothing waits for a connection: it is made in the background, and while there is none whoever asks is told so at
once; an answer that is late, an error or rubbish ends the line, since nobody knows what belongs to what after that;
what is read is a number or nothing. The script is one atomic step on one key, by the clock of the server, which all
workers share. What is stored is a hash of an id and three numbers, and is forgotten by itself; beside them there is one
number by which a store is known again. A store that lost what it held, by a restart or by somebody's hand, is told by
each worker what that one let through, before it is asked again; one that was merely cut off is told what it missed.
The threats: a store that is slow, gone, full, emptied or somebody else's must slow no request down and let nobody past
a limit.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol

import structlog

from wellkeep.base.errors import WellkeepError
from wellkeep.base.secrets import Secret
from wellkeep.egress.egress import Egress

ANSWER_SECONDS: Final = 0.05
CONNECT_SECONDS: Final = 2.0
PAUSE_SECONDS: Final = 0.5
TELLING_SECONDS: Final = 10.0
_LONGEST_LINE = 128
_FIELDS = 4
_AT_ONCE = 500
_FORGOT = 2

SCRIPT: Final = b"""
if tonumber(redis.call('HMGET', KEYS[2], 'b')[1]) ~= tonumber(ARGV[4]) then return {2, 0, 0, 0} end
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
_BEGIN: Final = b"""
local held = redis.call('HMGET', KEYS[1], 'b')[1]
if not held then
  held = ARGV[1]
  redis.call('HSET', KEYS[1], 'b', held)
end
return tonumber(held)
"""
_SHA, _BEGIN_SHA = (hashlib.sha1(text, usedforsecurity=False).hexdigest().encode() for text in (SCRIPT, _BEGIN))

_log = structlog.get_logger("wellkeep.access")


class LineDown(Exception):
    """There is no line, or it went while the answer was awaited."""


@dataclass(frozen=True, slots=True)
class Owed:
    """A count that Redis has not, or no longer: its key there, its weight and window, and what to call once it has."""

    key: str
    weight: int
    milliseconds: int
    told: Callable[[], None]


class Keeper(Protocol):
    """Who counts beside Redis; `marker` is the key by which a store is known again."""

    marker: str

    def owed(self, *, everything: bool) -> Iterator[Owed]:
        """Return what Redis was not told; or `everything` that counts still, where it has forgotten."""
        ...


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
        self.keeper: Keeper | None = None
        self._began: int | None = None
        self._forgot = False
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
        self._streams[1].write(self._counting(key, weight=weight, limit=limit, milliseconds=milliseconds))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                told = await answer
        except TimeoutError:
            self._drop()
            raise LineDown from None
        if told[0] == _FORGOT:
            self._drop()
            raise LineDown
        return told

    def disbelieve(self) -> None:
        """Hang up on what answers in the right form and can't be true; whoever waits is told that there is no line."""
        _log.warning("limits.line_disbelieved")
        self._drop()

    def _counting(self, key: str, *, weight: int, limit: int, milliseconds: int) -> bytes:
        numbers = (b"%d" % weight, b"%d" % limit, b"%d" % milliseconds, b"%d" % (self._began or 0))
        return _command(b"EVALSHA", _SHA, b"2", key.encode(), self._marker, *numbers)

    @property
    def _marker(self) -> bytes:
        return b"wk:began" if self.keeper is None else self.keeper.marker.encode()

    async def _keep(self) -> None:
        """Connect, read until the line goes, and begin anew."""
        while True:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    streams = await self._connected()
                await self._tell_owed(*streams)
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
            for script, sha in ((SCRIPT, _SHA), (_BEGIN, _BEGIN_SHA)):
                writer.write(_command(b"SCRIPT", b"LOAD", script))
                await _expect(reader, b"$40")
                await _expect(reader, sha)
            fresh = b"%d" % (1 + secrets.randbelow(2**48))
            writer.write(_command(b"EVALSHA", _BEGIN_SHA, b"1", self._marker, fresh))
            began = await _number(reader)
            if began != self._began:
                self._forgot = self._forgot or self._began is not None
                self._began = began
        except BaseException:
            writer.close()
            raise
        return reader, writer

    async def _tell_owed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Tell Redis what it has not; what comes meanwhile is counted here, and told in a second round."""
        if self._forgot:
            _log.warning("limits.store_forgot")
        try:
            async with asyncio.timeout(TELLING_SECONDS):
                for everything in (self._forgot, False):
                    await self._tell_each(reader, writer, everything=everything)
        except BaseException:
            writer.close()
            raise
        self._forgot = False

    async def _tell_each(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, everything: bool) -> None:
        """Tell what is owed, many at once. Raises ValueError where one of the answers is none."""
        owed = iter(()) if self.keeper is None else self.keeper.owed(everything=everything)
        while some := list(islice(owed, _AT_ONCE)):
            for one in some:
                writer.write(self._counting(one.key, weight=one.weight, limit=-1, milliseconds=one.milliseconds))
            for one in some:
                if (await _numbers(reader))[0] != 1:
                    raise ValueError
                one.told()

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
    return [await _number(reader) for _ in range(_FIELDS)]


async def _number(reader: asyncio.StreamReader) -> int:
    line = await _line(reader)
    if not line.startswith(b":") or not line[1:].isdigit():
        raise ValueError
    return int(line[1:])
