"""The way of a first run: what the pages ask for, worked off one after the other by whoever holds the deployment.

Rule: pages do nothing themselves; they hand an order over, and it is taken only while its step is the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from wellkeep.access.totp import Planned
from wellkeep.assembly.first_run import FirstRun, Stage
from wellkeep.base.errors import WellkeepError
from wellkeep.base.secrets import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a page asks for at a step: the members of its form."""

    stage: Stage
    form: dict[str, str] = field(repr=False)
    ip: str | None
    done: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Journey:
    """How far a run is in this process; `shares` and `planned` are kept until they were shown and confirmed.

    `busy`: an order is under way, or what takes orders is not there yet.
    """

    run: FirstRun
    shares: tuple[Secret[str], ...] = ()
    planned: Planned | None = None
    told: list[str] = field(default_factory=list)
    wrong: str = ""
    busy: bool = True
    orders: asyncio.Queue[Order] = field(default_factory=lambda: asyncio.Queue(maxsize=1))

    async def ask(self, order: Order, *, wait: bool) -> None:
        """Hand an order over, unless one is under way or the step is another by now; `wait` until it is done."""
        if self.busy or order.stage is not self.run.stage:
            return
        self.busy, self.wrong = True, ""
        await self.orders.put(order)
        if wait:
            await order.done.wait()

    async def work(self, do: Callable[[Order], Awaitable[None]], *, until: Stage) -> None:
        """Work orders off until the run is at `until`; what is refused is told on the next page."""
        while self.run.stage < until:
            self.busy = False
            order = await self.orders.get()
            try:
                await do(order)
            except WellkeepError as error:
                self.wrong = _words(error)
            finally:
                self.busy = self.run.stage >= until and until is not Stage.OVER
                order.done.set()


def _words(error: WellkeepError) -> str:
    faults = "; ".join(f"{one.path.strip('/')}: {one.code.replace('-', ' ')}" for one in error.fields)
    return f"{error.message.rstrip('.')}. {faults}".strip()
