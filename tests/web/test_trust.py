"""Promise: a page says in words what its pictures show, and nothing that it is handed becomes markup."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from uuid import uuid4

import pytest
from jinja2 import UndefinedError

from wellkeep.ledger.anchors.status import AnchorState, AnchorStatus
from wellkeep.prove.claims import load_claims
from wellkeep.prove.evidence import Evidence, State, Step, Where
from wellkeep.prove.standing import DAYS, Doubt, Standing
from wellkeep.web import rendering, strips, trust

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>\"'&{{ 7 * 191 }}"


def standing(
    claim: str = "rest.fields",
    state: State = State.PROVEN,
    *steps: Step,
    doubt: Doubt | None = None,
    days: tuple[State | None, ...] = (None,) * DAYS,
) -> Standing:
    seen = Evidence(claim, Where.LIVE, NOW - timedelta(hours=3), 1.0, steps, None) if steps else None
    return Standing(load_claims()[claim], state, doubt, seen, uuid4(), (1, 12), days)


def told(*standings: Standing, name: str = "Example Health", hidden: int = 0, holds: bool | None = None) -> trust.Trust:
    anchor = AnchorState("git", "git", bool(holds), not holds, 1, 9, NOW, 60, 0, NOW, None, 0)
    anchors = AnchorStatus(1, 0, False, None, () if holds is None else (anchor,))
    publisher = trust.Publisher(name, "health.example", "production", ("mailto:security@health.example",), None)
    return trust.Trust(publisher, NOW, standings, hidden, None, anchors)


def text(page: bytes) -> str:
    """Return what a reader sees of a page."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.decode()))


class Elements(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("state", list(State))
def test_a_state_is_a_word_and_an_icon(state: State) -> None:
    page = trust.page(told(standing("rest.fields", state, Step("a", "b", held=True))))
    badge = re.search(r'<td data-title="State"><span class="badge (\w+)"><svg.*?</svg>([^<]+)</span>', page.decode())
    assert badge is not None
    assert badge.groups() == (strips.css_class(state), trust.WORDS[state])


def test_what_is_handed_in_is_text_and_never_markup() -> None:
    one = standing("rest.fields", State.FAILED, Step(HOSTILE, HOSTILE, held=False))
    for page in (trust.page(told(one, name=HOSTILE)), trust.claim_page(told(one, name=HOSTILE), one)):
        assert b"<script" not in page
        assert b"1337" not in page, "no template is made of what is handed in"
        for tag, attributes in Elements(page).found:
            assert tag != "script"
            assert "style" not in attributes
            assert not [name for name in attributes if name.startswith("on")]


def test_a_page_loads_nothing_from_elsewhere() -> None:
    one = standing("rest.fields", State.PROVEN, Step("a", "b", held=True))
    for page in (trust.page(told(one)), trust.claim_page(told(one), one)):
        for _, attributes in Elements(page).found:
            for name in ("src", "href", "action"):
                assert (attributes.get(name) or "/").startswith(("/", "#", "mailto:"))


def test_the_sum_at_the_top_is_the_worst_that_is_true() -> None:
    held, fell = Step("a", "b", held=True), Step("a", "b", held=False)
    good, bad = standing("rest.fields", State.PROVEN, held), standing("rest.bound", State.FAILED, fell)
    unmet = standing("rest.volumes", State.UNMET, fell)
    none = standing("rest.files", State.UNKNOWN, doubt=Doubt.NO_PROBE)
    part = standing("rest.erasure", State.PARTIAL, held)
    assert "1 of 2 claims does not hold" in text(trust.page(told(good, bad)))
    assert "2 of 3 claims do not hold" in text(trust.page(told(good, bad, unmet)))
    assert "1 of 3 claims proven , 1 in part , 1 unknown" in text(trust.page(told(good, part, none))).replace(",", " ,")
    assert "Nothing is proven at the moment" in text(trust.page(told(none)))
    assert "No probe tries this sentence yet." in text(trust.page(told(none)))


def test_what_is_not_published_is_counted() -> None:
    one = standing("rest.fields", State.UNKNOWN, doubt=Doubt.NEVER)
    assert "1 sentence is not published by this deployment" in text(trust.page(told(one, hidden=1)))
    assert "64 sentences are not published by this deployment" in text(trust.page(told(one, hidden=64)))
    assert "not published" not in text(trust.page(told(one)))


@pytest.mark.parametrize(
    ("holds", "words"), [(None, "keeps its checkpoints nowhere else"), (True, "Holds it"), (False, "Does not hold it")]
)
def test_where_the_end_is_kept_is_said(holds: bool | None, words: str) -> None:  # noqa: FBT001 -- a parameter
    assert words in text(trust.page(told(standing(state=State.UNKNOWN, doubt=Doubt.NEVER), holds=holds)))


def test_a_claims_page_shows_every_step_and_how_it_ended() -> None:
    steps = (
        Step("read the heap", "nothing found", held=True),
        Step("read the log", "a value", held=False),
        Step("read the disk", "could not be opened", held=None),
        Step("ask the disk", "in clear", held=False, ours=False),
    )
    one = standing("rest.fields", State.FAILED, *steps)
    page = text(trust.claim_page(told(one), one))
    for step, word in zip(steps, ("Held", "Failed", "Not seen", "Not met here"), strict=True):
        assert re.search(rf"{step.tried} {step.seen} {word}", page)
    assert "wellkeep prove rest.fields" in page
    assert "entry 12 of the root log" in page


def test_a_strip_says_in_words_what_it_draws() -> None:
    days = (None,) * 85 + (State.PROVEN, State.FAILED, State.UNMET, State.UNKNOWN, State.PARTIAL)
    drawn = str(strips.strip(days))
    said = "Last 90 days: 1 failed, 1 not met, 1 unknown, 1 partly proven, 1 proven, 85 without a trial"
    assert strips.told(days) == said
    assert f'aria-label="{said}"' in drawn
    assert drawn.count("M") == DAYS, "a bar a day"
    assert drawn.count("<path") == 5, "bars of one kind that follow each other are one path"


@pytest.mark.parametrize(
    ("since", "words"),
    [
        (timedelta(seconds=-5), "just now"),
        (timedelta(seconds=59), "just now"),
        (timedelta(seconds=60), "1 min ago"),
        (timedelta(minutes=119), "119 min ago"),
        (timedelta(hours=2), "2 h ago"),
        (timedelta(hours=47), "47 h ago"),
        (timedelta(days=2), "2 d ago"),
    ],
    ids=str,
)
def test_an_age_is_one_number(since: timedelta, words: str) -> None:
    assert rendering.age(since) == words


def test_a_name_that_a_template_lacks_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        rendering.page("trust.html")
