"""A claim's last days as a strip: one bar a day, in SVG made here, said in words beside it.

Rule: the picture is never the only way to know: its label says the same, and a failed day is taller than the others,
so that no colour alone tells it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from markupsafe import Markup

from wellkeep.prove.evidence import State

_WIDTH = 4
_HEIGHT = 20
_CLASSES = {
    State.PROVEN: "proven",
    State.PARTIAL: "partial",
    State.UNKNOWN: "unknown",
    State.UNMET: "failed",
    State.FAILED: "failed",
    None: "none",
}
_TALL = {"proven": (4, 16), "partial": (8, 16), "unknown": (7, 13), "failed": (0, 20), "none": (11, 13)}
_WORDS = {
    State.FAILED: "failed",
    State.UNMET: "not met",
    State.UNKNOWN: "unknown",
    State.PARTIAL: "partly proven",
    State.PROVEN: "proven",
    None: "without a trial",
}


def css_class(state: State | None) -> str:
    """Return the class that a state is shown with."""
    return _CLASSES[state]


def told(days: Sequence[State | None]) -> str:
    """Say in words what the strip shows: `Last 90 days: 2 failed, 80 proven, 8 without a trial`."""
    counts = [(days.count(state), words) for state, words in _WORDS.items()]
    return f"Last {len(days)} days: " + ", ".join(f"{count} {words}" for count, words in counts if count)


def strip(days: Sequence[State | None]) -> Markup:
    """Draw one bar for each day, the oldest at the left; bars of one kind that follow each other are one path."""
    paths, place = [], 0
    for kind, run in groupby(days, key=css_class):
        top, bottom = _TALL[kind]
        length = sum(1 for _ in run)
        bars = "".join(f"M{(place + one) * _WIDTH} {top}h3v{bottom - top}h-3z" for one in range(length))
        paths.append(Markup('<path class="{}" d="{}"/>').format(kind, bars))
        place += length
    return Markup(
        '<svg class="strip" role="img" aria-label="{}" viewBox="0 0 {} {}" preserveAspectRatio="none">{}</svg>'
    ).format(told(days), len(days) * _WIDTH - 1, _HEIGHT, Markup("").join(paths))
