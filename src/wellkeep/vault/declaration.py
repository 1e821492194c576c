"""From what a caller declares to checked fields: every rule of a collection's definition, in one place.

Pure. All problems of a declaration are reported together, by JSON pointer and code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from wellkeep.base.errors import FieldProblem, Validation
from wellkeep.crypto.normalise import NORMALISERS
from wellkeep.vault.definition import (
    DEFAULT_GROUP,
    FIELD_GROUPS,
    INDEX_KINDS,
    LONGEST,
    LONGEST_STRING,
    MOST_FIELDS,
    VALUE_TYPES,
    Field,
    SubjectMode,
)
from wellkeep.vault.few_values import stands_for_few_values

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")

_TEXTUAL = frozenset({"string", "text"})
_INDEXABLE = frozenset({"string", "text", "integer", "date"})
_DEFAULT_NORMALISER = {"string": "text", "text": "text", "integer": "identifier", "date": "date"}
_PREFIX_NORMALISERS = frozenset({"text", "name"})
_VERSIONS = {full.split("/", maxsplit=1)[0]: full for full in sorted(NORMALISERS)}
_MOST_ENUM = 1_000
_LONGEST_ENUM = 256
_FEWEST_CHARACTERS = 3
"""A field of one or two characters has too few values to be indexed."""


class FieldSpec(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, rename={"field_class": "class"}):
    """One field as a caller declares it."""

    name: str
    type: str
    field_class: str
    index: str = "none"
    normaliser: str | None = None
    required: bool = False
    enum: tuple[str, ...] | None = None
    max_length: int | None = None
    group: str | None = None


class CollectionSpec(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A collection as a caller declares it."""

    name: str
    subject: str
    fields: tuple[FieldSpec, ...]


