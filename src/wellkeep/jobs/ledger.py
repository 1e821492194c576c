"""What the ledger needs done on time: covering the logs, and thinning what was signed long ago.

Rules: each job takes a bounded share and comes back; several processes may run one at once, and one of them does it.
"""

from __future__ import annotations

import structlog

from wellkeep.assembly.core import Core
from wellkeep.db.queue import QueuedJob, Stopping
from wellkeep.jobs.handlers import Handler, Periodic
from wellkeep.ledger.cover import cover
from wellkeep.ledger.thinning import thin

COVER = "ledger.cover"
THIN = "ledger.thin"
PERIODIC = (Periodic(COVER, "* * * * *"), Periodic(THIN, "41 * * * *"))

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
        core = self._core
        thinned = await thin(core.ledger, now=core.clock.now(), stopping=stopping)
        _log.info("thinned", checkpoints=thinned)
