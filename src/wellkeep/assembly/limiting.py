"""What counts requests and records in one process: in memory, and in Redis where the settings name a place for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from wellkeep.access.budget import RecordBudget
from wellkeep.access.limits import Counts, LineWatch, RateLimits
from wellkeep.access.redis_line import RedisLine
from wellkeep.assembly.home import Home
from wellkeep.base.clock import Clock
from wellkeep.base.secret_files import read_secret
from wellkeep.base.secrets import Secret
from wellkeep.base.settings import Settings
from wellkeep.egress.egress import Egress
from wellkeep.findings.findings import Findings


@dataclass(frozen=True, slots=True)
class Limiting:
    """Counts of requests, and of records."""

    requests: RateLimits
    records: RecordBudget


def open_limiting(settings: Settings, *, findings: Findings, clock: Clock) -> Limiting:
    """Return what counts in memory; `counting_together` makes it count in Redis as well."""
    counts = Counts(deployment=settings.deployment, clock=clock)
    return Limiting(
        RateLimits(counts, settings.limits), RecordBudget(counts, settings.limits, findings=findings, clock=clock)
    )


@asynccontextmanager
async def counting_together(
    limiting: Limiting, home: Home, settings: Settings, *, egress: Egress, findings: Findings, clock: Clock
) -> AsyncIterator[None]:
    """Count in Redis, where the settings say so, meanwhile."""
    limits = settings.limits
    if limits.redis is None:
        yield
        return
    watch = LineWatch(findings, clock=clock)

    def password() -> Secret[bytes] | None:
        return None if limits.redis_password_file is None else read_secret(home.resolve(limits.redis_password_file))

    line = RedisLine(egress, limits.redis, password=password, user=limits.redis_user, changed=watch.changed)
    limiting.requests.counts.line = line
    await line.start()
    try:
        yield
    finally:
        await line.stop()
        await watch.stop()
