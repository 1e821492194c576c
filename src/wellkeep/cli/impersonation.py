"""`wellkeep impersonation`: who of the deployment's staff was in whose account, and the end of it, with a key."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from wellkeep.cli.client import Url, connect
from wellkeep.cli.console import counted, done, print_json, table
from wellkeep.cli.options import HomeOption, Json

app = typer.Typer(no_args_is_help=True, help="Staff in a customer's account: with a reason, for fifteen minutes.")

Which = Annotated[
    UUID, typer.Argument(metavar="IMPERSONATION", help="Its id, as `wellkeep impersonation list` shows it")
]


@app.command(name="list")
def list_all(home: HomeOption = None, url: Url = None, json: Json = False) -> None:
    """List who of the staff was, or is, in whose account of the key's tenant, why, and how it ended.

    Example: wellkeep impersonation list --json
    """
    with connect(home, url=url, role="privacy_officer") as api:
        found = api.json("GET", "/v1/impersonations")["impersonations"]
    if json:
        print_json(found)
    elif not found:
        done("Nobody of the staff was in any account.")
    else:
        rows = [
            (
                *(one["id"], one["staff_name"], one["person_name"] or one["person"], one["reason"] or "-"),
                *("masked" if one["masked"] else "UNMASKED", one["started_at"][:16], _how(one)),
            )
            for one in found
        ]
        columns = ("impersonation", "staff", "account", "why", "sees", "since", "state")
        table(f"{counted(len(rows), 'impersonation')}, the newest first", columns, rows)


@app.command()
def end(impersonation: Which, home: HomeOption = None, url: Url = None, json: Json = False) -> None:
    """End one at once: whatever it is doing at this very moment gets nothing more.

    Example: wellkeep impersonation end 0198d7b2-0000-7000-8000-0000000000aa
    """
    with connect(home, url=url, role="privacy_officer") as api:
        api.request("POST", f"/v1/impersonations/{impersonation}/end", expected=(204,))
    if json:
        print_json({"id": str(impersonation), "ended": True})
    else:
        done("It is over.")


def _how(one: dict[str, object]) -> str:
    if one["live"]:
        return f"live until {str(one['ends_at'])[11:16]} UTC"
    return str(one["ended_because"] or "over")
