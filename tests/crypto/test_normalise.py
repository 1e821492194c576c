"""Ways of writing one thing have one normal form, different things have different ones, and nothing is empty."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellkeep.crypto.errors import NotNormalisable
from wellkeep.crypto.normalise import NORMALISERS, normalise

SAME = [
    ("text/1", "straße", ["STRASSE", "  strasse ", "Straße\u200b", "str\u00adasse"]),
    ("name/1", "jose nunez", ["José  Núñez", "JOSE\u0301 NUÑEZ", "jose-nunez", "José_Núñez.", "Jose Nunez"]),
    ("name/1", "obrien", ["O'Brien", "O\u2019Brien", "o\u02bcbrien", "O`BRIEN", "OBrien", "O\u00b4Brien"]),
    ("name/1", "ølund", ["Olund", "OLUND"]),
    ("name/1", "Maria", ["\u202eMaria\u202c", "Ma\u200dria", "\uff2d\uff41\uff52\uff49\uff41"]),
    ("email/1", "ana@example.com", [" Ana@Example.COM", "ana@example.com.", "ANA@EXAMPLE.COM"]),
    ("phone/1", "+1 555 123 4567", ["555-123-4567", "(555) 123-4567", "5551234567", "+15551234567", "555.123.4567 x9"]),
    ("digits/1", "999-12-3456", ["999123456", "999 12 3456", "999\u201112\u20113456", "\uff19\uff19\uff19123456"]),
    ("date/1", "1985-04-12", ["19850412", " 1985-04-12 "]),
    ("identifier/1", "mrn-001", ["MRN-001", "mrn - 001", "MRN\u2011001"]),
]  # fmt: skip

DIFFERENT = [
    ("text/1", "a b", "ab"),
    ("name/1", "Ann Lee", "Annlee"),
    ("email/1", "ana+1@example.com", "ana@example.com"),
    ("phone/1", "555-123-4567", "555-123-4568"),
    ("digits/1", "0123", "123"),
    ("date/1", "1985-04-12", "1985-12-04"),
    ("identifier/1", "1-23", "12-3"),
]

NOT_DATES = ["2023-02-30", "2023-13-01", "2023-00-10", "0000-01-01", "2023-01-00", "12/04/1985", "1985-04"]
REFUSED = [
    *[(normaliser, blank) for normaliser in NORMALISERS for blank in ("", "  ", "\u200b", "\t\n")],
    *[("name/1", value) for value in ("'", "- .")],
    *[("email/1", value) for value in ("nobody", "@x", "a@", "a@b@c", "a b@c")],
    *[("phone/1", value) for value in ("call me", "12", "1" * 300)],
    *[("digits/1", value) for value in ("12a", "½")],
    *[("date/1", value) for value in (*NOT_DATES, "1985-04-12T00:00:00Z", "١٩٨٥-٠٤-١٢")],
    ("name/9", "Ana"),
]


@pytest.mark.parametrize(("normaliser", "reference", "others"), SAME)
def test_ways_of_writing_one_thing(normaliser: str, reference: str, others: list[str]) -> None:
    expected = normalise(normaliser, reference, region="US")
    assert {normalise(normaliser, other, region="US") for other in others} == {expected}


@pytest.mark.parametrize(("normaliser", "one", "other"), DIFFERENT)
def test_different_things_stay_different(normaliser: str, one: str, other: str) -> None:
    assert normalise(normaliser, one, region="US") != normalise(normaliser, other, region="US")


@pytest.mark.parametrize(("normaliser", "value"), REFUSED)
def test_what_has_no_normal_form_is_refused(normaliser: str, value: str) -> None:
    with pytest.raises(NotNormalisable):
        normalise(normaliser, value, region="US")


def test_a_number_without_country_needs_a_region() -> None:
    with pytest.raises(NotNormalisable):
        normalise("phone/1", "555-123-4567")
    assert normalise("phone/1", "+44 20 7946 0958") == "+442079460958"


@given(st.sampled_from(["text/1", "name/1", "identifier/1"]), st.text(max_size=40))
def test_a_normal_form_is_its_own(normaliser: str, value: str) -> None:
    try:
        once = normalise(normaliser, value)
    except NotNormalisable:
        return
    assert normalise(normaliser, once) == once


@given(st.sampled_from(["text/1", "name/1", "identifier/1"]), st.text(st.characters(max_codepoint=126), max_size=40))
def test_ascii_is_read_faster_and_not_otherwise(normaliser: str, value: str) -> None:
    # A character that is dropped sends the same value the long way.
    try:
        long_way = normalise(normaliser, value + "\u200b")
    except NotNormalisable:
        with pytest.raises(NotNormalisable):
            normalise(normaliser, value)
        return
    assert normalise(normaliser, value) == long_way
