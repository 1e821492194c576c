"""`wellkeep collections template`: the definitions that come with the package, to print, edit and post."""

from __future__ import annotations

from typing import Annotated

import typer

from wellkeep.cli.client import Url, connect
from wellkeep.cli.console import done, print_json, refuse, table
from wellkeep.cli.options import HomeOption, locate
from wellkeep.vault import templates

app = typer.Typer(no_args_is_help=True, help="What a tenant stores.")


@app.callback()
def collections() -> None:
    """Work on what a tenant stores."""


@app.command()
def template(
    name: Annotated[str | None, typer.Argument(help="e.g. patients (default: list them)")] = None,
    create: Annotated[bool, typer.Option("--create", help="Create the collection through the API")] = False,
    home: HomeOption = None,
    url: Url = None,
) -> None:
    """Print a built-in definition as the JSON to post to /v1/collections, or create it at once.

    Example: wellkeep collections template patients --create
    """
    known = templates.names()
    if name is None:
        made = [templates.template(one) for one in known]
        table("Templates", ("name", "subject", "fields"), [(one.name, one.subject, len(one.fields)) for one in made])
        return
    if name not in known:
        refuse("There is no such template.", hint=f"They are: {', '.join(known)}", code=2)
    chosen = templates.template(name)
    if not create:
        print_json(chosen.definition())
        return
    with connect(locate(home).path, url=url) as api:
        api.json("POST", "/v1/collections", json=chosen.definition())
    done(f"The collection {name} is there.")
