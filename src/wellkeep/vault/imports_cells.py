"""A line's values, ready to be sealed and compared: payload, what the content MAC covers, blind tags.

Rules: neighbours share many values (an encounter, a day, a code), so the last ones are kept per field and encoded and
tagged once; what is kept lives as long as one run and is at most 1,000 values a field, short ones alone. A value that
the decoder has read strictly already is not read a second time.
"""

from __future__ import annotations

from typing import NamedTuple

from wellkeep.base.errors import Validation
from wellkeep.crypto.envelope import FieldIn
from wellkeep.keys.tenant import TenantKeys
from wellkeep.vault.definition import Collection, Field
from wellkeep.vault.imports_line import Row, Value
from wellkeep.vault.sealing import mac_part
from wellkeep.vault.tags import index_tags
from wellkeep.vault.values import ValueRefused, encode, kind_of

_VALUES_KEPT = 1_000
_LONGEST_KEPT = 128


class CellRefused(Exception):
    """A value that can't be stored: the path and the code."""

    def __init__(self, path: str, code: str) -> None:
        """Hold a path of declared names and a code of ours."""
        super().__init__(code)
        self.path = path
        self.code = code


class Cell(NamedTuple):
    """One value of a row; cells sort by the number of their field, and a row has one a field."""

    field: int
    part: bytes
    item: FieldIn
    sealed: bool
    unique: tuple[bytes, ...]
    ordinary: tuple[bytes, ...]


class Cells:
    """Makes the cells of one run's rows."""

    def __init__(self, *, keys: TenantKeys, collection: Collection, region: str) -> None:
        """Encode and tag for `collection`; numbers without a country code are read in `region`."""
        self._keys = keys
        self._collection = collection
        self._region = region
        self._columns = {name: (field, _Kept()) for name, field in collection.by_name.items()}

    def of(self, row: Row) -> list[Cell]:
        """Return the cells of `row` in the order of their fields; raises CellRefused for the first that can't be."""
        fields = row.fields
        for name in self._collection.required:
            if fields.get(name) is None:
                raise CellRefused(f"fields.{name}", "required")
        cells = []
        for name, value in fields.items():
            column = self._columns.get(name)
            if column is None:
                raise CellRefused("fields.*", "unknown-field")
            if value is not None:
                declared, kept = column
                cell = kept.get(value) if type(value) is str else None
                cells.append(cell or self._made(declared, value, row, kept))
        cells.sort()
        return cells

    def _made(self, declared: Field, value: Value, row: Row, kept: _Kept) -> Cell:
        try:
            payload = _payload(declared, value, row)
        except ValueRefused as refused:
            raise CellRefused(f"fields.{declared.name}", refused.code) from None
        unique, ordinary = self._tags(declared, payload)
        item = (declared.id, kind_of(declared), payload, declared.enum is not None)
        cell = Cell(declared.id, mac_part(declared.id, payload), item, declared.sealed, unique, ordinary)
        if type(value) is str and len(payload) <= _LONGEST_KEPT:
            if len(kept) >= _VALUES_KEPT:
                kept.clear()
            kept[value] = cell
        return cell

    def _tags(self, declared: Field, payload: bytes) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        if declared.index == "none":
            return (), ()
        collection, payloads = self._collection.id, ((declared, payload),)
        try:
            found = index_tags(self._keys, collection=collection, payloads=payloads, region=self._region)
        except Validation as refused:
            raise CellRefused("fields", refused.fields[0].code) from None
        return tuple(tag.tag for tag in found if tag.unique), tuple(tag.tag for tag in found if not tag.unique)


class _Kept(dict[str, Cell]):
    """The values of one field that were seen last, and their cells."""


def _payload(declared: Field, value: Value, row: Row) -> bytes:
    """Return the payload of `value`; raises ValueRefused.

    The decoder has read a resource strictly already, and a second reading would cost a tenth of the import.
    """
    if value is not row.checked or declared.type != "json":
        return encode(declared, value)
    if len(row.payload) > declared.max_length:
        raise ValueRefused("too-long")
    return row.payload
