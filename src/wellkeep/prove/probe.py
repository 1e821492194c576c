"""A probe: what tries one claim. The runner turns what it notes into evidence; a probe that breaks proves nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from wellkeep.base.clock import Clock
from wellkeep.prove.deployment import Unseen
from wellkeep.prove.evidence import Evidence, Notes, Where
from wellkeep.prove.world import World

Run = Callable[[World, Notes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Probe:
    """What tries the sentence of `claim`. `missing` says which part of the sentence it does not cover yet."""

    claim: str
    where: Where
    run: Run
    missing: str | None = None


async def prove(probe: Probe, world: World, clock: Clock) -> Evidence:
    """Run one probe and return its evidence.

    A probe that raises could not observe: the claim is unknown. Of an error that is not a probe's own (Unseen) only the
    kind is shown, since its text could quote what was read.
    """
    notes = Notes()
    at, started = clock.now(), clock.monotonic()
    try:
        await probe.run(world, notes)
    except Unseen as unseen:
        notes.blind("what the probe stands on", why=str(unseen))
    except Exception as error:  # noqa: BLE001 -- whatever breaks a probe, the claim is unknown
        structlog.get_logger().warning("probe_broke", claim=probe.claim, error=type(error).__name__)
        notes.blind("the probe itself", why=f"it ended with {type(error).__name__} and proved nothing")
    return Evidence(
        claim=probe.claim,
        where=probe.where,
        at=at,
        seconds=clock.monotonic() - started,
        steps=tuple(notes.steps),
        missing=probe.missing,
    )
