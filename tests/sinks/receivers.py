"""Receivers on loopback, written against the RFCs and the manuals alone, with good manners and bad ones.

Each keeps what it took, as (log, seq, prev, leaf, stored bytes) or a gap, so that a test can check the chain like a
receiver would.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

Manner = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
TOKEN = "11111111-2222-3333-4444-555555555555"


@dataclass
class Taken:
    """What a receiver has, in the order in which it came."""

    entries: list[tuple[str, int, str, str, bytes]] = field(default_factory=list)
    gaps: list[dict[str, Any]] = field(default_factory=list)

    def document(self, document: dict[str, Any]) -> None:
        """Take a record in the format `raw`."""
        assert document["v"] == 1
        if document["type"] == "gap":
            self.gaps.append(document)
            return
        assert document["type"] == "entry"
        self.entries.append(
            (document["log"], document["seq"], document["prev"], document["leaf"], document["entry"].encode())
        )

    def seqs(self, log: str) -> list[int]:
        """Return the positions that came of a log, each once, as they came first."""
        return list(dict.fromkeys(seq for name, seq, *_ in self.entries if name == log))

    @property
    def logs(self) -> list[str]:
        return list(dict.fromkeys(name for name, *_ in self.entries))

    def check(self) -> int:
        """Check every hash, link and order; return how many different entries there are."""
        leaves: dict[tuple[str, int], str] = {}
        for log, seq, prev, leaf, entry in self.entries:
            assert sha256(b"\0" + entry).hexdigest() == leaf
            said = json.loads(entry)
            assert (said["log"], said["seq"], said["prev"]) == (log, seq, prev)
            assert leaves.setdefault((log, seq), leaf) == leaf
            before = leaves.get((log, seq - 1))
            assert before is None or before == prev
            assert seq != 0 or prev == "0" * 64
        for log in self.logs:
            seqs = self.seqs(log)
            assert seqs == sorted(seqs), "not in the order of the log"
        return len(leaves)

    def whole(self, log: str, size: int, *, start: int = 0) -> bool:
        return self.seqs(log) == list(range(start, size))


def read_lines(*paths: Path) -> Taken:
    """Return what the whole lines of these files hold: one that is still being written is none yet, as for an agent."""
    taken = Taken()
    for path in paths:
        for line in path.read_bytes().split(b"\n")[:-1]:
            taken.document(json.loads(line))
    return taken


# ------------------------------------------------------------------------------------------------------------- syslog

_HEADER = re.compile(
    rb"<(?P<pri>[0-9]{1,3})>1 (?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)) "
    rb"(?P<host>[!-~]{1,255}) (?P<app>[!-~]{1,48}) (?P<proc>[!-~]{1,128}) (?P<id>[!-~]{1,32}) "
)
_SD_NAME = re.compile(rb"[!#-<>-\\^-~]{1,32}")


@dataclass(frozen=True)
class Message:
    """A parsed SYSLOG-MSG."""

    priority: int
    time: str
    host: str
    app: str
    kind: str
    name: str
    told: dict[str, str]
    body: bytes


def parse(message: bytes) -> Message:
    """Read one message by the grammar of RFC 5424, section 6, with one element of structured data."""
    head = _HEADER.match(message)
    assert head is not None, message[:80]
    assert int(head["pri"]) <= 191
    at = head.end()
    assert message[at : at + 1] == b"["
    at += 1
    name, at = _sd_name(message, at)
    told: dict[str, str] = {}
    while message[at : at + 1] == b" ":
        parameter, at = _sd_name(message, at + 1)
        assert message[at : at + 2] == b'="'
        value, at = _sd_value(message, at + 2)
        assert parameter not in told
        told[parameter] = value
    assert message[at : at + 2] == b"] "
    return Message(
        int(head["pri"]),
        head["time"].decode(),
        head["host"].decode(),
        head["app"].decode(),
        head["id"].decode(),
        name,
        told,
        message[at + 2 :],
    )


def _sd_name(message: bytes, at: int) -> tuple[str, int]:
    found = _SD_NAME.match(message, at)
    assert found is not None
    return found[0].decode(), found.end()


def _sd_value(message: bytes, at: int) -> tuple[str, int]:
    value = bytearray()
    while message[at : at + 1] != b'"':
        assert message[at : at + 1] not in (b"", b"]")
        if message[at : at + 1] == b"\\" and message[at + 1 : at + 2] in (b'"', b"\\", b"]"):
            at += 1
        value += message[at : at + 1]
        at += 1
    return value.decode(), at + 1


@dataclass
class Syslog:
    """A receiver by RFC 5425: octet counting over TLS, to the end of the connection."""

    most: int = 8192
    taken: Taken = field(default_factory=Taken)
    messages: list[Message] = field(default_factory=list)
    documents: list[dict[str, Any]] = field(default_factory=list)
    _parts: dict[str, list[bytes]] = field(default_factory=dict)

    async def manner(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take messages until the sender ends, and end then, as section 4.4 asks."""
        while await self.one(reader):
            pass
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def one(self, reader: asyncio.StreamReader) -> bool:
        """Take one message; False at the end."""
        digits = b""
        while (byte := await reader.read(1)) != b" ":
            if not byte:
                assert not digits
                return False
            assert byte.isdigit()
            assert digits or byte != b"0"
            digits += byte
        message = b""
        while left := int(digits) - len(message):
            piece = await reader.read(left)
            if not piece:
                return False
            message += piece
        assert len(message) <= self.most
        self.take(parse(message))
        return True

    def take(self, message: Message) -> None:
        """Keep a message, and the record when all its parts are there."""
        self.messages.append(message)
        told, body = message.told, message.body
        if message.kind == "gap":
            self.taken.document(json.loads(body))
            return
        if "part" in told:
            parts = self._parts.setdefault(told["leaf"], [])
            if told["part"] == "1":
                parts.clear()
            assert len(parts) == int(told["part"]) - 1
            parts.append(body)
            if told["part"] != told["parts"]:
                return
            body = b"".join(parts)
        document = json.loads(body)
        if "class_uid" in document:
            self.documents.append(document)
            body = document["raw_data"].encode()
        self.taken.entries.append((told["log"], int(told["seq"]), told["prev"], told["leaf"], body))


