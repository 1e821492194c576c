"""What a job is to its handler, and how a handler says that it could not finish.

Rule: a handler raises errors of `base.errors`. The worker turns them into a code; what could succeed later (`503`s) is
tried again with growing pauses, everything else is held for people to look at.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from wellkeep.db.queue import QueuedJob, Stopping

Handler = Callable[[QueuedJob, Stopping], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Periodic:
    """A job of the deployment itself, by a cron expression of five or six fields (the sixth: seconds)."""

    kind: str
    expression: str
