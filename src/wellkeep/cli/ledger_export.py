"""`wellkeep ledger export`: the ledger as files that others' tools check, with no database and none of our code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wellkeep.access.operators import this_operator
from wellkeep.assembly.ledger_check import tenant_called
from wellkeep.assembly.ledger_export import export_on_record
from wellkeep.assembly.runtime import open_runtime
from wellkeep.cli.bars import bars
from wellkeep.cli.console import WRONG_USAGE, counted, done, print_json, refuse
from wellkeep.cli.local import run, started
from wellkeep.cli.options import HomeOption, Json, locate
from wellkeep.ledger.export import Wanted, Written


def export(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty directory")],
    tenant: Annotated[str | None, typer.Option("--tenant", "-t", help="One tenant's logs (default: all)")] = None,
    with_root: Annotated[
        bool, typer.Option("--with-root", help="With --tenant: the root log too, which names every tenant")
    ] = False,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Export the ledger: every entry, tile, checkpoint, cover and receipt, whole or not at all.

    Broken off, it goes on where it was when it is given again. Patients are in it by their ids.

    Example: wellkeep ledger export /mnt/audit/2026-05
    """
    if with_root and tenant is None:
        refuse(
            "The root log is left out of one tenant's export alone: --with-root goes with --tenant.", code=WRONG_USAGE
        )

    async def work() -> tuple[Written, str]:
        where = locate(home)
        async with started(where) as (settings, database), open_runtime(where, settings, database) as runtime:
            core = runtime.core
            chosen = None if tenant is None else await tenant_called(core, tenant)
            wanted = Wanted(tenant=chosen, with_root=with_root)
            with bars() as shown:
                written = await export_on_record(
                    core, database, this_operator(), directory.absolute(), wanted, progress=shown
                )
            return written, core.checkpoint_signer.vkey(core.anchoring.book.origin(1))

    written, vkey = run(work())
    if json:
        told = {"directory": str(directory), "logs": written.logs, "entries": written.entries}
        print_json(told | {"manifest_sha256": written.digest.hex(), "vkey": vkey})
    else:
        _tell(directory, written, vkey)


def _tell(directory: Path, written: Written, vkey: str) -> None:
    held = f"{counted(written.entries, 'entry')} of {counted(written.logs, 'log')}"
    done(f"{directory} holds {held}; that is on record.")
    done(f"Check it: wellkeep ledger verify --offline {directory} --vkey {vkey}")
    done(f"Or without us: python3 wellkeep_verify.py export {directory} --vkey {vkey}")
