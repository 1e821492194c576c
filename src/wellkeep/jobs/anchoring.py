"""Each minute: the root log's end to its anchors.

Rule: the job fails only where the database does; what is wrong with an anchor is a finding, and the next minute's work.
"""

from __future__ import annotations

from wellkeep.db.queue import QueuedJob, Stopping
from wellkeep.jobs.handlers import Handler, Periodic
from wellkeep.ledger.anchors.anchoring import Anchoring

ANCHOR = "ledger.anchor"
PERIODIC = (Periodic(ANCHOR, "* * * * *"),)


class AnchoringJob:
    """The deployment's own job of handing its root log's end outside."""

    def __init__(self, anchoring: Anchoring) -> None:
        """Take what does it."""
        self._anchoring = anchoring

    def handlers(self) -> dict[str, Handler]:
        """Return the handler by its kind."""
        return {ANCHOR: self.anchor}

    async def anchor(self, _job: QueuedJob, _stopping: Stopping) -> None:
        """Hand over what is due."""
        await self._anchoring.run()
