"""What the probes of one run share: the live deployment and a scratch one, each made when first asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TypeVar

from wellkeep.assembly.home import Home
from wellkeep.base.settings import Settings
from wellkeep.prove.deployment import Unseen
from wellkeep.prove.live import live
from wellkeep.prove.scratch import Scratch
from wellkeep.prove.stage import Stage

Made = TypeVar("Made")


class World:
    """What a probe may act on. What could not be had once is not tried again for each probe."""

    def __init__(self, home: Home) -> None:
        """Work for the deployment in `home`; nothing is started."""
        self._home = home
        self._stack = AsyncExitStack()
        self._live: Stage | None = None
        self._scratch: Scratch | None = None
        self._unseen: dict[str, Unseen] = {}

    def settings(self) -> Settings:
        """Return the settings of the deployment that is proven. Raises Misconfigured."""
        return self._home.settings()

    async def live(self) -> Stage:
        """Return the live deployment. Raises Unseen where it can't be reached."""
        if self._live is None:
            self._live = await self._enter("live", live(self._home))
        return self._live

    async def scratch(self) -> Scratch:
        """Return the scratch deployment of this run. Raises Unseen where it can't be made."""
        if self._scratch is None:
            self._scratch = await self._enter("scratch", Scratch.make())
        return self._scratch

    async def close(self) -> None:
        """Give back what was made."""
        await self._stack.aclose()

    async def _enter(self, name: str, making: AbstractAsyncContextManager[Made]) -> Made:
        if name in self._unseen:
            raise self._unseen[name]
        try:
            return await self._stack.enter_async_context(making)
        except Unseen as unseen:
            self._unseen[name] = unseen
            raise


@asynccontextmanager
async def world(home: Home) -> AsyncIterator[World]:
    """Lend the world of one run for the deployment in `home`."""
    made = World(home)
    try:
        yield made
    finally:
        await made.close()
