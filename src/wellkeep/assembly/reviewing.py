"""Who has access, looked over: reviews, what nobody uses, and leavers."""

from __future__ import annotations

from dataclasses import dataclass

from wellkeep.access.leaving import Leaving
from wellkeep.access.reviews import Reviews
from wellkeep.access.unused import Unused
from wellkeep.base.clock import Clock
from wellkeep.findings.findings import Findings
from wellkeep.gate.gate import Gate


@dataclass(frozen=True, slots=True)
class Reviewing:
    """The services that look over who has access."""

    reviews: Reviews
    unused: Unused
    leaving: Leaving


def open_reviewing(*, gate: Gate, findings: Findings, clock: Clock) -> Reviewing:
    """Return the services."""
    return Reviewing(
        reviews=Reviews(gate=gate, findings=findings, clock=clock),
        unused=Unused(gate=gate, clock=clock),
        leaving=Leaving(gate=gate),
    )
