"""`wellkeep user leave`: everything that a leaver could do ends in one act, and is listed."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from wellkeep.access.leaving import Left
from wellkeep.access.operators import this_operator
from wellkeep.assembly.runtime import Runtime
from wellkeep.cli.console import done, print_json
from wellkeep.cli.local import with_runtime
from wellkeep.cli.options import HomeOption, Json
from wellkeep.cli.tenants import find


def leave(
    user: Annotated[UUID, typer.Argument(metavar="USER", help="The person's id, as `wellkeep user list` shows it")],
    tenant: Annotated[str, typer.Option("--tenant", "-t", help="The tenant's name or id")] = "platform",
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """End everything that a leaver could do: sessions, roles, the keys they made, what they asked for.

    Example: wellkeep user leave 0198d7b2-0000-7000-8000-0000000000aa --tenant st-elsewhere
    """

    async def work(runtime: Runtime) -> Left:
        leaving, where = runtime.reviewing.leaving, await find(runtime, tenant)
        return await leaving.leave(this_operator(), tenant=where, person=user)

    left = with_runtime(home, work)
    if json:
        print_json(left)
        return
    done("They can't sign in any more." if left.disabled else "They could not sign in before either.")
    ended = (
        ("sessions", left.sessions),
        ("roles", left.roles),
        ("API keys they made", left.keys),
        ("requests for approval, and approvals not used yet", left.approvals),
        ("staff in their account", left.impersonations),
        ("broken glasses", left.glasses),
    )
    for what, which in ended:
        if which:
            done(f"Ended, {what}: {', '.join(str(one) for one in which)}")
    if left.care_teams:
        done(f"Taken out of the care of {left.care_teams} patients.")
