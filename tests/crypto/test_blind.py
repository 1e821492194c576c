"""Equal values give equal tags under one key, and a prefix query matches what begins with it, no more."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellkeep.crypto.blind import MAX_PREFIX, MIN_PREFIX, TAG_SIZE, BlindIndex, IndexKind, Mac, query_tokens, tokens
from wellkeep.crypto.errors import Malformed, NotNormalisable

INDEX = BlindIndex(bytes(range(32)), epoch=1)
words = st.lists(st.text(st.characters(categories=["Ll", "Nd"]), min_size=1, max_size=20), min_size=1, max_size=4)


@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_tags_are_equal_exactly_where_values_are(one: str, other: str) -> None:
    assert (INDEX.tag(one) == INDEX.tag(other)) == (one == other)
    assert len(INDEX.tag(one)) == TAG_SIZE


def test_an_unkeyed_hash_or_another_key_or_epoch_gives_other_tags() -> None:
    assert BlindIndex(b"x" * 32, epoch=1).tag("v")[1:] != INDEX.tag("v")[1:]
    second = BlindIndex(bytes(range(32)), epoch=2).tag("v")
    assert (INDEX.tag("v")[0], second[0]) == (1, 2)


@pytest.mark.parametrize("epoch", [-1, 0, 256])
def test_an_epoch_is_one_byte_and_not_zero(epoch: int) -> None:
    with pytest.raises(Malformed):
        BlindIndex(bytes(32), epoch=epoch)


@pytest.mark.parametrize("value", ["", "\ud800"])
def test_what_has_no_bytes_has_no_tag(value: str) -> None:
    with pytest.raises(NotNormalisable):
        INDEX.tag(value)


@given(words, st.text(st.characters(categories=["Ll", "Nd"]), min_size=MIN_PREFIX, max_size=MAX_PREFIX))
def test_a_prefix_query_matches_exactly_what_begins_with_it(stored: list[str], query: str) -> None:
    matches = set(query_tokens(IndexKind.PREFIX, query)) <= set(tokens(IndexKind.PREFIX, " ".join(stored)))
    assert matches == any(word.startswith(query) for word in stored)


@pytest.mark.parametrize("kind", [IndexKind.EXACT, IndexKind.UNIQUE])
def test_exact_and_unique_tag_the_value_itself(kind: IndexKind) -> None:
    assert tokens(kind, "ana lopez") == query_tokens(kind, "ana lopez") == ["ana lopez"]


@pytest.mark.parametrize("query", ["", "a", "ab c"])
def test_a_prefix_query_of_single_letters_is_refused(query: str) -> None:
    with pytest.raises(NotNormalisable):
        query_tokens(IndexKind.PREFIX, query)


def test_a_long_word_finds_its_equals_and_nothing_that_only_begins_alike() -> None:
    stored = set(tokens(IndexKind.PREFIX, "runolfsdottir"))
    assert set(query_tokens(IndexKind.PREFIX, "runolfsdottir")) <= stored
    assert set(query_tokens(IndexKind.PREFIX, "runolfsdotti")) <= stored
    assert not set(query_tokens(IndexKind.PREFIX, "runolfsdottirs")) <= stored
    assert not set(query_tokens(IndexKind.PREFIX, "runolfsdottirr")) <= stored


def test_each_word_of_a_prefix_query_counts_once() -> None:
    assert query_tokens(IndexKind.PREFIX, "lo an lo") == ["an", "lo"]
    assert tokens(IndexKind.PREFIX, "ana a") == ["an", "ana"]


def test_a_mac_takes_a_whole_key_and_never_shows_it() -> None:
    with pytest.raises(Malformed):
        Mac(bytes(31))
    mac = Mac(b"k" * 32)
    assert mac.of(b"message") == hmac.digest(b"k" * 32, b"message", "sha256")
    assert "k" * 4 not in repr(mac)
