"""What a job is to its handler, how a handler says that it could not finish, and how it is told that it never will.

Rule: a handler raises errors of `base.errors`. The worker turns them into a code; what could succeed later (`503`s) is
tried again with growing pauses, everything else is held for people to look at.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from wellkeep.db.queue import QueuedJob, Stopping

Handler = Callable[[QueuedJob, Stopping], Awaitable[None]]
GiveUp = Callable[[QueuedJob, str], Awaitable[None]]
"""Told, with a code, that a job is held and will not be run again: what it stood for must not look alive."""


@dataclass(frozen=True, slots=True)
class Periodic:
    """A job of the deployment itself, by a cron expression of five or six fields (the sixth: seconds)."""

    kind: str
    expression: str
