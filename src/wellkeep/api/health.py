"""Whether this server is alive, whether it is ready, and what it counted.

Rule: these three are open, so they tell names of parts, yes or no, how many findings are open and how many tenants'
keys stand how, nothing of any tenant. `/metrics` exists on the administration listener alone.
"""

from __future__ import annotations

import asyncio

import msgspec

from wellkeep.api import answers
from wellkeep.api.answers import Answer
from wellkeep.api.logs import log
from wellkeep.api.metrics import Metrics
from wellkeep.api.routes import Call, Route
from wellkeep.base.errors import Unavailable, WellkeepError

_READY_SECONDS = 3.0


class Alive(msgspec.Struct, frozen=True):
    """The process answers."""

    status: str = "alive"


class Ready(msgspec.Struct, frozen=True):
    """What the service stands on, each part true where it holds.

    `findings` counts what was noticed and is still open, by severity; null while the database does not say. `keys`
    counts tenants by how their keys stand in the process that answers: ok, stale, locked, revoked.
    """

    ready: bool
    parts: dict[str, bool]
    findings: dict[str, int] | None
    keys: dict[str, int]


_ALIVE = answers.encode(Alive())


async def alive(_call: Call) -> Answer:
    """Say that the process answers."""
    return Answer(200, _ALIVE)


async def ready(call: Call) -> Answer:
    """Say whether database, keys, ledger and detectors hold; 503 where one of them does not."""
    parts, findings = {"answer_in_time": False}, None
    try:
        async with asyncio.timeout(_READY_SECONDS):
            parts = dict(await call.runtime.readiness.check())
            findings = dict(await call.runtime.readiness.findings())
    except (TimeoutError, WellkeepError) as trouble:
        log.warning("not_ready", error=type(trouble).__name__)
    holds = all(parts.values())
    headers = () if holds else ((b"retry-after", b"2"),)
    return answers.json(
        Ready(holds, parts, findings, dict(call.runtime.readiness.keys())),
        status=200 if holds else Unavailable.status,
        headers=headers,
    )


HEALTH = (
    Route(
        method="GET",
        path="/healthz",
        name="healthz",
        summary="Is the process alive?",
        tag="health",
        serve=alive,
        weight=0,
        open_because="a load balancer asks before it has a key; it learns that a process runs",
        returns=Alive,
    ),
    Route(
        method="GET",
        path="/readyz",
        name="readyz",
        summary="Can requests be served?",
        tag="health",
        serve=ready,
        weight=0,
        open_because="a load balancer asks before it has a key; it learns which part is down",
        returns=Ready,
        also=(503,),
    ),
)


def metrics_route(metrics: Metrics) -> Route:
    """Return the route that shows `metrics`."""

    async def show(call: Call) -> Answer:
        text = metrics.text() + await call.runtime.readiness.metrics()
        return Answer(200, text.encode("ascii"), media=answers.TEXT)

    return Route(
        method="GET",
        path="/metrics",
        name="metrics",
        summary="Counters in the Prometheus text format",
        tag="health",
        serve=show,
        weight=0,
        open_because="on the administration listener alone; counts of requests by route and status, nothing of anybody",
        answer_media="text/plain",
    )
