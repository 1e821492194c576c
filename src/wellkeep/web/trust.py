"""The trust page: each sentence with its live proof, for whoever asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Final

from wellkeep.ledger.anchors.status import AnchorStatus
from wellkeep.ledger.proof import Signed
from wellkeep.prove.evidence import State
from wellkeep.prove.standing import Standing, family_of
from wellkeep.web import rendering, strips

TITLES: Final = {
    "transport": "Data in transit",
    "rest": "Data at rest",
    "access": "Who gets in, and what they may do",
    "ledger": "The record of every access",
    "watch": "Watching",
    "respond": "When something is wrong",
    "govern": "Governance and patients' rights",
    "transfer": "Files that leave",
    "build": "How it is built and kept",
}
"""The families of claims, in words."""

WORDS: Final = {
    State.PROVEN: "Proven",
    State.PARTIAL: "Partial",
    State.UNKNOWN: "Unknown",
    State.UNMET: "Not met here",
    State.FAILED: "Failed",
}


@dataclass(frozen=True, slots=True)
class Publisher:
    """Who publishes the page: a name, the host that it is about, and where flaws are reported."""

    name: str
    host: str
    environment: str
    contacts: tuple[str, ...]
    policy: str | None


@dataclass(frozen=True, slots=True)
class Trust:
    """What is shown at `now`; `hidden` is how many claims this deployment does not publish."""

    publisher: Publisher
    now: datetime
    standings: tuple[Standing, ...]
    hidden: int
    end: Signed | None
    anchors: AnchorStatus

    @property
    def counts(self) -> dict[State, int]:
        """How many claims stand how."""
        found = Counter(one.state for one in self.standings)
        return {state: found[state] for state in State}


@dataclass(frozen=True, slots=True)
class _Row:
    """A claim as a line of the page."""

    id: str
    says: str
    state: str
    kind: str
    tried: str
    age: str
    strip: str | None


def page(trust: Trust) -> bytes:
    """Return the overview."""
    counts, total = trust.counts, len(trust.standings)
    return rendering.page(
        "trust.html",
        **_common(trust),
        groups=_groups(trust),
        total=total,
        proven=counts[State.PROVEN],
        partial=counts[State.PARTIAL],
        unknown=counts[State.UNKNOWN],
        failed=counts[State.FAILED] + counts[State.UNMET],
        steps=sum(len(one.evidence.steps) for one in trust.standings if one.evidence is not None),
        newest=_newest(trust),
        hidden=trust.hidden,
        anchors=[(one, _anchored(trust, one.at)) for one in trust.anchors.anchors],
    )


def claim_page(trust: Trust, standing: Standing) -> bytes:
    """Return the page of one claim: how it is proven, each thing that was tried, and its last days."""
    evidence = standing.evidence
    return rendering.page(
        "claim.html",
        **_common(trust),
        claim=standing.claim,
        family=TITLES[family_of(standing.claim.id)],
        row=_row(standing, trust.now),
        doubt=None if standing.doubt is None else standing.doubt.value,
        evidence=evidence,
        checked=None if evidence is None else rendering.age(trust.now - evidence.at),
        event=standing.event,
        place=standing.place,
        strip=strips.strip(standing.days),
        told=strips.told(standing.days),
    )


def missing_page(*, title: str, request: str) -> bytes:
    """Return the page for a claim that is not there."""
    return rendering.page("missing.html", title=title, request=request)


def _common(trust: Trust) -> dict[str, object]:
    return {"publisher": trust.publisher, "now": trust.now, "end": trust.end}


def _groups(trust: Trust) -> list[tuple[str, str, list[_Row]]]:
    return [
        (family, TITLES[family], [_row(one, trust.now) for one in members])
        for family, members in groupby(trust.standings, key=lambda one: family_of(one.claim.id))
    ]


def _row(standing: Standing, now: datetime) -> _Row:
    evidence = standing.evidence
    return _Row(
        id=standing.claim.id,
        says=standing.claim.says,
        state=WORDS[standing.state],
        kind=strips.css_class(standing.state),
        tried=_tried(standing),
        age="" if evidence is None else rendering.age(now - evidence.at),
        strip=strips.strip(standing.days) if any(day is not None for day in standing.days) else None,
    )


def _tried(standing: Standing) -> str:
    """Say in one line what the newest trial was, or why nothing is known."""
    if standing.evidence is None or not standing.evidence.steps:
        return "" if standing.doubt is None else standing.doubt.value
    held: Sequence[bool | None] = [step.held for step in standing.evidence.steps]
    said = f"{len(held)} {'thing' if len(held) == 1 else 'things'} tried"
    for word, count in (("did not hold", held.count(False)), ("could not be seen", held.count(None))):
        said += f", {count} {word}" if count else ""
    return f"{said}. {standing.doubt.value}" if standing.doubt is not None else said


def _newest(trust: Trust) -> str | None:
    times = [one.evidence.at for one in trust.standings if one.evidence is not None]
    return rendering.age(trust.now - max(times)) if times else None


def _anchored(trust: Trust, at: datetime | None) -> str:
    return "never" if at is None else rendering.age(trust.now - at)
