"""`wellkeep ledger prune`: let a month of entries go that is past its retention, on record and anchored."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from wellkeep.access.operators import this_operator
from wellkeep.assembly.core import open_core
from wellkeep.assembly.ledger_export import export_month
from wellkeep.assembly.ledger_prune import Pruned, months_due, owed_of
from wellkeep.assembly.ledger_prune import prune as prune_month
from wellkeep.cli.console import FAILED, WRONG_USAGE, done, err, print_json, refuse, table
from wellkeep.cli.local import run, started
from wellkeep.cli.options import HomeOption, Json, locate
from wellkeep.ledger.retention import Month, MonthRun

_MONTH: Final = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")


def prune(
    month: Annotated[str | None, typer.Option("--month", "-m", help="The month, as 2019-05 (default: list)")] = None,
    export: Annotated[
        Path | None, typer.Option("--export", "-e", help="Where the month is exported to first: an empty directory")
    ] = None,
    without_sink: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Do not wait for this sink: what it was not given is a gap in its stream"),
    ] = None,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """List the months that are past their retention, or let one go: exported, verified, recorded, anchored, dropped.

    Six years are kept at least, and a month that a sink was not given waits for it. Run again, it goes on where it
    stopped. Exit 0 gone, 1 not gone yet or refused.

    Example: wellkeep ledger prune --month 2019-05 --export /archive/2019-05
    """
    if month is None:
        _list(_due(home), json=json)
        return
    if _MONTH.fullmatch(month) is None:
        refuse("A month is a year and a number of two digits, such as 2019-05.", code=WRONG_USAGE)
    if export is None:
        refuse("Say where the month is to be exported to.", hint="wellkeep ledger prune --month … --export DIR", code=2)
    pruned = _pruned(home, month, export.absolute(), without_sinks=without_sink or ())
    if json:
        print_json(_shown(pruned))
    elif pruned.dropped is not None:
        done(f"{month} is gone: {pruned.dropped:,} entries of {len(pruned.runs)} logs. Their hashes stay.")
    else:
        err.print(
            f"[bold yellow]·[/] {month} is exported and on record; of {pruned.needed} anchors that must hold that "
            f"{pruned.anchored} do. Run the command again when they do: wellkeep ledger anchors"
        )
    raise typer.Exit(0 if pruned.dropped is not None else FAILED)


def _due(home: Path | None) -> list[tuple[Month, dict[str, int]]]:
    async def work() -> list[tuple[Month, dict[str, int]]]:
        where = locate(home)
        async with started(where) as (settings, database), open_core(where, settings, database) as core:
            return [(month, await owed_of(core, month)) for month in await months_due(core)]

    return run(work())


def _pruned(home: Path | None, month: str, top: Path, *, without_sinks: Sequence[str]) -> Pruned:
    async def work() -> Pruned:
        where, caller = locate(home), this_operator()
        async with started(where) as (settings, database), open_core(where, settings, database) as core:

            async def exported(runs: Sequence[MonthRun]) -> None:
                await export_month(core, database, caller, top, month=month, runs=runs)

            return await prune_month(core, database, caller, month=month, export=exported, without_sinks=without_sinks)

    return run(work())


def _list(months: Sequence[tuple[Month, dict[str, int]]], *, json: bool) -> None:
    if json:
        print_json([{"month": month.name, "owed": owed} for month, owed in months])
    elif not months:
        done("No month of the ledger is past its retention.")
    else:
        rows = [(month.name, _owed(owed)) for month, owed in months]
        table("Past their retention, the oldest first", ("month", "sinks that were not given all of it"), rows)


def _owed(owed: dict[str, int]) -> str:
    return ", ".join(f"{sink}: {count:,} entries" for sink, count in owed.items()) or "-"


def _shown(pruned: Pruned) -> dict[str, object]:
    return {
        "month": pruned.month.name,
        "logs": len(pruned.runs),
        "anchored": pruned.anchored,
        "needed": pruned.needed,
        "dropped": pruned.dropped,
    }