class IndexSpec(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An index that is added to a field."""

    index: str
    normaliser: str | None = None


class CollectionChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, rename={"field_class": "class"}):
    """What may change about a collection: more fields, new names, longer values, and what new records must have.

    By the names that fields had: `class` seals a plain field (phi or pii; never back), `index` adds an index to one
    that has none. What is stored is brought up to both in the background.
    """

    add: tuple[FieldSpec, ...] = ()
    rename: dict[str, str] = {}
    max_length: dict[str, int] = {}
    required: dict[str, bool] = {}
    field_class: dict[str, str] = {}
    index: dict[str, IndexSpec] = {}

    @property
    def reseals(self) -> bool:
        """Whether what is stored has to be brought up to it."""
        return bool(self.field_class or self.index)


class Problems:
    """Collects what is wrong, and refuses all of it at once."""

    def __init__(self) -> None:
        """Begin with nothing wrong."""
        self._found: list[FieldProblem] = []

    def add(self, path: str, code: str) -> None:
        """Note one place."""
        self._found.append(FieldProblem(path, code))

    def __bool__(self) -> bool:
        """Whether anything is wrong."""
        return bool(self._found)

    def refuse(self) -> None:
        """Raise Validation where anything is wrong."""
        if self._found:
            raise Validation(fields=tuple(self._found))


def check_collection(spec: CollectionSpec) -> SubjectMode:
    """Check a new collection as a whole; raises Validation with every problem."""
    problems = Problems()
    if NAME.fullmatch(spec.name) is None:
        problems.add("/name", "malformed")
    if spec.subject not in tuple(SubjectMode):
        problems.add("/subject", "not-allowed")
    if not spec.fields:
        problems.add("/fields", "required")
    _check_fields(spec.fields, at="/fields", taken=(), problems=problems)
    problems.refuse()
    return SubjectMode(spec.subject)


def numbered(specs: Sequence[FieldSpec], *, first: int) -> tuple[Field, ...]:
    """Return checked fields with the numbers `first`, `first` + 1 …."""
    return tuple(_field(spec, first + place) for place, spec in enumerate(specs))


def _field(spec: FieldSpec, number: int) -> Field:
    longest = {"string": LONGEST_STRING, "text": LONGEST, "json": LONGEST}.get(spec.type, 64)
    normaliser = None
    if spec.index != "none":
        normaliser = _VERSIONS[spec.normaliser or _DEFAULT_NORMALISER[spec.type]]
    return Field(
        id=number,
        name=spec.name,
        type=spec.type,
        field_class=spec.field_class,
        group=spec.group or DEFAULT_GROUP[spec.field_class],
        max_length=spec.max_length or longest,
        index=spec.index,
        normaliser=normaliser,
        required=spec.required,
        enum=spec.enum,
    )


def changed(fields: Sequence[Field], change: CollectionChange) -> tuple[Field, ...]:
    """Return the existing `fields` after `change`, without the added ones; raises Validation with every problem."""
    problems = Problems()
    names = {field.name for field in fields}
    parts = (
        ("rename", change.rename),
        ("max_length", change.max_length),
        ("required", change.required),
        ("class", change.field_class),
        ("index", change.index),
    )
    for part, keys in parts:
        _check_known(part, keys, names, problems)
    for old, new in change.rename.items():
        if NAME.fullmatch(new) is None:
            problems.add(_at("/rename", old, names), "malformed")
    for field in fields:
        if field.whole and field.name in change.rename:  # by its name it is known for what it is
            problems.add(f"/rename/{field.name}", "not-allowed")
    kept = {change.rename.get(field.name, field.name) for field in fields}
    if len(kept) != len(fields):
        problems.add("/rename", "duplicate")
    for field in fields:
        longer = change.max_length.get(field.name, field.max_length)
        if not field.max_length <= longer <= LONGEST:
            problems.add(f"/max_length/{field.name}", "out-of-range")
        _check_sealing(field, change, problems)
        _check_added_index(field, change, problems)
    if len(fields) + len(change.add) > MOST_FIELDS:
        problems.add("/add", "too-long")
    _check_fields(change.add, at="/add", taken=kept, problems=problems)
    problems.refuse()
    return tuple(_changed(field, change) for field in fields)


def _changed(field: Field, change: CollectionChange) -> Field:
    new = msgspec.structs.replace(
        field,
        name=change.rename.get(field.name, field.name),
        max_length=change.max_length.get(field.name, field.max_length),
        required=change.required.get(field.name, field.required),
    )
    sealed = change.field_class.get(field.name)
    if sealed is not None:
        # Who administers sees plain fields; a sealed one belongs to those who see its kind.
        plain_group = field.group == DEFAULT_GROUP[field.field_class]
        group = DEFAULT_GROUP[sealed] if plain_group else field.group
        new = msgspec.structs.replace(new, field_class=sealed, group=group)
    added = change.index.get(field.name)
    if added is not None:
        normaliser = _VERSIONS[added.normaliser or _DEFAULT_NORMALISER[field.type]]
        new = msgspec.structs.replace(new, index=added.index, normaliser=normaliser, building=True)
    return new


def _check_sealing(field: Field, change: CollectionChange, problems: Problems) -> None:
    """Refuse any change of class but that of a plain field to a sealed one."""
    wanted = change.field_class.get(field.name)
    if wanted is not None and (field.sealed or wanted not in ("phi", "pii")):
        problems.add(f"/class/{field.name}", "not-allowed")


def _check_added_index(field: Field, change: CollectionChange, problems: Problems) -> None:
    """Hold an added index to the rules of a declaration; one is added where there is none, or that one has failed."""
    added = change.index.get(field.name)
    if added is None:
        return
    path = f"/index/{field.name}"
    spec = FieldSpec(
        name=field.name,
        type=field.type,
        field_class=field.field_class,
        index=added.index,
        normaliser=added.normaliser,
        enum=field.enum,
        max_length=field.max_length if field.type in _TEXTUAL else None,
    )
    again = field.building and field.index == added.index
    known = added.index in INDEX_KINDS and (added.normaliser is None or added.normaliser in _VERSIONS)
    if not known or (field.index != "none" and not again):
        problems.add(path, "not-allowed")
    else:
        _check_index(spec, path, problems)


def _check_known(part: str, keys: Mapping[str, object], names: set[str], problems: Problems) -> None:
    for key in keys:
        if key not in names:
            problems.add(f"/{part}/*", "unknown-field")


def _at(path: str, name: str, names: set[str]) -> str:
    return f"{path}/{name if name in names else '*'}"


def _check_fields(specs: Sequence[FieldSpec], *, at: str, taken: Iterable[str], problems: Problems) -> None:
    if len(specs) > MOST_FIELDS:
        problems.add(at, "too-long")
        return
    seen = set(taken)
    for place, spec in enumerate(specs):
        path = f"{at}/{place}"
        if NAME.fullmatch(spec.name) is None:
            problems.add(f"{path}/name", "malformed")
        elif spec.name in seen:
            problems.add(f"{path}/name", "duplicate")
        seen.add(spec.name)
        _check_words(spec, path, problems)
        _check_bounds(spec, path, problems)
        _check_index(spec, path, problems)


def _check_words(spec: FieldSpec, path: str, problems: Problems) -> None:
    if spec.type not in VALUE_TYPES:
        problems.add(f"{path}/type", "not-allowed")
    if spec.field_class not in DEFAULT_GROUP:
        problems.add(f"{path}/class", "not-allowed")
    if spec.index != "none" and spec.index not in INDEX_KINDS:
        problems.add(f"{path}/index", "not-allowed")
    if spec.group is not None and spec.group not in FIELD_GROUPS:
        problems.add(f"{path}/group", "not-allowed")
    if spec.normaliser is not None and spec.normaliser not in _VERSIONS:
        problems.add(f"{path}/normaliser", "not-allowed")


def _check_bounds(spec: FieldSpec, path: str, problems: Problems) -> None:
    if spec.max_length is not None:
        if spec.type not in {"string", "text", "json"}:
            problems.add(f"{path}/max_length", "not-allowed")
        elif not 1 <= spec.max_length <= LONGEST:
            problems.add(f"{path}/max_length", "out-of-range")
    if spec.enum is None:
        return
    if spec.type != "string":
        problems.add(f"{path}/enum", "not-allowed")
    if not 1 <= len(spec.enum) <= _MOST_ENUM or len(set(spec.enum)) != len(spec.enum):
        problems.add(f"{path}/enum", "out-of-range")
    for place, member in enumerate(spec.enum):
        if not 1 <= len(member) <= _LONGEST_ENUM or not member.isprintable():
            problems.add(f"{path}/enum/{place}", "malformed")


def _check_index(spec: FieldSpec, path: str, problems: Problems) -> None:
    if spec.index == "none":
        if spec.normaliser is not None:
            problems.add(f"{path}/normaliser", "not-allowed")
        return
    if spec.type not in _INDEXABLE:
        problems.add(f"{path}/index", "few-values" if spec.type == "boolean" else "not-indexable")
        return
    short = spec.type in _TEXTUAL and spec.max_length is not None and spec.max_length < _FEWEST_CHARACTERS
    if spec.enum is not None or short or stands_for_few_values(spec.name):
        problems.add(f"{path}/index", "few-values")
    normaliser = spec.normaliser or _DEFAULT_NORMALISER[spec.type]
    if spec.index == "prefix" and (spec.type not in _TEXTUAL or normaliser not in _PREFIX_NORMALISERS):
        problems.add(f"{path}/index", "not-allowed")
    if spec.type == "date" and normaliser != "date":
        problems.add(f"{path}/normaliser", "not-allowed")
