"""The budget of records an hour, of a key and of a person: counted where receipts are given, before anything is opened.

Rules: what does not fit is refused as a whole and counts nothing; what nobody may stop (a broken glass) is counted all
the same; the deployment's own (operators, jobs without a caller) have none. Keys that rotations put in each other's
place have one. The counts are those of the rate limits, so several workers share one. Reported once an hour for each.
"""

from __future__ import annotations

from wellkeep.access.limits import HOUR, Counts, counted_as
from wellkeep.base.budget import Short
from wellkeep.base.clock import Clock
from wellkeep.base.limit_settings import LimitSettings
from wellkeep.base.principal import ActorType, Principal
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, Severity, finding_key

_COUNTED = {ActorType.API_KEY: "credential", ActorType.PERSON: "person"}
_TOLD = 10_000


class RecordBudget:
    """Implements `base.budget.Budget`."""

    def __init__(self, counts: Counts, settings: LimitSettings, *, findings: Findings, clock: Clock) -> None:
        """Count in `counts`; report to `findings`."""
        self._counts = counts
        self._settings = settings
        self._findings = findings
        self._clock = clock
        self._told: dict[str, float] = {}

    async def spend(self, principal: Principal, *, records: int, blocks: bool) -> Short | None:
        """Count `records` and return None; or, where they do not fit and it `blocks`, how long they do not."""
        named = _COUNTED.get(principal.type)
        if named is None:
            return None
        limit = principal.records or self._settings.records
        taken = await self._counts.take(
            "records",
            counted_as(principal),
            weight=records,
            limit=limit,
            seconds=HOUR,
            blocks=blocks,
            wider=(principal.tenant,),
        )
        if taken.ok:
            return None
        self._tell(principal, named, limit)
        return Short(None if records > self._counts.most(limit) else taken.wait)

    def _tell(self, principal: Principal, named: str, limit: int) -> None:
        now = self._clock.monotonic()
        if now < self._told.get(principal.id, now):
            return
        if len(self._told) >= _TOLD:
            self._told.clear()
        self._told[principal.id] = now + HOUR
        self._findings.note(
            principal.tenant,
            kind=Kind.BUDGET_EXCEEDED,
            severity=Severity.HIGH,
            key=finding_key(Kind.BUDGET_EXCEEDED, principal.id),
            detail={named: principal.id, "count": limit},
        )
