"""`wellkeep approvals`: what waits for a second person, given or refused by the operator at the machine."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from wellkeep.access.approvals import Approval
from wellkeep.access.operators import this_operator
from wellkeep.assembly.runtime import Runtime
from wellkeep.cli.console import done, print_json, table
from wellkeep.cli.local import with_runtime
from wellkeep.cli.options import HomeOption, Json

app = typer.Typer(no_args_is_help=True, help="What takes two people: nobody approves what they asked for themselves.")

Which = Annotated[
    UUID, typer.Argument(metavar="APPROVAL", help="The request's id, as `wellkeep approvals list` shows it")
]


@app.command(name="list")
def list_approvals(home: HomeOption = None, json: Json = False) -> None:
    """List what was asked for, and what became of it.

    Example: wellkeep approvals list --json
    """

    async def work(runtime: Runtime) -> list[Approval]:
        return await runtime.erasing.approvals.listed(this_operator())

    found = with_runtime(home, work)
    if json:
        print_json(found)
    elif not found:
        done("Nothing was asked for.")
    else:
        rows = [
            (one.id, one.action, one.target, one.requested_by, one.state, f"{one.expires_at:%Y-%m-%d %H:%M}")
            for one in found
        ]
        table("Approvals", ("request", "act", "of", "asked by", "state", "until"), rows)


@app.command()
def approve(approval: Which, home: HomeOption = None, json: Json = False) -> None:
    """Approve what another person asked for; they then give their command again.

    Example: wellkeep approvals approve 0198d7b2-0000-7000-8000-0000000000aa
    """
    _decide(approval, home, give=True, as_json=json)


@app.command()
def refuse(approval: Which, home: HomeOption = None, json: Json = False) -> None:
    """Refuse what another person asked for.

    Example: wellkeep approvals refuse 0198d7b2-0000-7000-8000-0000000000aa
    """
    _decide(approval, home, give=False, as_json=json)


def _decide(approval: UUID, home: HomeOption, *, give: bool, as_json: bool) -> None:
    async def work(runtime: Runtime) -> Approval:
        return await runtime.erasing.approvals.decide(this_operator(), approval, give=give)

    decided = with_runtime(home, work)
    if as_json:
        print_json(decided)
    else:
        done(f"{decided.action} of {decided.target} is {'approved' if give else 'refused'}.")
