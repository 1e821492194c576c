"""A running deployment as a probe sees it: its API over TLS, its files, and its database where that is ours.

Rule: what a probe reads directly it reads to look for what should not be there; PHI is read through the API alone.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import httpx

from wellkeep.assembly.database import Database
from wellkeep.assembly.home import Home
from wellkeep.assembly.pinning import pinned
from wellkeep.base.secrets import Secret
from wellkeep.db.connection import Connection
from wellkeep.db.dsn import Endpoint
from wellkeep.db.provision import connected

_TIMEOUT_SECONDS = 30.0


class Unseen(Exception):
    """A store that this probe can't observe here; the claim becomes unknown."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A synthetic tenant and one API key for each role, good for the length of the run."""

    id: UUID
    name: str
    keys: dict[str, Secret[str]]


class Deployment:
    """One running deployment. An async context manager: its connections live as long as it is open."""

    def __init__(self, home: Home) -> None:
        """Describe the deployment in `home`; its server is expected to run."""
        self.home = home
        self.settings = home.settings()
        self.database = Database(home, self.settings)
        self._clients: dict[tuple[str, str], httpx.AsyncClient] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Learn how the database is reached; an embedded server that runs is taken over, not started twice."""
        self.database.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        await self._stack.aclose()
        self._clients.clear()

    @property
    def public_url(self) -> str:
        """Where the public listener is."""
        return f"https://{self.settings.listen.public}"

    @property
    def admin_url(self) -> str:
        """Where the admin listener is."""
        return f"https://{self.settings.listen.admin}"

    def trust(self) -> ssl.SSLContext:
        """Return a context that trusts this deployment's certificate alone."""
        return pinned(self.home.resolve(self.settings.tls.certificate))

    async def client(self, key: Secret[str] | None = None, *, admin: bool = False) -> httpx.AsyncClient:
        """Return a client of the public (or admin) listener that signs in with `key`; kept until we close."""
        base = self.admin_url if admin else self.public_url
        secret = "" if key is None else key.reveal()
        found = self._clients.get((base, secret))
        if found is None:
            signed = {} if key is None else {"Authorization": f"Bearer {secret}"}
            found = await self._stack.enter_async_context(
                httpx.AsyncClient(
                    base_url=base, headers=signed, verify=self.trust(), timeout=_TIMEOUT_SECONDS, trust_env=False
                )
            )
            self._clients[base, secret] = found
        return found

    def superuser(self) -> Endpoint:
        """Return the superuser's endpoint. Raises Unseen where the server is not ours."""
        endpoint = self.database.administrator()
        if endpoint is None:
            raise Unseen("the database is an external server, whose superuser we are not")
        return endpoint

    @asynccontextmanager
    async def as_superuser(self) -> AsyncIterator[Connection]:
        """Lend a superuser's connection, to look at what lies there or to attack a scratch copy."""
        async with connected(self.superuser()) as connection:
            yield connection

    @asynccontextmanager
    async def as_role(self, role: str) -> AsyncIterator[Connection]:
        """Lend a connection of one of the wall's roles, as an attacker inside our process would have it."""
        async with connected(self.database.endpoint(role)) as connection:
            yield connection


async def created(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Create something for a probe and return the answer.

    Raises Unseen where the system refuses what it should take.
    """
    answer = await client.post(path, json=body)
    if not answer.is_success:
        raise Unseen(f"what the probe needs could not be made (HTTP {answer.status_code})")
    found: dict[str, Any] = answer.json()
    return found
