"""Which command is which function, and nothing else.

Rule: a command's module is imported when the command is given, or its help is, and no other's: each brings along the
rooms that it works with.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from wellkeep.cli.console import out

_COMMANDS = {
    "demo": "demo:demo",
    "init": "deployment:init",
    "serve": "deployment:serve",
    "doctor": "deployment:doctor",
    "import": "imports:import_file",
    "export": "exports:export_file",
    "prove": "prove:prove_claims",
    "tenant": "tenants:app",
    "apikey": "api_keys:app",
    "collections": "collections:app",
    "subject": "subjects:app",
    "ledger": "commands:ledger",
    "witness": "witness:app",
    "hold": "holds:app",
    "findings": "findings:app",
    "egress": "egress:app",
    "db": "database:app",
}
_LEDGER = {
    "search": "ledger_search:search",
    "verify": "ledger_verify:verify",
    "quarantine": "ledger_quarantine:quarantine",
    "export": "ledger_export:export",
    "proof": "ledger_proof:proof",
    "checkpoint": "ledger_proof:checkpoint",
    "anchors": "anchors:anchors",
    "sinks": "sinks:sinks",
    "accept-restore": "ledger_restore:accept_restore",
    "prune": "ledger_prune:prune",
}
"""By what is typed: the module of this package and the name in it, of a function or of a group of commands."""

_MARKUP: Final = "markdown"


class _Commands(UserDict[str, Any]):
    """Commands by their names, each made of what its place holds when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        return _made(name, self.data[name])


class _Group(TyperGroup):
    """A group that knows its commands by their places."""

    places: Mapping[str, str]

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands(self.places)


class _Root(_Group):
    places = _COMMANDS


class _Ledger(_Group):
    places = _LEDGER


@cache
def _made(name: str, place: str) -> Any:
    """Return the command `name`, of the function or the group at `place`."""
    module, _, attribute = place.partition(":")
    found = getattr(import_module(f"wellkeep.cli.{module}"), attribute)
    around = typer.Typer(rich_markup_mode=_MARKUP)
    if isinstance(found, typer.Typer):
        around.add_typer(found, name=name)
    else:
        around.command(name=name)(found)
    return typer.main.get_group(around).commands[name]


ledger = typer.Typer(cls=_Ledger, no_args_is_help=True, help="The record of every access.")
app = typer.Typer(
    name="wellkeep",
    cls=_Root,
    no_args_is_help=True,
    rich_markup_mode=_MARKUP,
    pretty_exceptions_enable=False,
    help="The self-hosted security core for health software that proves itself.",
)


@app.callback(invoke_without_command=True)
def root(
    ask_version: Annotated[
        bool, typer.Option("--version", help="Say which version this is, and end", is_eager=True)
    ] = False,
) -> None:
    """Keep patients' data in a vault, record every access to it, and prove it."""
    if ask_version:
        out.print(version("wellkeep"))
        raise typer.Exit
