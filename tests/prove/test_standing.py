"""Promise: what the page says of a claim follows from its newest evidence, and every doubt shows as unknown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from wellkeep.assembly.trials import Day, Trial, Tried
from wellkeep.base.errors import Misconfigured
from wellkeep.prove.claims import Claim, load_claims
from wellkeep.prove.documents import document, read, written
from wellkeep.prove.evidence import Evidence, State, Step, Where
from wellkeep.prove.standing import DAYS, Doubt, Standing, published, standings

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
CLAIM = load_claims()["rest.fields"]
HELD, FELL, UNSEEN, GROUND = (
    Step("a", "b", held=True),
    Step("a", "b", held=False),
    Step("a", "b", held=None),
    Step("a", "b", held=False, ours=False),
)


def evidence(*steps: Step, ago: timedelta = timedelta(hours=1), missing: str | None = None) -> Evidence:
    return Evidence(CLAIM.id, Where.LIVE, NOW - ago, 1.25, steps or (HELD,), missing)


def trial(one: Evidence | None, *, text: str | None = None, at: datetime = NOW, entered: str = "proven") -> Trial:
    return Trial(CLAIM.id, at, uuid4(), 1, 7, entered, text if one is None else written(one))


def stands(*trials: Trial, days: tuple[Day, ...] = (), probed: bool = True, now: datetime = NOW) -> Standing:
    (found,) = standings([CLAIM], Tried(trials, days), probed={CLAIM.id} if probed else (), now=now)
    return found


@pytest.mark.parametrize(
    ("one", "state", "doubt"),
    [
        (evidence(), State.PROVEN, None),
        (evidence(missing="backups"), State.PARTIAL, None),
        (evidence(HELD, UNSEEN), State.UNKNOWN, Doubt.BLIND),
        (evidence(HELD, FELL), State.FAILED, None),
        (evidence(HELD, GROUND), State.UNMET, None),
        (evidence(ago=timedelta(hours=25)), State.UNKNOWN, Doubt.LATE),
        (evidence(missing="backups", ago=timedelta(hours=25)), State.UNKNOWN, Doubt.LATE),
        (evidence(FELL, ago=timedelta(days=30)), State.FAILED, None),
        (evidence(GROUND, ago=timedelta(days=30)), State.UNMET, None),
    ],
    ids=[
        "held",
        "in part",
        "not seen",
        "fell",
        "the ground",
        "late",
        "late in part",
        "fell long ago",
        "ground long ago",
    ],
)
def test_the_state_follows_from_the_steps_and_their_age(one: Evidence, state: State, doubt: Doubt | None) -> None:
    found = stands(trial(one))
    assert (found.state, found.doubt) == (state, doubt)
    assert found.evidence == one
    assert found.place == (1, 7)


def test_what_was_never_tried_is_unknown_and_says_whether_it_could_be() -> None:
    assert (stands().state, stands().doubt) == (State.UNKNOWN, Doubt.NEVER)
    assert stands(probed=False).doubt is Doubt.NO_PROBE


@pytest.mark.parametrize(
    "altered",
    [
        trial(None),
        trial(None, text="{"),
        trial(None, text="[]"),
        trial(None, text='{"claim":"rest.fields","state":"proven"}'),
        trial(None, text=written(evidence()).replace("rest.fields", "rest.bound")),
        trial(evidence(), at=NOW - timedelta(hours=2)),
        trial(evidence(ago=timedelta(days=-300))),
    ],
    ids=["gone", "no JSON", "a list", "no evidence", "another claim's", "entered before it was seen", "of the future"],
)
def test_what_is_not_what_was_entered_is_unknown(altered: Trial) -> None:
    found = stands(altered)
    assert (found.state, found.doubt, found.evidence) == (State.UNKNOWN, Doubt.ALTERED, None)


def test_a_failure_outlives_its_evidence() -> None:
    for entered, state in (("failed", State.FAILED), ("unmet", State.UNMET), ("partial", State.UNKNOWN)):
        found = stands(trial(None, entered=entered))
        assert (found.state, found.doubt, found.evidence) == (state, Doubt.ALTERED, None)


def test_nothing_is_proven_on_ground_that_was_altered() -> None:
    def state(one: Evidence) -> tuple[State, Doubt | None]:
        (found,) = standings([CLAIM], Tried((trial(one),), ()), probed={CLAIM.id}, now=NOW, doubted=True)
        return found.state, found.doubt

    assert state(evidence()) == state(evidence(missing="backups")) == (State.UNKNOWN, Doubt.GROUND)
    assert state(evidence(FELL)) == (State.FAILED, None)


def test_evidence_of_the_future_proves_nothing() -> None:
    ahead = evidence(ago=timedelta(minutes=-30))
    assert stands(trial(ahead, at=NOW + timedelta(minutes=31))).state is State.UNKNOWN
    assert stands(trial(evidence(ago=timedelta(minutes=-2)))).state is State.PROVEN, "clocks differ a little"


def test_a_state_that_was_written_in_counts_for_nothing() -> None:
    """The document says proven; its steps do not."""
    forged = written(evidence(FELL)).replace('"state":"failed"', '"state":"proven"')
    assert '"state":"proven"' in forged
    assert stands(trial(None, text=forged)).state is State.FAILED


def test_a_day_is_as_good_as_its_worst_trial() -> None:
    today = NOW.date()
    days = (
        Day(CLAIM.id, today, "proven", 3),
        Day(CLAIM.id, today, "failed", 1),
        Day(CLAIM.id, today - timedelta(days=1), "proven", 9),
        Day(CLAIM.id, today - timedelta(days=2), "proven", 9),
        Day(CLAIM.id, today - timedelta(days=2), None, 1),
        Day(CLAIM.id, today - timedelta(days=3), "greener than green", 1),
        Day(CLAIM.id, today - timedelta(days=DAYS), "failed", 1),
        Day("rest.bound", today, "unknown", 1),
    )
    strip = stands(days=days).days
    assert len(strip) == DAYS
    assert strip[-4:] == (State.UNKNOWN, State.UNKNOWN, State.PROVEN, State.FAILED)
    assert set(strip[:-4]) == {None}


def test_evidence_comes_back_from_its_document() -> None:
    for one in (evidence(HELD, FELL, UNSEEN, GROUND), evidence(missing="backups")):
        assert read(written(one)) == one
        assert document(one)["says"] == CLAIM.says


@pytest.mark.parametrize(
    ("kept", "shown"),
    [
        ("asked all 91 documented routes of /v1", None),
        ("HTTP 404, 403/401 for GET /v1/records", None),
        ("sent 3 and/or 4 to https://localhost/trust", None),
        ("in /var/lib/wellkeep/postgres/data/log, as root", "in (a path), as root"),
        ("refused: /tmp/wellkeep-scratch-x/home/secrets/root.key belongs to", "refused: (a path) belongs to"),
        ("temporary files, /tmp", "temporary files, (a path)"),
        (
            "log localhost/ledger/01a20810-caf9-75f0-b312-4164a8db4089/1 seq 3",
            "log localhost/ledger/01a20810…/1 seq 3",
        ),
    ],
    ids=["the api", "statuses", "an address", "a home", "a scratch", "tmp", "a tenant's log"],
)
def test_strangers_are_shown_no_path_and_no_whole_id(kept: str, shown: str | None) -> None:
    found = stands(trial(evidence(Step(kept, kept, held=True)))).evidence
    assert found is not None
    (step,) = found.steps
    assert step.tried == step.seen == (shown or kept)


def test_a_deployment_publishes_claims_and_families_in_their_order() -> None:
    claims = load_claims()
    assert published(claims, ()) == claims
    told = published(claims, ("rest.fields", "ledger"))
    assert list(told) == [one for one in claims if one == "rest.fields" or one.startswith("ledger.")]
    for unknown in ("rest.nothing", "nothing", "rest.", "rest.field"):
        with pytest.raises(Misconfigured):
            published(claims, ("ledger", unknown))
    assert isinstance(next(iter(told.values())), Claim)
