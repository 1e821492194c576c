"""The decoders: lines whatever the chunks, references in their spellings, and one reading of every byte."""

from __future__ import annotations

import gzip
import itertools
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wellkeep.base import strict_json
from wellkeep.base.errors import Validation
from wellkeep.vault.csv_source import harmless
from wellkeep.vault.fhir import FhirMapper, Refused, strict
from wellkeep.vault.imports_line import LineError, Row
from wellkeep.vault.ndjson_source import MAX_LINE, Inflater, Line, LineSplitter
from wellkeep.vault.templates import template

JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def split(data: bytes, cuts: list[int], *, packed: bool) -> list[Line]:
    """Return the lines of `data`, fed in pieces."""
    source = gzip.compress(data) if packed else data
    places = sorted({0, len(source), *(cut % (len(source) + 1) for cut in cuts)})
    inflater, splitter = Inflater(), LineSplitter()
    chunks = [piece for a, b in itertools.pairwise(places) for piece in inflater.feed(source[a:b])]
    chunks += list(inflater.finish())
    return [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.finish()


@given(st.lists(st.binary(max_size=20)), st.lists(st.integers(min_value=0), max_size=5), st.booleans())
def test_lines_do_not_depend_on_the_chunks(pieces: list[bytes], cuts: list[int], packed: bool) -> None:  # noqa: FBT001
    lines = [piece.replace(b"\n", b"").replace(b"\r", b"") for piece in pieces]
    data = b"\n".join(lines)
    if not packed and data.startswith(b"\x1f\x8b"):
        return
    found = split(data, cuts, packed=packed)
    assert [(line.number, line.data) for line in found] == [
        (number, line) for number, line in enumerate(lines, start=1) if line and not line.isspace()
    ]


def test_a_line_that_is_too_long_is_passed_over_and_told() -> None:
    splitter = LineSplitter()
    found = [line for _ in range(3) for line in splitter.feed(b"x" * MAX_LINE)]
    found += splitter.feed(b"x\nshort\r\n")
    assert [(line.number, line.data) for line in found] == [(1, None), (2, b"short")]
    assert found[-1].end == 3 * MAX_LINE + 2 + len("short\r\n")


@given(JSON)
@example(2**53)
@example([-(2**53)])
def test_the_fast_reading_refuses_what_the_strict_one_does(document: object) -> None:
    for text in (json.dumps(document), json.dumps(document, separators=(",", ":"), ensure_ascii=False)):
        try:
            data = text.encode()
        except UnicodeEncodeError:
            continue
        try:
            strict_json.check(data)
            refused = None
        except Validation as error:
            refused = error.fields[0].code
        if refused is None:
            strict(data)
        else:
            with pytest.raises(Refused) as told:
                strict(data)
            assert told.value.code == refused


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("Patient/p-1.x", "p-1.x"),
        ("https://fhir.example/r4/Patient/p1", "p1"),
        ("Patient/p1/_history/2", "p1"),
        ("urn:uuid:018f428e-34f6-4707-8009-5ad742f901e7", "018f428e-34f6-4707-8009-5ad742f901e7"),
        ("Practitioner/p1", None),
        ("Patient/", None),
        ("Patient/p1?x", None),
    ],
)
def test_a_reference_names_its_patient(reference: str, expected: str | None) -> None:
    data = json.dumps({"resourceType": "Observation", "id": "o", "subject": {"reference": reference}}).encode()
    found = FhirMapper(template("observations")).row(Line(1, len(data), data))
    if expected is None:
        assert found == LineError(1, len(data), "subject.reference", "unresolved-reference")
    else:
        assert isinstance(found, Row)
        assert found.reference == expected


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_no_cell_begins_as_a_formula_does(cell: str) -> None:
    assert harmless(cell) == "'" + cell
    assert harmless("x" + cell) == "x" + cell
