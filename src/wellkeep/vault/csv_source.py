"""CSV into rows (RFC 4180), and rows into CSV that no spreadsheet runs.

Rules: the first record names the columns; each becomes a field by its own name or by the map, and a column that
becomes nothing stops the import before a line is taken; quoted newlines belong to their record; a record that is
malformed or too long is an error of its own lines. On the way out a text that a spreadsheet would run (it begins with
= + - @, of either width, a tab or a carriage return, after any apostrophes) is preceded by an apostrophe (OWASP ASVS
5.0, 1.2.10); on the way in exactly one is taken off before those, so that what was exported comes back as it was.
Numbers are left as they are. The threat there is a patient's name that is a formula in the export that an officer
opens.

Pure: lines in, rows out. Encoding: UTF-8, with or without a byte order mark.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

import msgspec

from wellkeep.base.errors import FieldProblem, Validation
from wellkeep.base.ids import parse_uuid
from wellkeep.vault.fhir import Refused
from wellkeep.vault.imports_line import Decoded, LineError, Row, Value
from wellkeep.vault.ndjson_source import MAX_LINE, Line

EXTERNAL_ID = "@external_id"
PATIENT = "@patient"
SUBJECT = "@subject"
IGNORED = "@ignore"
"""What a column can be mapped to beside a field."""

_TARGETS = frozenset({EXTERNAL_ID, PATIENT, SUBJECT, IGNORED})
_DEFAULTS = {"id": EXTERNAL_ID, "external_id": EXTERNAL_ID, "patient": PATIENT, "subject": SUBJECT}
_TRUTH = {"true": True, "false": False}
_LONGEST_ID = 512
_is_run_by_spreadsheets = re.compile("'*[=+\\-@\t\r\uff1d\uff0b\uff0d\uff20]").match
"""The last four are the full-width = + - @."""

_encode_sorted = msgspec.json.Encoder(order="sorted").encode


class CsvSplitter:
    """Gathers the lines of a source into records: a quoted field may hold newlines."""

    def __init__(self) -> None:
        """Begin before the header."""
        self._held: list[bytes] = []
        self._size = 0
        self._first = 0
        self._quotes = 0

    def record(self, line: Line) -> Line | None:
        """Take `line`; return the record that it completes (numbered by its first line, None data: too long)."""
        if not self._held:
            self._first = line.number
        if line.data is None:
            return self._close(line, too_long=True)
        if not self._held and not line.data.strip():
            return None
        self._held.append(line.data)
        self._size += len(line.data) + 1
        self._quotes += line.data.count(b'"')
        if self._size > MAX_LINE:
            return self._close(line, too_long=True)
        return None if self._quotes % 2 else self._close(line, too_long=False)

    def finish(self, end: int) -> Line | None:
        """Return a record whose quote was never closed, where there is one."""
        return self._close(Line(self._first, end, b""), too_long=True) if self._held else None

    def _close(self, line: Line, *, too_long: bool) -> Line:
        data = None if too_long else b"\n".join(self._held)
        number = self._first
        self._held, self._size, self._quotes = [], 0, 0
        return Line(number, line.end, data)


class CsvMapper:
    """Maps records to rows of one collection; the first record it is given must be the header."""

    def __init__(self, kinds: Mapping[str, str], *, mapping: Mapping[str, str]) -> None:
        """Take the type of each declared field by its name, and column → field or `@…` where they differ."""
        self._kinds = dict(kinds)
        self._mapping = dict(mapping)
        self._columns: list[str] | None = None
        unknown = [target for target in mapping.values() if target not in _TARGETS and target not in self._kinds]
        if unknown:
            raise refused_columns("unknown-field")

    def header(self, record: Line) -> None:
        """Read the header; raises `Validation` where a column has no field, or none gives an external id."""
        cells = self._cells((record.data or b"").removeprefix(b"\xef\xbb\xbf")) if record.data else None
        if cells is None:
            raise refused_columns("malformed-csv")
        columns = [self._target(cell.strip()) for cell in cells]
        used = [column for column in columns if column != IGNORED]
        if len(set(used)) != len(used):
            raise refused_columns("duplicate-key")
        if EXTERNAL_ID not in columns:
            raise refused_columns("no-external-id")
        self._columns = columns

    def row(self, record: Line) -> Decoded:
        """Return the row of `record`, or what is wrong with it."""
        if record.data is None:
            return LineError(record.number, record.end, "", "too-long")
        try:
            return self._row(record.number, record.end, record.data)
        except Refused as refused:
            return LineError(record.number, record.end, refused.path, refused.code)

    def _target(self, column: str) -> str:
        target = self._mapping.get(column)
        if target is None:
            target = column if column in self._kinds else _DEFAULTS.get(column)
        if target is None:
            raise refused_columns("unknown-column")
        return target

    def _row(self, number: int, end: int, data: bytes) -> Row:
        cells = self._cells(data)
        columns = self._columns
        if cells is None or columns is None or len(cells) != len(columns):
            raise Refused("", "malformed-csv")
        fields: dict[str, Value] = {}
        places: dict[str, str] = {}
        for column, written in zip(columns, cells, strict=True):
            cell = meant(written)
            if column in _TARGETS:
                places[column] = cell
            elif cell:
                fields[column] = _typed(column, self._kinds[column], cell)
        external = places[EXTERNAL_ID]
        if not external or len(external) > _LONGEST_ID:
            raise Refused("external_id", "too-long" if external else "required")
        subject = _subject(places.get(SUBJECT))
        place = "patient" if subject is None else "subject"
        patient = places.get(PATIENT) or None
        return Row(number, end, external, patient, subject, fields, _encode_sorted(fields), place)

    @staticmethod
    def _cells(data: bytes) -> list[str] | None:
        try:
            records = list(csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True))
        except (csv.Error, UnicodeDecodeError):
            return None
        if len(records) != 1 or "\0" in "".join(records[0]):
            return None
        return records[0]


def _subject(cell: str | None) -> UUID | None:
    if not cell:
        return None
    found = parse_uuid(cell)
    if found is None:
        raise Refused("subject", "wrong-type")
    return found


def _typed(column: str, kind: str, cell: str) -> Value:
    if kind == "integer":
        if not cell.removeprefix("-").isdecimal() or not cell.isascii():
            raise Refused(f"fields.{column}", "wrong-type")
        return int(cell) if len(cell) <= len("-9007199254740991") else _refuse_number(column)
    if kind == "boolean":
        if cell.lower() not in _TRUTH:
            raise Refused(f"fields.{column}", "wrong-type")
        return _TRUTH[cell.lower()]
    return msgspec.Raw(cell.encode()) if kind == "json" else cell


def _refuse_number(column: str) -> int:
    raise Refused(f"fields.{column}", "too-large")


def refused_columns(code: str) -> Validation:
    """Return the error that stops a CSV import before its first row."""
    return Validation(
        "The columns do not fit the collection; see the map of columns", fields=(FieldProblem("/", code),)
    )


def write_rows(header: Sequence[str] | None, rows: Iterable[Sequence[str]]) -> bytes:
    """Return CSV of `rows` (with `header` first where given), CRLF as RFC 4180 has it; texts are `harmless` already."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    if header is not None:
        writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode("utf-8")


def harmless(cell: str) -> str:
    """Return `cell` so that no spreadsheet takes it for a formula (ASVS 5.0, 1.2.10)."""
    return "'" + cell if _is_run_by_spreadsheets(cell) else cell


def meant(cell: str) -> str:
    """Return what `harmless` was given to make `cell`; what it did not make is returned as it is."""
    return cell[1:] if cell.startswith("'") and _is_run_by_spreadsheets(cell) else cell
