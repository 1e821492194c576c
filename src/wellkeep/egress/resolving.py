"""Resolving a name, once, in threads of our own: a resolver that hangs holds up nothing but other resolutions."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

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
        self._threads = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="egress-resolver")

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """Return every address of `host`, in the system's order. Raises NotResolved."""
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host, port)
        except (OSError, UnicodeError):
            raise NotResolved from None
        return list(dict.fromkeys(found))

    def stop(self) -> None:
        """Take no more names; what hangs is left to end by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int) -> list[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
