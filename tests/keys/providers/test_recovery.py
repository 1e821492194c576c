"""Recovery shares: enough of them rebuild the root key, fewer say nothing, and no message quotes a word."""

from __future__ import annotations

import itertools
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wellkeep.base.errors import Misconfigured
from wellkeep.base.secrets import Secret
from wellkeep.keys.recovery import Split, make_shares, rebuild, shares_needed


def test_any_two_of_three_rebuild_the_key_in_any_order() -> None:
    key = Secret(os.urandom(32))
    shares = make_shares(key, Split(2, 3))
    assert len(shares) == 3
    assert all(len(share.reveal().split()) == 33 and shares_needed(share) == 2 for share in shares)
    for chosen in itertools.permutations(shares, 2):
        assert rebuild(chosen).reveal() == key.reveal()


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 6), st.integers(0, 3), st.binary(min_size=32, max_size=32))
def test_any_split_rebuilds_what_was_split(needed: int, more: int, key: bytes) -> None:
    shares = make_shares(Secret(key), Split(needed, needed + more))
    assert rebuild(shares[-needed:]).reveal() == key
    with pytest.raises(Misconfigured):
        rebuild(shares[: needed - 1])


def test_shares_of_two_splits_of_one_key_do_not_mix() -> None:
    key = Secret(os.urandom(32))
    one, other = make_shares(key, Split(2, 3)), make_shares(key, Split(2, 3))
    with pytest.raises(Misconfigured):
        rebuild([one[0], other[1]])
    with pytest.raises(Misconfigured):
        rebuild([one[0], one[0]])


def test_a_mistyped_share_is_refused_before_it_is_used_and_its_words_are_not_shown() -> None:
    share = make_shares(Secret(os.urandom(32)), Split(2, 3))[0].reveal()
    words = share.split()
    swapped = [*words[:4], words[5], words[4], *words[6:]]
    for wrong in ("", "hunter2", " ".join(words[:-1]), " ".join(swapped), " ".join(["hunter2", *words[1:]])):
        if wrong == share:
            continue
        with pytest.raises(Misconfigured) as refused:
            shares_needed(Secret(wrong))
        assert "hunter2" not in refused.value.message
        assert words[4] not in refused.value.message.split()
    assert shares_needed(Secret("  " + share.upper().replace(" ", "   ") + "\n")) == 2


def test_shares_of_a_key_of_another_length_rebuild_none() -> None:
    with pytest.raises(Misconfigured):
        rebuild(make_shares(Secret(bytes(16)), Split(2, 2)))


@pytest.mark.parametrize("text", ["", "3", "1/1", "1/3", "3/2", "0/2", "2/17", "2/3/4", "two/three", "2 of 3", "-2/3"])
def test_a_split_that_is_none_or_hands_out_the_key_itself_is_refused(text: str) -> None:
    with pytest.raises(Misconfigured, match="such as 2/3"):
        Split.parse(text)


def test_a_split_is_read_as_needed_of_made() -> None:
    assert Split.parse("3/5") == Split(3, 5)