# --------------------------------------------------------------------------------------------------------------- HEC


@dataclass
class Collector:
    """An HTTP Event Collector; `answers` are given first, one a request, and None takes the request."""

    answers: list[tuple[int, bytes, bytes] | None] = field(default_factory=list)
    taken: Taken = field(default_factory=Taken)
    events: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0

    async def manner(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests until the sender ends."""
        buffer = b""
        while True:
            while b"\r\n\r\n" not in buffer:
                piece = await reader.read(65536)
                if not piece:
                    return
                buffer += piece
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            lines = head.split(b"\r\n")
            assert lines[0] == b"POST /services/collector/event HTTP/1.1"
            headers = {line.split(b":", 1)[0].lower(): line.split(b":", 1)[1].strip() for line in lines[1:]}
            length = int(headers[b"content-length"])
            while len(buffer) < length:
                piece = await reader.read(65536)
                if not piece:
                    return
                buffer += piece
            body, buffer = buffer[:length], buffer[length:]
            status, more, content = self._answer(headers, body)
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%b\r\n" % (status, len(content), more) + content)
            await writer.drain()

    def _answer(self, headers: dict[bytes, bytes], body: bytes) -> tuple[int, bytes, bytes]:
        self.requests += 1
        if headers.get(b"authorization") != f"Splunk {TOKEN}".encode():
            return 403, b"", b'{"text":"Invalid token","code":4}'
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            return answer
        decoder, text, at = json.JSONDecoder(), body.decode(), 0
        while at < len(text):
            event, at = decoder.raw_decode(text, at)
            at += 1
            self.events.append(event)
            if "class_uid" not in event["event"]:
                self.taken.document(event["event"])
        return 200, b"", b'{"text":"Success","code":0}'
