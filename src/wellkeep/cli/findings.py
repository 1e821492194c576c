"""`wellkeep findings`: what was noticed and is still open, over all tenants."""

from __future__ import annotations

from typing import Annotated

import typer

from wellkeep.cli.console import done, print_json, table
from wellkeep.cli.local import HomeOption, Json, locate, run, started
from wellkeep.db.provision import connected
from wellkeep.findings.findings import Finding, platform_findings


def findings(
    everything: Annotated[bool, typer.Option("--all", help="Resolved ones too")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """List what was noticed, newest first: refused contexts, broken ciphertexts, key troubles.

    Example: wellkeep findings --json
    """

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


def _places(finding: Finding) -> str:
    return " ".join(f"{name}={value}" for name, value in finding.detail.items())
