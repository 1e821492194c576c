"""`wellkeep db`: migrations applied, undone and listed by the operator."""

from __future__ import annotations

from typing import Annotated

import typer

from wellkeep.cli import database_shell
from wellkeep.cli.console import done, print_json, table
from wellkeep.cli.local import run, started
from wellkeep.cli.options import HomeOption, Json, locate
from wellkeep.db import migrate as migrations
from wellkeep.db.migrate import Migration, Status
from wellkeep.db.provision import connected

app = typer.Typer(no_args_is_help=True, help="The schema: numbered, chained by hash, with a way back.")

app.command()(database_shell.shell)

_MIGRATOR = "wk_migrate"


@app.command()
def status(home: HomeOption = None, json: Json = False) -> None:
    """List every migration and how it stands.

    Example: wellkeep db status
    """

    async def work() -> list[Status]:
        async with started(locate(home)) as (_, database), connected(database.endpoint(_MIGRATOR)) as connection:
            return await migrations.status(connection)

    found = run(work())
    if json:
        print_json([{"number": one.number, "name": one.name, "state": one.state.value} for one in found])
        return
    table("Migrations", ("migration", "state"), [(one.label, one.state.value) for one in found])


@app.command()
def migrate(home: HomeOption = None) -> None:
    """Apply what is pending. Doing it again applies nothing.

    Example: wellkeep db migrate
    """

    async def work() -> list[Migration]:
        async with started(locate(home)) as (_, database), connected(database.endpoint(_MIGRATOR)) as connection:
            return await migrations.migrate(connection)

    applied = run(work())
    for one in applied:
        done(f"Applied {one.label}")
    if not applied:
        done("Nothing was pending.")


@app.command()
def rollback(
    steps: Annotated[int, typer.Option(min=1, help="How many, newest first")] = 1,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
    home: HomeOption = None,
) -> None:
    """Undo the newest migrations. What their tables held is gone: back up first.

    Example: wellkeep db rollback --steps 1
    """
    if not yes:
        typer.confirm(f"Undo the newest {steps} migration(s)? The data of their tables is lost.", abort=True)

    async def work() -> list[Migration]:
        async with started(locate(home)) as (_, database), connected(database.endpoint(_MIGRATOR)) as connection:
            return await migrations.rollback(connection, steps=steps)

    for one in run(work()):
        done(f"Undone {one.label}")
