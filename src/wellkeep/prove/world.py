"""Everything that the probes of one run share: the live deployment with two synthetic tenants, and a scratch one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID

from wellkeep.assembly.runtime import Runtime
from wellkeep.db.connection import Connection
from wellkeep.prove.deployment import Deployment, Tenant
from wellkeep.prove.scratch import Scratch
from wellkeep.prove.tenants import prepared


class World:
    """What a probe may act on: `live` with its tenants `a` and `b`, and, when first asked for, a scratch deployment."""

    def __init__(self, live: Deployment, operator: Runtime, a: Tenant, b: Tenant) -> None:
        """Take what the run has prepared; `operator` acts at the machine itself, on record."""
        self.live = live
        self.operator = operator
        self.a = a
        self.b = b
        self._stack = AsyncExitStack()
        self._scratch: Scratch | None = None

    async def scratch(self) -> Scratch:
        """Return the scratch deployment of this run, built when first asked for."""
        if self._scratch is None:
            self._scratch = await self._stack.enter_async_context(Scratch.make())
        return self._scratch

    def context_token(self, tenant: UUID, connection: Connection) -> str:
        """Return a valid context of `tenant` for `connection`.

        What SQL injected into a request of its would ride on.
        """
        core = self.operator.core
        pid = connection.get_server_pid()
        return core.context_key.mint(tenant=tenant, pid=pid, now=core.clock.seconds())

    async def close(self) -> None:
        """Stop and remove the scratch deployment, if one was built."""
        await self._stack.aclose()


@asynccontextmanager
async def world(live: Deployment) -> AsyncIterator[World]:
    """Lend the world of one run over a deployment whose server runs."""
    async with live, prepared(live) as (operator, a, b):
        made = World(live, operator, a, b)
        try:
            yield made
        finally:
            await made.close()
