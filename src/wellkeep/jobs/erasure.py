"""What is left to do after erasures: sweep what an erased tenant left, and report one that is not effective in time.

Rules: the sweep goes on where it was cut off; whoever reads the finding learns ids alone. An erasure is overdue where
a key that old backups open under is still there a week after the time that it is kept and that a cloud waits.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from wellkeep.assembly.core import Core
from wellkeep.assembly.erasing import Erasing, reconcile, waits_of
from wellkeep.db.queue import Interrupted, QueuedJob, Stopping
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.jobs.handlers import Handler, Periodic

SWEEP: Final = "erasure.sweep"
OVERDUE: Final = "erasure.overdue"
PERIODIC = (Periodic(SWEEP, "*/5 * * * *"), Periodic(OVERDUE, "41 3 * * *"))

_GRACE = timedelta(days=7)
_OVERDUE = "SELECT tenant_id, subject_id FROM vault.overdue_erasures($1)"


class ErasureJobs:
    """The deployment's own jobs about erasures."""

    def __init__(self, core: Core, erasing: Erasing) -> None:
        """Sweep and look through `erasing`."""
        self._core = core
        self._erasing = erasing

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by kind."""
        return {SWEEP: self.sweep, OVERDUE: self.overdue}

    async def sweep(self, _job: QueuedJob, stopping: Stopping) -> None:
        """Sweep erased tenants, and hold the file of tombstones against the database."""
        await reconcile(self._core, self._erasing)
        for tenant in await self._erasing.sweeper.unswept():
            more = True
            while more:
                if stopping():
                    raise Interrupted
                more = await self._erasing.sweeper.some(tenant)
                await asyncio.sleep(0)

    async def overdue(self, _job: QueuedJob, _stopping: Stopping) -> None:
        """Report the erasures that should be effective by now and are not."""
        core = self._core
        keys = core.settings.keys
        kept = timedelta(days=keys.epoch_kept_days) + waits_of(keys)
        async with core.app.connection() as connection:
            rows = await connection.fetch(_OVERDUE, core.clock.now() - kept - _GRACE)
        for row in rows:
            core.findings.note(
                row["tenant_id"],
                kind=Kind.ERASURE_OVERDUE,
                severity=Severity.HIGH,
                key=finding_key(Kind.ERASURE_OVERDUE, row["subject_id"]),
                detail={"subject": str(row["subject_id"])},
            )
