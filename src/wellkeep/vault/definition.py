"""What a collection holds: its fields, their types, how they are searched and who sees them.

Rules: names are identifiers, never data; every field has a number of its own from the tenant's counter, bound into each
ciphertext and never used again, so a rename moves nothing; at most 1,000 fields. A field with few values can't be
indexed: equal tags would be counted and read off the census (Naveed, Kamara and Wright, CCS 2015, reversed such columns
for most patients of 200 hospitals). A whole FHIR resource holds what stands in the fields beside it, whatever their
groups: who does not see each of these does not see it. What is refused is named by path and code, never by value.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import msgspec

from wellkeep.crypto.blind import IndexKind
from wellkeep.crypto.padding import ValueType
from wellkeep.vault.templates import RESOURCE_FIELD

MOST_FIELDS = 1_000
_NOTHING: frozenset[str] = frozenset()
EXTERNAL_ID = 0
"""The field number of a record's external id in every collection."""
IDENTIFIER = "identifier"
"""The group of external ids: who does not see it is shown none, and finds no record by one."""

FIELD_GROUPS = ("clinical", "demographic", "contact", "identifier", "financial", "administrative")
DEFAULT_GROUP = {"phi": "clinical", "pii": "demographic", "plain": "administrative"}
VALUE_TYPES = {kind.name.lower(): kind for kind in ValueType if kind is not ValueType.BYTES}
INDEX_KINDS = {kind.name.lower(): kind for kind in IndexKind}

LONGEST_STRING = 1_024
LONGEST = 1 << 20
"""Characters of a text, bytes of a json value: the body limit of one record."""


class SubjectMode(StrEnum):
    """Whose the records of a collection are."""

    SELF = "self"
    REQUIRED = "required"
    NONE = "none"


class Field(msgspec.Struct, frozen=True, kw_only=True, rename={"field_class": "class"}, omit_defaults=True):
    """One field of a collection.

    `id` is its number in the tenant. `index` is none, exact, unique or prefix; `normaliser` is versioned (`name/1`).
    `max_length` counts characters of a string or text and bytes of a json value. `building` says that the index was
    added to a field that had values, and that not all of these are in it yet: it is written, and not searched.
    """

    id: int
    name: str
    type: str
    field_class: str
    group: str
    max_length: int
    index: str = "none"
    normaliser: str | None = None
    required: bool = False
    enum: tuple[str, ...] | None = None
    building: bool = False

    @property
    def sealed(self) -> bool:
        """Whether its values are stored as envelopes."""
        return self.field_class != "plain"

    @property
    def whole(self) -> bool:
        """Whether it holds a whole resource, of which other fields are copies."""
        return self.name == RESOURCE_FIELD and self.type == "json"


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """A collection as it is stored: who its records belong to, and its fields in the order they were declared."""

    subject: SubjectMode
    fields: tuple[Field, ...]


class View(NamedTuple):
    """What of a collection a principal sees: the fields by number, and the names of those that are withheld."""

    fields: dict[int, Field]
    withheld: tuple[str, ...]


class Collection:
    """A collection of one tenant, ready for use: its definition with the look-ups that each act needs."""

    __slots__ = (
        "_views",
        "by_id",
        "by_name",
        "created_at",
        "data_epoch",
        "definition",
        "id",
        "index_epochs",
        "name",
        "required",
        "subject",
        "updated_at",
        "version",
    )

    def __init__(
        self,
        *,
        number: int,
        name: str,
        version: int,
        definition: Definition,
        created_at: datetime,
        updated_at: datetime,
        index_epochs: tuple[int, ...],
        data_epoch: int,
    ) -> None:
        """Hold one row of `vault.collection`; the definition was checked when it was written.

        `index_epochs` are the epochs of the index key that a write tags under, the newest first, `data_epoch` the one
        of the DATA key that it seals under.
        """
        self.id = number
        self.name = name
        self.version = version
        self.definition = definition
        self.created_at = created_at
        self.updated_at = updated_at
        self.index_epochs = index_epochs
        self.data_epoch = data_epoch
        self.subject = definition.subject
        self.by_name = {field.name: field for field in definition.fields}
        self.by_id = {field.id: field for field in definition.fields}
        self.required = tuple(field.name for field in definition.fields if field.required)
        self._views: dict[tuple[frozenset[str], frozenset[str]], View] = {}

    def view(self, groups: frozenset[str], hidden: frozenset[str] = _NOTHING) -> View:
        """Return what a principal with these field groups sees, but for fields `hidden` as `group:collection.field`.

        A whole resource is seen by who sees all the other fields as well.
        """
        ready = self._views.get((groups, hidden))
        if ready is None:
            fields = self.definition.fields
            seen = {
                field.id: field
                for field in fields
                if field.group in groups and f"{field.group}:{self.name}.{field.name}" not in hidden
            }
            if any(field.id not in seen and not field.whole for field in fields):
                seen = {number: field for number, field in seen.items() if not field.whole}
            withheld = tuple(field.name for field in fields if field.id not in seen)
            ready = self._views[groups, hidden] = View(seen, withheld)
        return ready
