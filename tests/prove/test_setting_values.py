"""Every setting is tried, also one that was only just added; one for which no value is known is not passed over."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import pytest

from architecture.test_docs import settings
from wellkeep.base.settings import Settings
from wellkeep.prove.setting_values import NoValue, Trial, put, trials


class Inner(msgspec.Struct):
    mode: Literal["on", "off"] = "on"
    few: Annotated[int, msgspec.Meta(ge=3, le=5)] = 4


class Outer(msgspec.Struct):
    inner: Inner = msgspec.field(default_factory=Inner)
    hidden: bool = False
    many: tuple[Inner, ...] = ()


class Needy(msgspec.Struct):
    code: Annotated[str, msgspec.Meta(pattern="^[0-9]{17}x$")]


class Odd(msgspec.Struct):
    share: float = 0.5


def tried(kind: type[msgspec.Struct]) -> dict[str, list[object]]:
    found: dict[str, list[object]] = {}
    for trial in trials(kind):
        found.setdefault(trial.name, []).append(trial.value)
    return found


def test_each_setting_of_the_reference_is_tried() -> None:
    found = tried(Settings)
    for name in settings(Settings):
        top, _, inner = name.partition("[]")
        if not inner:
            assert len(set(map(str, found[name]))) > 1 or name in {"version", "database.sslmode"}, name
            continue
        field = inner.removeprefix(".")
        tables = [value for value in found.get(f"{top}[]", found[top]) if isinstance(value, dict) and field in value]
        assert tables, name


def test_a_setting_that_is_added_is_tried_at_its_bounds() -> None:
    found = tried(Outer)
    assert found["inner.mode"] == ["off", "on"]
    assert {3, 5, 2, 6} <= set(found["inner.few"])
    assert found["hidden"] == [False, True]
    assert found["many"] == [[]]
    assert {"mode": "off"} in found["many[]"]
    assert found["inner.enabled"] == found["enabled"] == [False], "a switch that is not there"


def test_a_setting_for_which_no_value_is_known_is_told() -> None:
    for kind in (Needy, Odd):
        with pytest.raises(NoValue):
            list(trials(kind))


def test_tables_of_a_list_are_named_apart() -> None:
    raw: dict[str, object] = {}
    for number in range(3):
        put(raw, Trial(("a", "b"), {"name": "main", "x": 1}, listed=True), number=number)
    put(raw, Trial(("a", "c"), False), number=9)
    assert raw == {"a": {"b": [{"name": f"wk_probe_a{letter}", "x": 1} for letter in "abc"], "c": False}}
