"""The job that works a rotation off: pages until it ends, or until the worker goes down.

A rotation that another worker has moved on is that worker's; what could succeed later is raised and tried again.
"""

from __future__ import annotations

from wellkeep.base.errors import NotFound
from wellkeep.db.queue import QueuedJob, Stopping
from wellkeep.vault.resealing import Resealing, Superseded


class ResealingJob:
    """The handler of jobs of the kind `vault.resealing.JOB`."""

    def __init__(self, resealing: Resealing) -> None:
        """Work rotations off with `resealing`."""
        self._resealing = resealing

    async def __call__(self, job: QueuedJob, stopping: Stopping) -> None:
        """Go on with the rotation that `job` names; `Unavailable` and `Interrupted` ask to be run again."""
        if job.resource is None:
            return
        try:
            await self._resealing.run(job.tenant, job.resource, stopping=stopping)
        except (NotFound, Superseded):
            return

    async def give_up(self, job: QueuedJob, error: str) -> None:
        """Say that the rotation of `job` failed, with the code `error`, and report it. Raises Unavailable."""
        if job.resource is not None:
            await self._resealing.give_up(job.tenant, job.resource, error)
