"""Saying hello to a TLS server, byte by byte: which versions, suites and groups it takes.

Rule: it shares nothing with the library that serves, so what that library would not even offer can be asked for. Only
the first flight is sent and only the server's first answer is read: nothing is negotiated, and nothing is secret.

Source: RFC 5246 (TLS 1.2), RFC 8446 (TLS 1.3, sections 4.1 and 4.2), RFC 6101 (SSL 3.0).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from struct import pack, unpack_from
from typing import Final

_SECONDS = 10.0
_HANDSHAKE, _SERVER_HELLO = 22, 2
_SUPPORTED_VERSIONS, _KEY_SHARE = 43, 51
_SIGNATURES: Final = (0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0807, 0x0401, 0x0501, 0x0601, 0x0203, 0x0201)
_MOST_BYTES = 1 << 14


class Version(IntEnum):
    """Protocol versions, as they stand on the wire."""

    SSL_3_0 = 0x0300
    TLS_1_0 = 0x0301
    TLS_1_1 = 0x0302
    TLS_1_2 = 0x0303
    TLS_1_3 = 0x0304


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a server took of an offer. `group` is there where TLS 1.3 says which one it wants."""

    version: int
    suite: int
    group: int | None = None


async def offer(
    address: str,
    *,
    version: Version,
    suites: Sequence[int],
    groups: Sequence[int],
    name: str = "localhost",
    source: str | None = None,
) -> Chosen | None:
    """Offer `suites` and `groups` in `version` to the server at `address` (host:port), asking for the host `name`.

    `source` is the address of ours that it comes from, where that matters. Returns what it took, or None where it
    refused. Raises OSError where nothing answers at all, and TimeoutError.
    """
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(_SECONDS):
        try:
            reader, writer = await asyncio.open_connection(
                host.strip("[]"), int(port), local_addr=None if source is None else (source, 0)
            )
        except ConnectionResetError:
            return None  # it was there, and heard nothing
        try:
            writer.write(_client_hello(version, suites, groups, name))
            await writer.drain()
            return await _answer(reader)
        except (ConnectionError, asyncio.IncompleteReadError):
            return None
        finally:
            writer.close()


async def _answer(reader: asyncio.StreamReader) -> Chosen | None:
    kind, _, length = unpack_from(">BHH", await reader.readexactly(5))
    if kind != _HANDSHAKE or length > _MOST_BYTES:
        return None
    return _server_hello(await reader.readexactly(length))


def _server_hello(body: bytes) -> Chosen | None:
    if body[0] != _SERVER_HELLO:
        return None
    (version,) = unpack_from(">H", body, 4)
    at = 4 + 2 + 32
    at += 1 + body[at]
    (suite,) = unpack_from(">H", body, at)
    at += 3
    group = None
    end = at + 2 + unpack_from(">H", body, at)[0] if len(body) >= at + 2 else at
    at += 2
    while at + 4 <= end:
        kind, length = unpack_from(">HH", body, at)
        if kind == _SUPPORTED_VERSIONS:
            (version,) = unpack_from(">H", body, at + 4)
        elif kind == _KEY_SHARE:
            (group,) = unpack_from(">H", body, at + 4)
        at += 4 + length
    return Chosen(version, suite, group)


def _client_hello(version: Version, suites: Sequence[int], groups: Sequence[int], name: str) -> bytes:
    legacy = min(version, Version.TLS_1_2)
    body = pack(">H", legacy) + os.urandom(32) + b"\0"
    body += _listed(b"".join(pack(">H", suite) for suite in suites)) + b"\x01\x00"
    if version > Version.SSL_3_0:
        body += _listed(_extensions(version, groups, name))
    handshake = b"\x01" + len(body).to_bytes(3, "big") + body
    return pack(">BHH", _HANDSHAKE, min(legacy, Version.TLS_1_0), len(handshake)) + handshake


def _extensions(version: Version, groups: Sequence[int], name: str) -> bytes:
    host = name.encode("ascii")
    made = _extension(0, _listed(b"\0" + _listed(host)))
    made += _extension(10, _listed(b"".join(pack(">H", group) for group in groups)))
    made += _extension(11, b"\x01\x00")
    made += _extension(13, _listed(b"".join(pack(">H", one) for one in _SIGNATURES)))
    if version >= Version.TLS_1_3:
        made += _extension(_SUPPORTED_VERSIONS, b"\x02" + pack(">H", version))
        made += _extension(_KEY_SHARE, _listed(b""))  # no share yet: the server says which group it wants
    return made


def _extension(kind: int, content: bytes) -> bytes:
    return pack(">H", kind) + _listed(content)


def _listed(content: bytes) -> bytes:
    return pack(">H", len(content)) + content
