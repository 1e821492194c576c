"""How much a blind index tells whoever reads the table of tags and holds no key.

A tag says one thing: these records share a value. So what leaks is the histogram of the index, and what it is worth is
what somebody makes of it who knows how often each value occurs (from the census, from another hospital's published
discharges). Measured are, of the records of one index:

- the largest share, and that of the ten largest: who stands out without any arithmetic;
- the evenness: Shannon's entropy of the shares over that of as many equal ones; 1 where every value is as frequent;
- what is reversible: the share of records whose value frequency analysis finds, done ideally, by somebody who knows the
  exact histogram of the values. Tags that are equally frequent can't be told apart, and of m such a random matching has
  one right on average, so it is the sum of the different frequencies. Naveed, Kamara and Wright (CCS 2015) reversed
  sex, race and mortality risk so for most patients of 200 hospitals; Bindschaedler, Grubbs, Cash, Ristenpart and
  Shmatikov (VLDB 2018) show that no other matching does better on one column. It is the worst case: with knowledge
  that is only about right, the tail of rare values is lost first;
- the bits gained: how much likelier a right guess is with the tags than without, as a power of two. Without them the
  best guess is the most frequent value, each time. (Multiplicative min-entropy leakage: Alvim et al., CSF 2014.)

An index is *skewed* where it has few values for its many records, where one value stands for too many of them, or where
most records are reversible. Only numbers go in and come out: no tag, no value, and nothing of an index that holds fewer
than a hundred records.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MANY_RECORDS: Final = 1_000
"""Of fewer no verdict is made: their frequencies say little."""
FEWEST_VALUES: Final = 32
LARGEST_SHARE: Final = 0.10
REVERSIBLE: Final = 0.50
_SHOWN_FROM: Final = 100
_TOP: Final = 10


class Verdict(StrEnum):
    """What the measures amount to; all but the first two are skew, and say which."""

    OK = "ok"
    FEW_RECORDS = "few-records"
    FEW_VALUES = "few-values"
    ONE_VALUE = "one-value"
    REVERSIBLE = "reversible"

    @property
    def skewed(self) -> bool:
        """Whether it is past a limit."""
        return self not in {Verdict.OK, Verdict.FEW_RECORDS}


@dataclass(frozen=True, slots=True)
class Leak:
    """The measures of one index: `entries` tags in rows, `distinct` different ones; shares and evenness are 0 to 1."""

    entries: int
    distinct: int
    verdict: Verdict
    largest_share: float | None = None
    top_ten_share: float | None = None
    evenness: float | None = None
    reversible: float | None = None
    bits: float | None = None


def measure(histogram: Iterable[tuple[int, int]]) -> Leak:
    """Return the measures of an index by its histogram: (rows that share a tag, how many tags have so many rows)."""
    bars = sorted(histogram, reverse=True)
    entries, distinct = sum(rows * tags for rows, tags in bars), sum(tags for _, tags in bars)
    if entries < _SHOWN_FROM:
        return Leak(entries, distinct, Verdict.FEW_RECORDS)
    largest = bars[0][0] / entries
    reversible = sum(rows for rows, _ in bars) / entries
    return Leak(
        entries=entries,
        distinct=distinct,
        verdict=_verdict(entries, distinct, largest, reversible),
        largest_share=largest,
        top_ten_share=_of_the_top(bars) / entries,
        evenness=_evenness(bars, entries, distinct),
        reversible=reversible,
        bits=math.log2(reversible / largest),
    )


def _verdict(entries: int, distinct: int, largest: float, reversible: float) -> Verdict:
    if entries <= MANY_RECORDS:
        return Verdict.FEW_RECORDS
    if distinct < FEWEST_VALUES:
        return Verdict.FEW_VALUES
    if largest > LARGEST_SHARE:
        return Verdict.ONE_VALUE
    return Verdict.REVERSIBLE if reversible > REVERSIBLE else Verdict.OK


def _of_the_top(bars: list[tuple[int, int]]) -> int:
    left, rows_of_the_top = _TOP, 0
    for rows, tags in bars:
        taken = min(tags, left)
        rows_of_the_top += rows * taken
        left -= taken
    return rows_of_the_top


def _evenness(bars: list[tuple[int, int]], entries: int, distinct: int) -> float:
    if distinct == 1:
        return 0.0
    entropy = -sum(tags * rows / entries * math.log2(rows / entries) for rows, tags in bars)
    return entropy / math.log2(distinct)
