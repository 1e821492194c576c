"""`wellkeep ledger proof` and `checkpoint`: what an outsider checks offline, by the operator at the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wellkeep.access.operators import this_operator
from wellkeep.assembly.ledger_check import tenant_called
from wellkeep.assembly.ledger_proofs import TenantCheckpoint, prove_on_record, show_checkpoint
from wellkeep.assembly.runtime import open_runtime
from wellkeep.base.ids import PLATFORM_TENANT, parse_uuid
from wellkeep.cli.console import WRONG_USAGE, counted, done, out, print_json, refuse
from wellkeep.cli.local import run, started
from wellkeep.cli.new_file import new_file, refuse_unless_new
from wellkeep.cli.options import HomeOption, Json, locate
from wellkeep.ledger.proof import EntryProof


def proof(
    event: Annotated[str, typer.Argument(metavar="EVENT_ID", help="The id of the event, as `ledger search` shows it")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", dir_okay=False, help="The file to write; it must not exist")
    ] = None,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Prove that an entry is in the ledger: a text that anybody can check offline who has the verifier key.

    Example: wellkeep ledger proof 0198d7b2-5c00-7000-8000-000000000001 -o access.proof
    """
    event_id = parse_uuid(event)
    if event_id is None:
        refuse("An event's id is a UUID in lower case.", code=WRONG_USAGE)
    if output is not None:
        refuse_unless_new(output)

    async def work() -> EntryProof:
        where = locate(home)
        async with started(where) as (settings, database), open_runtime(where, settings, database) as runtime:
            await runtime.core.checkpointer.sign_now()
            return await prove_on_record(runtime.core, runtime.ledger_proofs, database, this_operator(), event=event_id)

    found = run(work())
    if output is not None:
        _write(found, event, output, as_json=json)
    elif json:
        print_json(found.document())
    else:
        out.file.write(found.text().decode("utf-8"))


def _write(found: EntryProof, event: str, output: Path, *, as_json: bool) -> None:
    """Write the text of a proof to a new file, and say how it is checked."""
    with new_file(output) as stream:
        size = stream.write(found.text())
    signed = found.signed
    if as_json:
        told = {"file": str(output), "bytes": size, "log": signed.checkpoint.origin, "seq": found.seq}
        print_json(told | {"vkey": signed.vkey})
        return
    done(f"Written to {output}, readable by you alone: seq {found.seq} of {signed.checkpoint.origin}.")
    done(f"Check it: python3 wellkeep_verify.py proof {output} --vkey {signed.vkey} --event {event}")


def checkpoint(
    tenant: Annotated[
        str | None, typer.Option("--tenant", "-t", help="That tenant's log (default: the root log)")
    ] = None,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Show a log's newest signed checkpoint, the key it is checked with, and how it stands under the root log.

    Example: wellkeep ledger checkpoint --tenant st-elsewhere --json
    """

    async def work() -> TenantCheckpoint:
        where = locate(home)
        async with started(where) as (settings, database), open_runtime(where, settings, database) as runtime:
            chosen = PLATFORM_TENANT if tenant is None else await tenant_called(runtime.core, tenant)
            await runtime.core.checkpointer.sign_now()
            return await show_checkpoint(runtime.core, runtime.ledger_proofs, this_operator(), tenant=chosen)

    found = run(work())
    if json:
        print_json(found.document())
        return
    out.file.write(found.signed.note.decode("utf-8"))
    out.print(f"\nVerifier key: {found.signed.vkey}", markup=False)
    if tenant is not None:
        out.print(_under(found), markup=False)


def _under(found: TenantCheckpoint) -> str:
    if found.cover is None:
        return "No cover of the root log vouches for it yet: one does within two minutes while a server runs."
    entry, size = found.cover.entry, found.cover.covered.checkpoint.size
    return (
        f"The root log vouches for {counted(size, 'entry')} of it, at seq {entry.seq} of "
        f"{entry.signed.checkpoint.origin}. The proof of that: --json"
    )
