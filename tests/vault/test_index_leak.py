"""What a histogram of tags tells: known histograms, and what must hold of every one."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellkeep.vault.index_leak import Leak, Verdict, measure

BARS = st.dictionaries(st.integers(1, 5_000), st.integers(1, 200), max_size=40).map(lambda found: list(found.items()))


def of(counts: Iterable[int]) -> Leak:
    """Measure an index whose tags have so many rows each."""
    return measure(Counter(counts).items())


def test_a_unique_index_tells_nothing() -> None:
    leak = of([1] * 5_000)
    assert leak.verdict is Verdict.OK
    assert (leak.entries, leak.distinct, leak.evenness, leak.bits) == (5_000, 5_000, 1.0, 0.0)
    assert leak.reversible == leak.largest_share == 1 / 5_000


def test_sex_is_told_whole() -> None:
    leak = of([5_100, 4_900])
    assert leak.verdict is Verdict.FEW_VALUES
    assert (leak.reversible, leak.largest_share, leak.top_ten_share) == (1.0, 0.51, 1.0)
    assert leak.bits == pytest.approx(math.log2(1 / 0.51))


def test_one_value_for_all_is_told_and_was_known() -> None:
    leak = of([2_000])
    assert (leak.verdict, leak.evenness, leak.bits) == (Verdict.FEW_VALUES, 0.0, 0.0)


def test_one_value_that_stands_out_is_past_a_limit() -> None:
    assert of([120] + [1] * 900).verdict is Verdict.ONE_VALUE
    assert of([102] + [1] * 918).verdict is Verdict.OK


def test_frequencies_of_which_each_is_another_are_reversible() -> None:
    assert of(range(1, 60)).verdict is Verdict.REVERSIBLE
    assert of(range(1, 60)).reversible == 1.0


@pytest.mark.parametrize(("distinct", "skewed"), [(31, True), (32, False)])
def test_the_least_number_of_values(*, distinct: int, skewed: bool) -> None:
    assert of([100] * distinct).verdict.skewed is skewed


@pytest.mark.parametrize(("rows", "verdict"), [(500, Verdict.FEW_RECORDS), (501, Verdict.FEW_VALUES)])
def test_of_few_records_no_verdict_is_made(rows: int, verdict: Verdict) -> None:
    assert of([rows, rows]).verdict is verdict
    assert not of([rows, rows]).verdict.skewed or rows > 500


def test_of_very_few_nothing_but_the_size_is_shown() -> None:
    for leak in (measure([]), of([60, 39])):
        assert (leak.largest_share, leak.reversible, leak.bits, leak.evenness, leak.top_ten_share) == (None,) * 5
        assert leak.verdict is Verdict.FEW_RECORDS
    assert of([60, 40]).largest_share == 0.6


@given(BARS)
def test_the_measures_keep_within_their_bounds(bars: list[tuple[int, int]]) -> None:
    leak = measure(bars)
    assert leak.entries == sum(rows * tags for rows, tags in bars)
    if leak.reversible is None:
        return
    assert leak.largest_share is not None
    assert leak.top_ten_share is not None
    assert leak.evenness is not None
    assert leak.bits is not None
    assert 0 < leak.largest_share <= leak.reversible <= 1 + 1e-9
    assert leak.largest_share <= leak.top_ten_share <= 1 + 1e-9
    assert -1e-9 <= leak.evenness <= 1 + 1e-9
    assert -1e-9 <= leak.bits <= math.log2(leak.distinct) + 1e-9
    assert measure(reversed(bars)) == leak, "in whatever order it comes"


def test_what_is_called_reversible_is_what_an_attacker_gets() -> None:
    """The attack itself, with the exact frequencies: match by rank, ties at random, and count what is right."""
    chance = random.Random(7)  # noqa: S311 -- an attacker's guesses
    counts = [40, 40, 25, 9, 9, 9, 9, 3, 3, 1, 1, 1, 1, 1]
    right = 0
    for _ in range(20_000):
        guesses = sorted(range(len(counts)), key=lambda value: (-counts[value], chance.random()))
        right += sum(counts[value] for value, guess in enumerate(guesses) if value == guess)
    assert right / 20_000 / sum(counts) == pytest.approx(of(counts).reversible, rel=0.02)
