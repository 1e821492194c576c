"""`wellkeep ledger verify`: all of it, or what came lately, by the operator at the machine."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from wellkeep.access.operators import this_operator
from wellkeep.assembly.core import open_core
from wellkeep.assembly.ledger_check import Checked, Extent, tenant_called, verify_on_record
from wellkeep.cli.bars import bars
from wellkeep.cli.console import WRONG_USAGE, refuse
from wellkeep.cli.ledger_offline import verify_offline
from wellkeep.cli.ledger_words import show, unverified
from wellkeep.cli.local import started
from wellkeep.cli.moments import moment
from wellkeep.cli.options import HomeOption, Json, locate


def verify(
    tenant: Annotated[str | None, typer.Option("--tenant", "-t", help="One tenant's logs (default: all)")] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Read the content from this day or time on alone")
    ] = None,
    since_last: Annotated[
        bool, typer.Option("--since-last", help="Go on from where the last verification came to")
    ] = False,
    offline: Annotated[
        Path | None, typer.Option("--offline", help="An export instead: needs no database and no deployment")
    ] = None,
    vkey: Annotated[
        list[str] | None,
        typer.Option("--vkey", help="With --offline: the root log's key, which you have from elsewhere"),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=64, help="Processes at once")] = 1,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Verify the ledger: exit 0 it holds, 1 tampered (the place is named), 2 could not verify, 3 anchors are stale.

    Example: wellkeep ledger verify --since-last --json
    """
    _refuse_mixture(offline=offline is not None, chosen=bool(tenant or since or since_last), vkey=bool(vkey))
    if offline is not None:
        raise typer.Exit(verify_offline(offline, home=home, vkeys=vkey or [], as_json=json))
    if since and since_last:
        refuse("Either --since or --since-last, not both.", code=WRONG_USAGE)
    after = None if since is None else datetime.fromisoformat(moment(since) or "")
    checked = _verified(home, tenant, Extent(None, after, since_last, jobs))
    show(checked, as_json=json)
    raise typer.Exit(checked.exit_code)


def _refuse_mixture(*, offline: bool, chosen: bool, vkey: bool) -> None:
    if offline and chosen:
        refuse("--offline verifies an export as a whole: leave the other filters out.", code=WRONG_USAGE)
    if vkey and not offline:
        refuse("--vkey goes with --offline: a deployment knows its own keys.", code=WRONG_USAGE)


def _verified(home: Path | None, tenant: str | None, extent: Extent) -> Checked:
    """Verify the deployment's own ledger; whatever keeps it from a verdict ends as COULD_NOT_VERIFY."""

    async def work() -> Checked:
        where = locate(home)
        async with (
            started(where) as (settings, database),
            open_core(where, settings, database, behind=True) as core,
        ):
            chosen = None if tenant is None else await tenant_called(core, tenant)
            with bars() as shown:
                wanted = replace(extent, tenant=chosen)
                return await verify_on_record(core, database, this_operator(), wanted, progress=shown)

    try:
        return asyncio.run(work())
    except Exception as error:  # noqa: BLE001 -- whatever it was, it was no verdict
        unverified("The ledger", error)
