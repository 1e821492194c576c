"""Every command is on record: it comes in by a door that enters it, or by the API with a key, or is listed here."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from wellkeep.cli.commands import app

DOORS = {"started", "with_runtime", "with_database", "once_more", "served"}
"""Of `cli.local`: each enters the command by its name, before and after."""
BY_THE_API = "wellkeep.cli.client"
"""Whose `connect` signs in with a key: then the server enters what is done, as that key's act."""
REVIEWED = {
    "demo": "makes a scratch deployment of its own, and the commands of that are on record there",
    "egress.list": "reads the settings file alone, which must be readable while no database is",
    "witness": "needs no deployment, so there is no root log",
    "witness.keygen": "needs no deployment, so there is no root log",
    "witness.status": "needs no deployment, so there is no root log",
}


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield each command that does something, by its dotted name, with the function that does it."""
    if isinstance(command, TyperGroup):
        if command.invoke_without_command and words:
            yield ".".join(words), command.callback
        for name, inner in command.commands.items():
            yield from commands(inner, (*words, name.replace("-", "_")))
    else:
        yield ".".join(words), command.callback


COMMANDS = dict(commands(typer.main.get_command(app)))


def called(function: ast.AST, module: ast.Module) -> set[str]:
    """Return the names that `function` uses, and those that functions of its module use which it names."""
    own = {node.name: node for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    found: set[str] = set()
    left = [function]
    while left:
        names = {node.id for node in ast.walk(left.pop()) if isinstance(node, ast.Name)} - found
        found |= names
        left += [own[name] for name in names if name in own]
    return found


def doors(function: Callable[..., Any]) -> set[str]:
    """Return by which doors the command of `function` comes in."""
    original = inspect.unwrap(function)
    module = ast.parse(inspect.getsource(sys.modules[original.__module__]))
    named = next(
        node for node in ast.walk(module) if isinstance(node, ast.FunctionDef) and node.name == original.__name__
    )
    imported = {
        alias.asname or alias.name: node.module
        for node in ast.walk(module)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    names = called(named, module)
    local = {name for name in names & DOORS if imported.get(name) == "wellkeep.cli.local"}
    return local | ({"api"} if "connect" in names and imported.get("connect") == BY_THE_API else set())


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_on_record(name: str) -> None:
    assert bool(doors(COMMANDS[name])) != (name in REVIEWED), (
        f"{name} leaves no entry: bring it in by one of {sorted(DOORS)} of cli.local, or have it reviewed"
    )


def test_what_was_reviewed_is_there() -> None:
    assert set(REVIEWED) <= set(COMMANDS)


@pytest.mark.parametrize("name", ["db.shell", "db.migrate", "db.rollback", "serve", "init", "prove", "findings"])
def test_the_test_sees_a_door(name: str) -> None:
    assert doors(COMMANDS[name]) & DOORS


def test_the_test_sees_that_there_is_none() -> None:
    assert not doors(test_what_was_reviewed_is_there)
    assert not doors(COMMANDS["egress.list"])
