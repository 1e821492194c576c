"""What a probe saw, and the state that follows from it.

The state is computed from the steps, never set by a probe: one step that did not hold fails the claim; one thing that
could not be observed leaves it unknown; a probe that covers a part of its sentence can reach *partial* at most; a probe
without a single step proves nothing and is unknown.

Some sentences are about what wellkeep stands on, such as the disks: where that does not keep the promise, the claim is
*unmet*: as red as a failure, and the operator's to mend. It is told apart so that a machine that is merely tried out
says so in red without hiding whether wellkeep itself still does what it must.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

FRESH_FOR = timedelta(days=1)
"""Evidence older than this is late, and late evidence is unknown, never green."""


class State(StrEnum):
    """How a claim stands."""

    PROVEN = "proven"
    PARTIAL = "partial"
    UNKNOWN = "unknown"
    UNMET = "not met here"
    FAILED = "failed"


class Where(StrEnum):
    """What a probe acted on."""

    LIVE = "live, on tenants marked synthetic"
    SCRATCH = "a scratch deployment of the same build"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing tried: what was done, what was seen, and whether the promise held (None: it could not be observed).

    `ours` is false where it is not for wellkeep to hold, but for what it stands on.
    """

    tried: str
    seen: str
    held: bool | None
    ours: bool = True


@dataclass(slots=True)
class Notes:
    """What a probe writes while it runs."""

    steps: list[Step] = field(default_factory=list)

    def check(self, tried: str, *, held: bool, seen: str) -> None:
        """Note one attempt and whether the promise held against it."""
        self.steps.append(Step(tried=tried, seen=seen, held=held))

    def ground(self, tried: str, *, held: bool, seen: str) -> None:
        """Note a look at what wellkeep stands on, and whether that keeps the promise."""
        self.steps.append(Step(tried=tried, seen=seen, held=held, ours=False))

    def blind(self, tried: str, *, why: str) -> None:
        """Note what could not be observed."""
        self.steps.append(Step(tried=tried, seen=why, held=None))


@dataclass(frozen=True, slots=True)
class Evidence:
    """One run of one probe. `seconds` is wall time; `missing` says which part of the sentence is not covered yet."""

    claim: str
    where: Where
    at: datetime
    seconds: float
    steps: tuple[Step, ...]
    missing: str | None = None

    @property
    def state(self) -> State:
        """The state that the steps amount to."""
        return judge(self.steps, partial=self.missing is not None)

    def state_at(self, now: datetime) -> State:
        """Return the state as seen at `now`: late evidence is unknown, a failure stays a failure."""
        if self.state not in {State.FAILED, State.UNMET} and now - self.at > FRESH_FOR:
            return State.UNKNOWN
        return self.state


def judge(steps: Iterable[Step], *, partial: bool) -> State:
    """Return the state that `steps` amount to for a probe that covers its sentence in full or in part."""
    taken = list(steps)
    seen = [step.held for step in taken]
    if any(step.held is False and step.ours for step in taken):
        return State.FAILED
    if False in seen:
        return State.UNMET
    if not seen or None in seen:
        return State.UNKNOWN
    return State.PARTIAL if partial else State.PROVEN


def fails(evidence: Iterable[Evidence], *, production: bool) -> bool:
    """Say whether a run fails: where a claim failed; in production also where what it stands on does not keep one."""
    red = {State.FAILED, State.UNMET} if production else {State.FAILED}
    return any(one.state in red for one in evidence)
