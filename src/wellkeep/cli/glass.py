"""`wellkeep glass`: who broke the glass of which patient, and what is said of it afterwards, with a key."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from wellkeep.cli.client import Url, connect
from wellkeep.cli.console import counted, done, print_json, table
from wellkeep.cli.options import HomeOption, Json

app = typer.Typer(no_args_is_help=True, help="Emergencies: who got at one patient past the usual limits.")

Which = Annotated[UUID, typer.Argument(metavar="GLASS", help="The use's id, as `wellkeep glass list` shows it")]
Waiting = Annotated[bool, typer.Option("--waiting", help="Those alone that wait for a review")]
Justified = Annotated[bool, typer.Option("--justified/--not-justified", help="What it was")]
Note = Annotated[str, typer.Option("--note", prompt="What did you find", help="Why, in words; kept sealed")]


@app.command(name="list")
def list_all(waiting: Waiting = False, home: HomeOption = None, url: Url = None, json: Json = False) -> None:
    """List who broke the glass of which patient of the key's tenant, why, and what was said of it.

    Example: wellkeep glass list --waiting
    """
    with connect(home, url=url, role="privacy_officer") as api:
        found = api.json("GET", "/v1/break-glass", params={"waiting": "true"} if waiting else {})["uses"]
    if json:
        print_json(found)
    elif not found:
        done("Nothing waits for a review." if waiting else "No glass was broken.")
    else:
        rows = [
            (
                *(one["id"], one["person_name"], one["subject"], one["broken_at"][:16], one["reason"] or "-"),
                one["verdict"] or ("open" if one["open"] else "waits"),
            )
            for one in found
        ]
        columns = ("glass", "by", "patient", "at", "why", "review")
        table(f"{counted(len(rows), 'emergency')}, the newest first", columns, rows)


@app.command()
def review(
    glass: Which, justified: Justified, note: Note, home: HomeOption = None, url: Url = None, json: Json = False
) -> None:
    """Say what somebody else's use was, in words; it ends one that is still open, and closes its findings.

    Example: wellkeep glass review 0198d7b2-… --justified --note "Confirmed with the head of the emergency room"
    """
    verdict = "justified" if justified else "not-justified"
    with connect(home, url=url, role="privacy_officer") as api:
        said = api.json("POST", f"/v1/break-glass/{glass}/review", json={"verdict": verdict, "note": note})
    if json:
        print_json(said)
    else:
        done(f"Reviewed as {verdict.replace('-', ' ')}; {counted(said['seen'], 'disclosure')} or changes under it.")
