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
    "setup": "setup:setup",
    "serve": "deployment:serve",
    "doctor": "deployment:doctor",
    "import": "imports:import_file",
    "export": "exports:export_file",
    "prove": "prove:prove_claims",
    "tenant": "tenants:app",
    "apikey": "api_keys:app",
    "access": "commands:access",
    "user": "users:app",
    "provider": "providers:app",
    "collections": "collections:app",
    "subject": "subjects:app",
    "ledger": "commands:ledger",
    "witness": "witness:app",
    "hold": "holds:app",
    "keys": "commands:keys",
    "approvals": "approvals:app",
    "review": "reviews:app",
    "impersonation": "impersonation:app",
    "glass": "glass:app",
    "index": "index:app",
    "findings": "findings:app",
    "egress": "commands:egress",
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
_KEYS = {
    "list": "keys:list_keys",
    "status": "keys:status",
    "rotate": "keys:rotate",
    "destroy": "keys:destroy",
    "recover": "keys_recovery:recover",
}
_ACCESS = {
    "explain": "access:explain",
    "matrix": "access_roles:matrix",
    "roles": "access_roles:roles",
    "role-set": "access_roles:role_set",
    "role-delete": "access_roles:role_delete",
    "rules": "access:rules",
    "team": "access:team",
    "team-add": "access:team_add",
    "team-remove": "access:team_remove",
}
_EGRESS = {
    "list": "egress:list_places",
    "test": "egress:examine",
    "propose": "egress_proposals:propose",
    "approve": "egress_proposals:approve",
    "withdraw": "egress_proposals:withdraw",
    "proposals": "egress_proposals:proposals",
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


class _Keys(_Group):
    places = _KEYS


class _Access(_Group):
    places = _ACCESS


class _Egress(_Group):
    places = _EGRESS


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
keys = typer.Typer(cls=_Keys, no_args_is_help=True, help="Keys: their ages, their rotation, their end.")
access = typer.Typer(cls=_Access, no_args_is_help=True, help="Who may do what, and why; what a tenant demands.")
egress = typer.Typer(cls=_Egress, no_args_is_help=True, help="The one way out: what may be connected to.")
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
