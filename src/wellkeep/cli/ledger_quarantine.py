"""`wellkeep ledger quarantine`: changes that could never be entered, for the operator at the machine."""

from __future__ import annotations

from typing import Annotated

import typer

from wellkeep.access.operators import this_operator
from wellkeep.assembly.quarantine import Quarantined, quarantined
from wellkeep.assembly.runtime import open_runtime
from wellkeep.cli.console import done, err, print_json, table
from wellkeep.cli.local import run, started
from wellkeep.cli.options import HomeOption, Json, locate
from wellkeep.cli.tenants import find


def quarantine(
    tenant: Annotated[str | None, typer.Option("--tenant", "-t", help="One tenant's rows (default: all)")] = None,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """List changes that could not be entered, without what they hold: exit 0 there is none, 1 there are some.

    Example: wellkeep ledger quarantine --json
    """

    async def work() -> list[Quarantined]:
        where = locate(home)
        async with started(where) as (settings, database), open_runtime(where, settings, database) as runtime:
            chosen = None if tenant is None else await find(runtime, tenant)
            return await quarantined(runtime.core, database, this_operator(), tenant=chosen)

    found = run(work())
    if json:
        print_json(found)
    elif not found:
        done("Every change could be entered.")
    else:
        rows = [(one.tenant, one.event, one.reason, one.size, f"{one.created_at:%Y-%m-%d %H:%M}") for one in found]
        table(f"{len(found):,} in quarantine", ("tenant", "event", "why", "bytes", "since"), rows)
        err.print(_WHAT_TO_DO, markup=False, highlight=False)
    raise typer.Exit(1 if found else 0)


_WHAT_TO_DO = """\
  form: it is no event of ours. taken: another event has its id. Either way somebody wrote past wellkeep.
  1. Keep a copy of the database as it is. 2. Look who had access to it at that time.
  3. wellkeep ledger verify says what else does not hold; the daily replay finds states without an entry.
  The rows stay, and verify goes on to say so: the record of that change is not in the ledger."""
