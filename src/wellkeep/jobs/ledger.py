"""What the ledger needs done on time: covering the logs, and thinning what was signed long ago.

Rules: each job takes a bounded share and comes back; several processes may run one at once, and one of them does it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import structlog

from wellkeep.assembly.core import Core
from wellkeep.db.queue import QueuedJob, Stopping
from wellkeep.jobs.handlers import Handler, Periodic
from wellkeep.ledger.cover import cover

COVER = "ledger.cover"
THIN = "ledger.thin"
PERIODIC = (Periodic(COVER, "* * * * *"), Periodic(THIN, "41 * * * *"))

KEPT_WHOLE: Final = timedelta(days=1)
"""For how long every checkpoint is kept; older ones are thinned to one a log and minute."""

_SHARE = 10_000
_THIN = "SELECT ledger.thin_checkpoints($1, $2)"

_log = structlog.get_logger("wellkeep.jobs")


class LedgerJobs:
    """The ledger's own jobs."""

    def __init__(self, core: Core) -> None:
        """Work on the ledger of `core`."""
        self._core = core

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by kind."""
        return {COVER: self.cover, THIN: self.thin}

    async def cover(self, _job: QueuedJob, _stopping: Stopping) -> None:
        """Enter in the root log how far each log has come."""
        core = self._core
        covered = await cover(core.ledger, core.writer, signers=core.checkpoint_signers, reporter=core.findings)
        _log.info("covered", logs=covered)

    async def thin(self, _job: QueuedJob, stopping: Stopping) -> None:
        """Thin checkpoints older than a day."""
        until = self._core.clock.now() - KEPT_WHOLE
        gone = _SHARE
        while gone == _SHARE and not stopping():
            async with self._core.ledger.connection() as connection:
                gone = await connection.fetchval(_THIN, until, _SHARE)
