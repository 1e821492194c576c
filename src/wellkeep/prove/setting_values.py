"""Every setting and the values to try it at: made from the types of the settings, so that a new one is tried by itself.

Of a choice each member, of a number its bounds and what lies just outside, of a text the words by which things are
switched off and one that fits, of a list none and one of each kind of table with each setting of that. Values are as
TOML gives them.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
from msgspec import inspect

from wellkeep.base.settings import Settings

_OFF: Final = ("off", "none", "false", "disabled", "0", "")
_SAMPLES: Final = (
    "main",
    "US",
    "127.0.0.1:0",
    "secrets/root.key",
    "127.0.0.1",
    "/wk-probe",
    "wk-probe",
    "a/",
    "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000000",
    "arn:aws:iam::000000000000:role/probe",
    "probe@wk-probe.test",
    "en",
    "https://wk-probe.test",
    "probe+00000000+AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
)
"""One of these fits every text; the first that does stands where a table can't be without one."""
_SWITCHES: Final = ("enabled", "disabled", "off", "seal", "encryption", "audit", "wall", "mfa", "insecure")
"""Names that no table has: whoever writes one must be told."""
_FIXED: Final[dict[type[inspect.Type], tuple[Any, ...]]] = {
    inspect.BoolType: (False, True),
    inspect.NoneType: (),
    inspect.UUIDType: ("00000000-0000-0000-0000-000000000000", "01a20000-0000-7000-8000-000000000000"),
    inspect.DateType: ("0001-01-01", "9999-12-31"),
}
_SMALLEST, _LARGEST = -(2**31), 2**31
_NAMED = "name"


@dataclass(frozen=True, slots=True)
class Trial:
    """One value of one setting. `path` leads to it; `listed`: it is one table more of a list."""

    path: tuple[str, ...]
    value: Any
    listed: bool = False

    @property
    def name(self) -> str:
        """The setting's name, with nothing of the value."""
        return ".".join(self.path) + ("[]" if self.listed else "")


class NoValue(Exception):
    """A setting whose type no known value fits: one must be added to the samples before it can be tried."""


def trials(kind: type[msgspec.Struct] = Settings, prefix: tuple[str, ...] = ()) -> Iterator[Trial]:
    """Yield each value of each setting, and of each table a switch that it does not have. Raises NoValue."""
    for name in _SWITCHES:
        yield Trial((*prefix, name), value=False)
    described = inspect.type_info(kind)
    for field in described.fields if isinstance(described, inspect.StructType) else ():
        path = (*prefix, field.encode_name)
        if isinstance(field.type, inspect.StructType):
            yield from trials(field.type.cls, path)
            continue
        for value in _values(field.type):
            if isinstance(value, list) and value and isinstance(value[0], dict):
                yield Trial(path, value[0], listed=True)
            else:
                yield Trial(path, value)


def _values(kind: inspect.Type) -> list[Any]:
    if isinstance(kind, inspect.StructType):
        return list(_tables(kind))
    if isinstance(kind, inspect.VarTupleType):
        return [[], *([value] for value in _values(kind.item_type))]
    if isinstance(kind, inspect.UnionType):
        return list(itertools.chain.from_iterable(_values(one) for one in kind.types))
    return _single_values(kind)


def _single_values(kind: inspect.Type) -> list[Any]:
    if isinstance(kind, inspect.LiteralType):
        return list(kind.values)
    if isinstance(kind, inspect.IntType):
        low = _SMALLEST if kind.ge is None else kind.ge
        high = _LARGEST if kind.le is None else kind.le
        return [low, high, low - 1, high + 1, 0, -1]
    if isinstance(kind, inspect.StrType):
        return [*_OFF, _fitting(kind)]
    if type(kind) not in _FIXED:
        raise NoValue(type(kind).__name__)
    return list(_FIXED[type(kind)])


def _tables(kind: inspect.StructType) -> Iterator[dict[str, Any]]:
    """Yield a table with what it must have, and then one for each value of each of its settings."""
    least = {field.encode_name: _fitting(field.type) for field in kind.fields if field.required}
    if kind.tag_field is not None:
        least[kind.tag_field] = kind.tag
    yield least
    for field in kind.fields:
        yield from (least | {field.encode_name: value} for value in _values(field.type))


def _fitting(kind: inspect.Type) -> Any:
    """Return a value that the type takes."""
    candidates = _SAMPLES if isinstance(kind, inspect.StrType) else _values(kind)
    made = msgspec.defstruct("Made", [("value", _annotated(kind))])
    for candidate in candidates:
        try:
            msgspec.convert({"value": candidate}, made)
        except msgspec.ValidationError:
            continue
        return candidate
    raise NoValue(str(kind))


def _annotated(kind: inspect.Type) -> Any:
    """Return the type that `kind` describes, as far as one is needed to fit a value."""
    if isinstance(kind, inspect.StrType):
        meta = msgspec.Meta(pattern=kind.pattern, min_length=kind.min_length, max_length=kind.max_length)
        return Annotated[str, meta]
    if isinstance(kind, inspect.IntType):
        return Annotated[int, msgspec.Meta(ge=kind.ge, le=kind.le)]
    return Any


def put(raw: dict[str, Any], trial: Trial, *, number: int) -> None:
    """Put a trial into settings as TOML gives them; a table of a list gets a name of its own, by `number`."""
    table = raw
    for name in trial.path[:-1]:
        table = table.setdefault(name, {})
    last = trial.path[-1]
    if not trial.listed:
        table[last] = trial.value
        return
    value = dict(trial.value)
    if value.get(_NAMED) == _SAMPLES[0]:
        value[_NAMED] = f"wk_probe_{_letters(number)}"
    table[last] = [*table.get(last, []), value]


def _letters(number: int) -> str:
    return string.ascii_lowercase[number // 26 % 26] + string.ascii_lowercase[number % 26]
