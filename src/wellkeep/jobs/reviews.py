"""Reviews of access in time: opened when they are due, closed when nothing waits, reported when they are late.

Rules: a tenant with people or keys is reviewed as often as it asked for (`tenant_rules.review_days`, 90 unless it said
otherwise), counted from the last review's end, at first from its oldest access; the platform's own people are, too, and
a tenant of made-up data is when somebody asks. The database lets one review be open a tenant, so any number of workers
may find the same one due. What is undecided past its day is a finding each day until it is decided, and a critical one
after twice the time; nothing is revoked by itself (`access.reviews` says why). One tenant that fails keeps no other
from its turn.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

import structlog

from wellkeep.access.reviews import Reviews, by_itself
from wellkeep.access.unused import count_unused
from wellkeep.base.clock import Clock
from wellkeep.base.errors import Conflict, Unavailable, WellkeepError
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db.connection import Record
from wellkeep.db.pool import Pool
from wellkeep.db.queue import Interrupted, QueuedJob, Stopping
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.jobs.handlers import Handler, Periodic

TEND: Final = "reviews.tend"
OVERDUE: Final = "reviews.overdue"
UNUSED: Final = "reviews.unused"
PERIODIC = (Periodic(TEND, "13 * * * *"), Periodic(OVERDUE, "29 5 * * *"), Periodic(UNUSED, "47 5 * * 1"))

_TENANTS = "SELECT id FROM wk.list_tenants() WHERE state = 'active' ORDER BY id"
_KIND = "SELECT kind FROM wk.tenants"
_OPEN = """
SELECT r.id, r.opened_at, r.due_at, (SELECT count(*) FROM access.waiting(r.id)) AS undecided
FROM access.review AS r WHERE r.closed_at IS NULL
"""
_DUE = """
SELECT (SELECT t.kind <> 'synthetic' FROM wk.tenants AS t) AND coalesce(
    (SELECT max(r.closed_at) FROM access.review AS r), (SELECT min(s.granted_at) FROM access.standing() AS s))
    + make_interval(days => coalesce((SELECT t.review_days FROM access.tenant_rules AS t), 90)) <= $1
  AND EXISTS (SELECT FROM access.standing())
"""
_CLOSED = """
SELECT r.id FROM access.review AS r WHERE r.closed_at > $1::timestamptz - interval '2 days'
ORDER BY r.closed_at DESC LIMIT 8
"""

_log = structlog.get_logger("wellkeep.jobs")


class ReviewJobs:
    """The deployment's own care that access is reviewed."""

    def __init__(self, *, app: Pool, reviews: Reviews, findings: Findings, clock: Clock) -> None:
        """Look over `app`, wk_app's; open and close through `reviews`."""
        self._app = app
        self._reviews = reviews
        self._findings = findings
        self._clock = clock

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by kind."""
        return {TEND: self.tend, OVERDUE: self.overdue, UNUSED: self.unused}

    async def tend(self, _job: QueuedJob, stopping: Stopping) -> None:
        """Open what is due, close what has nothing left to decide."""
        await self._everywhere(self._tend, stopping)

    async def overdue(self, _job: QueuedJob, stopping: Stopping) -> None:
        """Report what is undecided past its day."""
        await self._everywhere(self._overdue, stopping)

    async def unused(self, _job: QueuedJob, stopping: Stopping) -> None:
        """Report how much access of each tenant nobody uses."""
        await self._everywhere(self._unused, stopping)

    async def _everywhere(self, look: Callable[[UUID], Awaitable[None]], stopping: Stopping) -> None:
        async with self._app.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            tenants = [UUID(int=row["id"].int) for row in await connection.fetch(_TENANTS)]
        failures = list[WellkeepError]()
        for tenant in tenants:
            if stopping():
                raise Interrupted
            try:
                await look(tenant)
            except WellkeepError as failure:
                _log.warning("review_not_tended", error=failure.code)
                failures.append(failure)
        if failures:
            raise next((one for one in failures if isinstance(one, Unavailable)), failures[0])

    async def _tend(self, tenant: UUID) -> None:
        now = self._clock.now()
        async with self._app.tenant_transaction(tenant=tenant) as connection:
            waiting = await connection.fetchrow(_OPEN)
            due = waiting is None and await connection.fetchval(_DUE, now)
            closed = [row["id"] for row in await connection.fetch(_CLOSED, now)]
        try:
            if due:
                await self._reviews.open(by_itself(), tenant=tenant)
            elif waiting is not None and waiting["undecided"] == 0:
                await self._reviews.close(tenant=tenant, review=waiting["id"])
        except Conflict:
            _log.info("review_tended_by_another")  # another worker, or a person, was there first
        if closed:  # whoever decided last may have been cut off before the finding was closed
            await self._findings.settle(tenant, keys=[finding_key(Kind.REVIEW_OVERDUE, one) for one in closed])

    async def _overdue(self, tenant: UUID) -> None:
        async with self._app.tenant_transaction(tenant=tenant) as connection:
            waiting = await connection.fetchrow(_OPEN)
        if waiting is not None and waiting["undecided"] and waiting["due_at"] <= self._clock.now():
            await self._late(tenant, waiting)

    async def _late(self, tenant: UUID, review: Record) -> None:
        twice = review["due_at"] + (review["due_at"] - review["opened_at"])
        await self._findings.report(
            tenant,
            kind=Kind.REVIEW_OVERDUE,
            severity=Severity.CRITICAL if self._clock.now() >= twice else Severity.HIGH,
            key=finding_key(Kind.REVIEW_OVERDUE, review["id"]),
            detail={"review": str(review["id"]), "count": review["undecided"]},
        )

    async def _unused(self, tenant: UUID) -> None:
        async with self._app.tenant_transaction(tenant=tenant) as connection:
            made_up = await connection.fetchval(_KIND) == "synthetic"
            count = 0 if made_up else await count_unused(connection, self._clock)
        key = finding_key(Kind.GRANT_UNUSED)
        if count:
            await self._findings.report(
                tenant, kind=Kind.GRANT_UNUSED, severity=Severity.LOW, key=key, detail={"count": count}
            )
        else:
            await self._findings.settle(tenant, keys=[key])
