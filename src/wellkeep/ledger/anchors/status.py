"""How the anchors stand against the policy: N of M hold the root log's end, or held it not long ago.

Rule: an anchor is late by how long the oldest checkpoint that it did not take has waited, so a log at rest does not
become stale; one whose last answer was an alarm holds nothing, whatever it took before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from wellkeep.ledger.anchors.anchor import ALARMS
from wellkeep.ledger.anchors.book import Standing


@dataclass(frozen=True, slots=True)
class Policy:
    """How many anchors must hold a checkpoint, how often one is asked at most, and after how long it is late."""

    needed: int
    every: timedelta
    stale: timedelta


@dataclass(frozen=True, slots=True)
class AnchorState:
    """One anchor: what it took last, how old that is, since when it is behind, and the last error's code."""

    name: str
    kind: str
    holds: bool
    late: bool
    epoch: int | None
    size: int | None
    at: datetime | None
    age_seconds: int | None
    behind_seconds: int
    attempted_at: datetime | None
    error: str | None
    failures: int


@dataclass(frozen=True, slots=True)
class AnchorStatus:
    """All of them: how many are needed, how many hold, how old the newest receipt is, and whether that is too few."""

    needed: int
    holding: int
    stale: bool
    newest_age_seconds: int | None
    anchors: tuple[AnchorState, ...]


class Named(Protocol):
    """An anchor, or its settings: what it is called, and of what kind it is."""

    @property
    def name(self) -> str:
        """Its name in the settings."""
        ...

    @property
    def kind(self) -> str:
        """What kind of anchor it is."""
        ...


def weigh(anchors: Sequence[Named], standings: Sequence[Standing], *, policy: Policy, now: datetime) -> AnchorStatus:
    """Return how `anchors`, whose `standings` are in the same order, stand against `policy` at `now`."""
    states = tuple(_state(one, how, policy, now) for one, how in zip(anchors, standings, strict=True))
    ages = [state.age_seconds for state in states if state.age_seconds is not None]
    return AnchorStatus(
        needed=policy.needed,
        holding=sum(state.holds for state in states),
        stale=sum(not state.late for state in states) < policy.needed,
        newest_age_seconds=min(ages, default=None),
        anchors=states,
    )


def metrics(status: AnchorStatus) -> str:
    """Return the Prometheus text lines that say how the anchors stand."""
    lines = [
        f"wellkeep_anchors_needed {status.needed}",
        f"wellkeep_anchors_holding {status.holding}",
        f"wellkeep_anchors_stale {int(status.stale)}",
    ]
    for one in status.anchors:
        named = f'{{anchor="{one.name}",kind="{one.kind}"}}'
        lines.append(f"wellkeep_anchor_behind_seconds{named} {one.behind_seconds}")
        lines.append(f"wellkeep_anchor_failures{named} {one.failures}")
        if one.age_seconds is not None:
            lines.append(f"wellkeep_anchor_age_seconds{named} {one.age_seconds}")
    return "".join(f"{line}\n" for line in lines)


def _state(anchor: Named, standing: Standing, policy: Policy, now: datetime) -> AnchorState:
    behind = timedelta() if standing.waiting_since is None else max(now - standing.waiting_since, timedelta())
    late = behind > policy.stale or standing.error in ALARMS
    return AnchorState(
        name=anchor.name,
        kind=anchor.kind,
        holds=standing.at is not None and not late,
        late=late,
        epoch=standing.epoch,
        size=standing.size,
        at=standing.at,
        age_seconds=None if standing.at is None else max(0, int((now - standing.at).total_seconds())),
        behind_seconds=int(behind.total_seconds()),
        attempted_at=standing.attempted_at,
        error=standing.error,
        failures=standing.failures,
    )
