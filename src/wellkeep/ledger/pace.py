"""Whether the clock has gone as fast as time has passed: a clock that was set forward is noticed at the next batch.

Rules: the machine's clock is held against its count of seconds, which nobody can set, from one batch to the next. What
is ahead of it by more than the tolerance is a jump, and stays one until the clock is right again or the process is
started anew: that is an operator's decision. A clock that is slewed, or a machine that slept, jumps nowhere. The threat
is a clock that takes PostgreSQL's along, on the same machine: nothing else shows that it went forward, every entry
would bear a time to come, and once it is set right nothing could be appended until then.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from wellkeep.base.clock import Clock


class Pace:
    """Holds one clock against the seconds that pass; its reference moves with each look that found it right."""

    def __init__(self, clock: Clock, *, tolerance: timedelta) -> None:
        """Begin with what `clock` shows now."""
        self._clock = clock
        self._tolerance = tolerance
        self._shown, self._passed = clock.now(), clock.monotonic()

    def look(self) -> tuple[datetime, timedelta]:
        """Return the time, and by how much it is ahead of what it can be: zero within the tolerance.

        A clock that was set back is not judged here: the logs' heads tell.
        """
        shown, passed = self._clock.now(), self._clock.monotonic()
        ahead = shown - self._shown - timedelta(seconds=passed - self._passed)
        if abs(ahead) <= self._tolerance:
            self._shown, self._passed = shown, passed
        return shown, ahead if ahead > self._tolerance else timedelta()
