"""The ledger verified by itself: what came since the last time every five minutes, all of it once a week.

Rule: a failure is a finding, and so is not being able to look: a ledger that nobody could verify must not look like one
that holds.
"""

from __future__ import annotations

import structlog

from wellkeep.assembly.core import Core
from wellkeep.assembly.database import Database
from wellkeep.assembly.ledger_check import Extent, check
from wellkeep.base.errors import WellkeepError
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db.queue import QueuedJob, Stopping
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.jobs.handlers import Handler, Periodic

VERIFY = "ledger.verify"
VERIFY_WHOLE = "ledger.verify_whole"
PERIODIC = (Periodic(VERIFY, "*/5 * * * *"), Periodic(VERIFY_WHOLE, "7 3 * * 0"))

_log = structlog.get_logger("wellkeep.jobs")


class Verification:
    """The deployment's own verification of its ledger."""

    def __init__(self, core: Core, database: Database) -> None:
        """Verify the ledger of `core` as whoever may read all of it in `database`."""
        self._core = core
        self._database = database

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by kind."""
        return {VERIFY: self.newest, VERIFY_WHOLE: self.whole}

    async def newest(self, _job: QueuedJob, _stopping: Stopping) -> None:
        """Verify what came since the last time."""
        await self._check(Extent(since_last=True))

    async def whole(self, _job: QueuedJob, _stopping: Stopping) -> None:
        """Verify everything."""
        await self._check(Extent())

    async def _check(self, extent: Extent) -> None:
        try:
            checked = await check(self._core, self._database, extent)
        except Exception as fault:
            error = fault.code if isinstance(fault, WellkeepError) else WellkeepError.code
            await self._core.findings.report(
                PLATFORM_TENANT,
                kind=Kind.LEDGER_UNVERIFIED,
                severity=Severity.HIGH,
                key=finding_key(Kind.LEDGER_UNVERIFIED),
                detail={"what": "verify" if extent.since_last else "verify_whole", "error": error},
            )
            raise
        report = checked.report
        _log.info("ledger_verified", holds=checked.holds, logs=report.logs, entries=report.entries)
