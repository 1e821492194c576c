"""Turns of the event loop: how work in bulk lets those by who wait for one answer, and how a batch waits for its last.

A request is answered in a dozen turns. Work that takes the next turn each time makes it wait a dozen times.
"""

from __future__ import annotations

import asyncio

from wellkeep.base.clock import SystemClock

_MOST = 6
_QUIET_SECONDS = 50e-6
_monotonic = SystemClock().monotonic


async def pass_turns(turns: int) -> None:
    """Come back after so many turns of the event loop: whoever is about to do something has done it by then."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def give_way() -> None:
    """Let others work, for several turns as long as they do; where nobody does, come back at once (about 5 µs)."""
    began = _monotonic()
    for _ in range(_MOST):
        await asyncio.sleep(0)
        now = _monotonic()
        if now - began < _QUIET_SECONDS:
            return
        began = now
