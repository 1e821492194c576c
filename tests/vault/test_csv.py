"""CSV goes out so that no spreadsheet runs it, and comes back as it was."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellkeep.base.ids import uuid7
from wellkeep.vault.csv_source import CsvMapper, CsvSplitter, harmless, meant
from wellkeep.vault.definition import Field
from wellkeep.vault.exports_format import Opened, write
from wellkeep.vault.imports_line import Decoded, Row
from wellkeep.vault.ndjson_source import LineSplitter
from wellkeep.vault.values import Value

KINDS = {"name": "string", "note": "text", "count": "integer", "weight": "decimal", "active": "boolean"}
FIELDS = [
    Field(id=number, name=name, type=kind, field_class="phi", group="clinical", max_length=1000)
    for number, (name, kind) in enumerate(KINDS.items(), start=1)
]
TEXTS = st.text(st.sampled_from("'=+-@\t\r\n\",; aé\u202e𐍈") | st.characters(exclude_characters="\0", codec="utf-8"))
VALUES = {
    "name": TEXTS,
    "note": TEXTS,
    "count": st.integers(-(2**53) + 1, 2**53 - 1),
    "weight": st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-999, max_value=999).map(str),
    "active": st.booleans(),
}
RECORDS = st.lists(
    st.builds(
        Opened,
        id=st.builds(uuid7),
        external_id=TEXTS.filter(bool),
        subject=st.none() | st.uuids(version=4),
        revision=st.just(1),
        fields=st.fixed_dictionaries({}, optional=VALUES),
    ),
    min_size=1,
    max_size=4,
)


def read_back(exported: bytes) -> list[Decoded]:
    """Return the rows that an import makes of `exported`."""
    lines, splitter, mapper = LineSplitter(whole=True), CsvSplitter(), CsvMapper(KINDS, mapping={})
    found = [splitter.record(line) for line in (*lines.feed(exported), *lines.finish())]
    header, *records = [record for record in found if record is not None]
    mapper.header(header)
    assert splitter.finish(0) is None
    return [mapper.row(record) for record in records]


def kept(record: Opened) -> tuple[str | None, UUID | None, dict[str, Value]]:
    """Return what CSV can hold of `record`: an empty text is no value."""
    return record.external_id, record.subject, {name: value for name, value in record.fields.items() if value != ""}


@given(RECORDS)
def test_what_is_exported_is_imported_as_it_was(records: list[Opened]) -> None:
    rows = read_back(write("csv", records, fields=FIELDS, withheld=[], first=True))
    assert all(isinstance(row, Row) for row in rows)
    assert [(row.external_id, row.subject, row.fields) for row in rows if isinstance(row, Row)] == [
        kept(record) for record in records
    ]


@given(TEXTS)
def test_one_apostrophe_goes_on_and_the_same_comes_off(text: str) -> None:
    out = harmless(text)
    assert not out.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert meant(out) == text


@pytest.mark.parametrize("cell", ["'", "''", "'a", "a'=", "O'Brien", "", "'tis -", "' =1"])
def test_an_apostrophe_before_anything_else_is_the_patients_own(cell: str) -> None:
    assert harmless(cell) == cell
    assert meant(cell) == cell


def test_numbers_are_written_as_they_are() -> None:
    record = Opened(uuid7(), "x", None, 1, {"count": -5, "weight": "-1.50", "name": "-5"})
    exported = write("csv", [record], fields=FIELDS, withheld=[], first=False)
    assert exported == b"x,,'-5,,-5,-1.50,\r\n"
