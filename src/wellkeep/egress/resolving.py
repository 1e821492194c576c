"""Resolving a name, once, in threads of our own: a resolver that hangs holds up nothing but other resolutions."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Protocol

from wellkeep.base.apart import Apart

_THREADS = 4


class NotResolved(Exception):
    """The name has no address, or nobody said in time."""


class Resolver(Protocol):
    """Who turns a name into addresses."""

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """Return every address of `host`, each as text. Raises NotResolved."""
        ...


class SystemResolver:
    """The machine's own resolver."""

    def __init__(self) -> None:
        """Start no thread yet."""
        self._apart = Apart(name="egress-resolver", threads=_THREADS)

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """Return every address of `host`, in the system's order. Raises NotResolved."""
        try:
            found = await asyncio.wrap_future(self._apart.submit(lambda: _look_up(host, port)))
        except (OSError, UnicodeError):
            raise NotResolved from None
        return list(dict.fromkeys(found))


def _look_up(host: str, port: int) -> list[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
