"""`wellkeep ledger accept-restore`: go on from a database that was put back to an older state, on record."""

from __future__ import annotations

from typing import Annotated

import typer

from wellkeep.access.operators import this_operator
from wellkeep.assembly.core import open_core
from wellkeep.assembly.ledger_restore import accept_restore as accept
from wellkeep.assembly.runtime import open_runtime
from wellkeep.cli.console import counted, done, err, print_json, table
from wellkeep.cli.local import run, started
from wellkeep.cli.options import HomeOption, Json, locate
from wellkeep.ledger.restore import Reopened


def accept_restore(
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why: kept sealed; the ledger holds its hash")],
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Go on from a database that is behind what this host remembers: each such log gets a new epoch that says so.

    Stop every server first. The lost entries stay named in the ledger; who was erased since is erased again.

    Example: wellkeep ledger accept-restore --reason "disk failure, restored the backup of 3 May"
    """

    async def work() -> tuple[list[Reopened], int]:
        where = locate(home)
        async with started(where) as (settings, database):
            async with open_core(where, settings, database, behind=True) as core:
                reopened = await accept(core, this_operator(), reason=reason)
            # Whoever was erased since the backup is erased again, by this start as by any other.
            async with open_runtime(where, settings, database) as runtime:
                return reopened, runtime.erased_again

    reopened, erased = run(work())
    if json:
        print_json([_shown(one) for one in reopened])
        return
    rows = [
        (one.setback.remembered.origin, one.setback.how.value, one.setback.size, one.setback.remembered.size, one.epoch)
        for one in reopened
    ]
    table(f"Go on: {counted(len(rows), 'log')}", ("log", "was", "entries", "remembered", "epoch now"), rows)
    if erased:
        done(f"Done once more: {counted(erased, 'erasure')}.")
    done("The restore is on record. Start the servers again.")
    err.print(_WHAT_TO_DO, markup=False, highlight=False)


_WHAT_TO_DO = """\
  Accesses since the backup are no longer in this database. Look for them where they were sent: your SIEM, an export.
  What this host remembered before lies beside its memory (…before), to be compared with anchors and exports."""


def _shown(one: Reopened) -> dict[str, object]:
    setback = one.setback
    return {
        "log": setback.remembered.origin,
        "how": setback.how.value,
        "entries": setback.size,
        "remembered": setback.remembered.size,
        "epoch": one.epoch,
    }
