"""How the claims stand at a moment: each sentence with its newest evidence, and what its last days were like.

Rule: the state is worked out from the steps of the newest trial, here and each time; nobody hands one in. Evidence that
is late, missing, or not what the root log holds of it leaves the claim unknown. A failure stays one until a later trial
holds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from uuid import UUID

import msgspec

from wellkeep.assembly.trials import Trial, Tried
from wellkeep.base.errors import Misconfigured
from wellkeep.prove import documents
from wellkeep.prove.claims import Claim
from wellkeep.prove.evidence import FRESH_FOR, Evidence, State

_CLOCKS = timedelta(minutes=5)
"""By how much two clocks may differ."""
DAYS = 90
"""How many days are looked back."""

_RED = frozenset({State.FAILED, State.UNMET})
_NAMED = {state.name.lower(): state for state in State}
_WORST_FIRST = (State.FAILED, State.UNMET, State.UNKNOWN, State.PARTIAL, State.PROVEN)


class Doubt(StrEnum):
    """Why a claim is unknown although it could be tried."""

    NO_PROBE = "No probe tries this sentence yet."
    NEVER = "It was not tried here yet."
    LATE = "Its newest evidence is older than a day."
    ALTERED = "What was kept of its newest trial is not what the ledger holds of it."
    BLIND = "Its probe could not observe everything."
    GROUND = "What guards the ledger, or the ledger itself, was found altered: until that is settled nothing is proven."


@dataclass(frozen=True, slots=True)
class Standing:
    """A claim at a moment. `days` has one state for each of the last `DAYS` days (UTC), the oldest first.

    What it shows of the evidence is fit for strangers. A day's state is the worst that a trial on it ended in; None
    where nothing was tried. `event` and `place` name the entry of the newest trial in the root log.
    """

    claim: Claim
    state: State
    doubt: Doubt | None
    evidence: Evidence | None
    event: UUID | None
    place: tuple[int, int] | None
    days: tuple[State | None, ...]


def published(claims: Mapping[str, Claim], names: Collection[str]) -> dict[str, Claim]:
    """Return the claims that `names` (ids or families; none: all) publish. Raises Misconfigured for an unknown one."""
    for name in names:
        if not any(name in (claim, family_of(claim)) for claim in claims):
            raise Misconfigured(f"[trust] claims names {name}, which is neither a claim nor a family of them")
    return {one: claim for one, claim in claims.items() if not names or one in names or family_of(one) in names}


def family_of(claim: str) -> str:
    """Return the family of a claim's id: `rest` of `rest.fields`."""
    return claim.partition(".")[0]


def standings(
    claims: Iterable[Claim],
    tried: Tried,
    *,
    probed: Collection[str],
    now: datetime,
    doubted: bool = False,
) -> list[Standing]:
    """Return how each of `claims` stands at `now`, in their order; `probed` are the ids that have a probe.

    `doubted`: what the trials are read from was found altered, so nothing of it is proven.
    """
    newest = {trial.claim: trial for trial in tried.newest}
    past: dict[str, dict[date, list[str | None]]] = {}
    for one in tried.days:
        past.setdefault(one.claim, {}).setdefault(one.day, []).append(one.state)
    found = [
        _standing(claim, newest.get(claim.id), _strip(past.get(claim.id, {}), now), probed=claim.id in probed, now=now)
        for claim in claims
    ]
    return [_in_doubt(one) for one in found] if doubted else found


def _in_doubt(one: Standing) -> Standing:
    if one.evidence is None or one.state in _RED:
        return one
    return replace(one, state=State.UNKNOWN, doubt=Doubt.GROUND)


def _standing(
    claim: Claim, trial: Trial | None, days: tuple[State | None, ...], *, probed: bool, now: datetime
) -> Standing:
    if trial is None:
        untried = Doubt.NEVER if probed else Doubt.NO_PROBE
        return Standing(claim, State.UNKNOWN, untried, None, None, None, days)
    place = (trial.epoch, trial.seq)
    evidence = _read(trial, now)
    if evidence is None:
        entered = _state(trial.state)  # a failure is one without its evidence, too
        state = entered if entered in _RED else State.UNKNOWN
        return Standing(claim, state, Doubt.ALTERED, None, trial.event, place, days)
    state = evidence.state_at(now)
    doubt = _doubt(evidence, now) if state is State.UNKNOWN else None
    return Standing(claim, state, doubt, documents.public(evidence), trial.event, place, days)


def _doubt(evidence: Evidence, now: datetime) -> Doubt:
    return Doubt.LATE if now - evidence.at > FRESH_FOR else Doubt.BLIND


def _read(trial: Trial, now: datetime) -> Evidence | None:
    """Return the evidence of a trial; None where it was altered, or tells a time that can't be."""
    if trial.document is None:
        return None
    try:
        evidence = documents.read(trial.document)
    except msgspec.MsgspecError:
        return None
    # It is entered once all probes of a run have ended, so it may be older than its entry, and never newer.
    fits = evidence.claim == trial.claim and evidence.at <= min(trial.at, now) + _CLOCKS
    return evidence if fits else None


def _strip(found: Mapping[date, Sequence[str | None]], now: datetime) -> tuple[State | None, ...]:
    today = now.astimezone(UTC).date()
    return tuple(_worst(found.get(today - timedelta(days=back), ())) for back in reversed(range(DAYS)))


def _worst(states: Sequence[str | None]) -> State | None:
    if not states:
        return None
    known = {_state(one) for one in states}
    return next(state for state in _WORST_FIRST if state in known)


def _state(text: str | None) -> State:
    """Return the state that an entry names; one that is none of ours is unknown."""
    return _NAMED.get(text or "", State.UNKNOWN)
