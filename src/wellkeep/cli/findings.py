"""`wellkeep findings`: what was noticed and is still open, over all tenants, and what was dealt with."""

from __future__ import annotations

from typing import Annotated

import typer

from wellkeep.access.operators import this_operator
from wellkeep.assembly.findings_desk import resolve as resolve_findings
from wellkeep.assembly.runtime import open_runtime
from wellkeep.cli.console import done, print_json, table
from wellkeep.cli.local import run, started
from wellkeep.cli.options import HomeOption, Json, locate
from wellkeep.db.provision import connected
from wellkeep.findings.findings import Finding, platform_findings

app = typer.Typer()


@app.callback(invoke_without_command=True)
def findings(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Resolved ones too")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """List what was noticed, newest first: refused contexts, broken ciphertexts, key troubles.

    Example: wellkeep findings --json
    """
    if context.invoked_subcommand is not None:
        return

    async def work() -> list[Finding]:
        async with started(locate(home)) as (_, database), connected(database.endpoint("wk_migrate")) as connection:
            return await platform_findings(connection, open_only=not everything, limit=limit)

    found = run(work())
    if json:
        print_json(found)
    elif not found:
        done("Nothing was noticed that is still open.")
    else:
        rows = [
            (one.severity, one.kind, one.count, one.tenant, one.last_seen.strftime("%Y-%m-%d %H:%M"), _places(one))
            for one in found
        ]
        table("Findings", ("severity", "kind", "times", "tenant", "last seen", "where"), rows)


@app.command()
def resolve(
    keys: Annotated[
        list[str], typer.Argument(metavar="KEY…", help="Keys or ids, as `wellkeep findings --json` has them")
    ],
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Mark findings as dealt with, on record. What is noticed again is open again.

    Example: wellkeep findings resolve auth.failures
    """

    async def work() -> list[Finding]:
        where = locate(home)
        async with started(where) as (settings, database), open_runtime(where, settings, database) as runtime:
            return await resolve_findings(runtime.core, database, this_operator(), keys)

    resolved = run(work())
    if json:
        print_json([{"id": str(one.id), "tenant": str(one.tenant), "key": one.key} for one in resolved])
    elif resolved:
        for one in resolved:
            done(f"Resolved: {one.key}")
    else:
        done("All of them were resolved before.")


def _places(finding: Finding) -> str:
    return " ".join(f"{name}={value}" for name, value in finding.detail.items())
