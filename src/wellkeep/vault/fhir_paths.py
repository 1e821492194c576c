"""Paths into a FHIR resource, as templates write them.

Rules: a path is data in a reviewed file, never code; a step's name is one of FHIR R4's, so an error may show it (the
value it holds, never). The threat is a mapper that executes what a template says, or that answers a resource of another
shape with a guess: whatever stands where a path expects something else is a wrong type of that path.

Grammar: steps joined by `.`; a step that is a list says which element is meant: `[0]` by position, `[*]` all of them
(their values are joined by one space), `[system=http://…]` the first whose `system` is that; `[type/coding/*/code=MR]`
looks deeper, `*` standing for "any element of the list".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from wellkeep.base.errors import Misconfigured

_STEP = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9]*)(?:\[(?P<pick>[^\]]+)\])?(?:\.|$)")
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9]*|\*")

Leaf = str | int | float | bool | None
"""What a path may end in: FHIR's primitive types as JSON has them."""
Reader = Callable[[object], Leaf]
"""What a path is compiled to."""


class WrongType(Exception):
    """Something on the way of a path has another JSON type than FHIR gives it."""


class Step(NamedTuple):
    """One name on the way, and which element is meant where it names a list."""

    name: str
    listed: bool = False
    position: int | None = None
    where: tuple[str, ...] = ()
    equals: str = ""


class Path(NamedTuple):
    """A whole path: its steps, and its names alone as an error shows them."""

    steps: tuple[Step, ...]
    shown: str


def parse(text: str) -> Path:
    """Parse one path; raises `Misconfigured` where it does not fit the grammar."""
    steps: list[Step] = []
    at = 0
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None:
            raise _ungrammatical(text)
        steps.append(_step(text, found["name"], found["pick"]))
        at = found.end()
    if not steps or text.endswith("."):
        raise _ungrammatical(text)
    return Path(tuple(steps), ".".join(step.name for step in steps))


def _step(text: str, name: str, pick: str | None) -> Step:
    if pick is None:
        return Step(name)
    if pick == "*":
        return Step(name, listed=True)
    if pick.isdigit():
        return Step(name, listed=True, position=int(pick))
    keys, equals, value = pick.partition("=")
    where = tuple(keys.split("/"))
    if not equals or not value or not all(_KEY.fullmatch(key) for key in where) or where[0] == "*" or where[-1] == "*":
        raise _ungrammatical(text)
    return Step(name, listed=True, where=where, equals=value)


def _ungrammatical(text: str) -> Misconfigured:
    return Misconfigured(f"the FHIR path {text!r} of a template does not fit the grammar")


def value(resource: object, path: Path) -> Leaf:
    """Return what stands at `path` in a decoded `resource`, or None; raises `WrongType` where its shape differs."""
    return reader(path)(resource)


def reader(path: Path) -> Reader:
    """Return `value` for one path, compiled: a closure a step, made once and called once a line."""
    return _reader(path.steps)


def _reader(steps: tuple[Step, ...]) -> Reader:
    step, follow = steps[0], _reader(steps[1:]) if len(steps) > 1 else _leaf
    if not step.listed:
        return _plain(step.name, follow)
    if step.position is None and not step.where:
        return _joined(step.name, follow)
    return _picked(step, follow)


def _leaf(node: object) -> Leaf:
    if isinstance(node, str):
        return node
    if isinstance(node, int | float):
        return node
    raise WrongType


def _plain(name: str, follow: Reader) -> Reader:
    def read(node: object) -> Leaf:
        if type(node) is not dict:
            raise WrongType
        found = node.get(name)
        return None if found is None else follow(found)

    return read


def _picked(step: Step, follow: Reader) -> Reader:
    name = step.name

    def read(node: object) -> Leaf:
        elements = _elements(node, name)
        found = None if elements is None else _pick(elements, step)
        return None if found is None else follow(found)

    return read


def _joined(name: str, follow: Reader) -> Reader:
    def read(node: object) -> Leaf:
        elements = _elements(node, name) or ()
        found = [follow(element) for element in elements if element is not None]
        texts = [str(item) for item in found if item is not None]
        return " ".join(texts) if texts else None

    return read


def _elements(node: object, name: str) -> list[object] | None:
    if type(node) is not dict:
        raise WrongType
    found = node.get(name)
    if found is not None and type(found) is not list:
        raise WrongType
    return found


def _pick(elements: list[object], step: Step) -> object:
    if step.position is not None:
        return elements[step.position] if step.position < len(elements) else None
    for element in elements:
        if _holds(element, step.where, step.equals):
            return element
    return None


def _holds(node: object, where: tuple[str, ...], equals: str) -> bool:
    for place, key in enumerate(where):
        if key == "*":
            return isinstance(node, list) and any(_holds(element, where[place + 1 :], equals) for element in node)
        if not isinstance(node, dict):
            return False
        node = node.get(key)
    return bool(node == equals)
