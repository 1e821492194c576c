"""`wellkeep ledger`: every entry hashed again, and what could never be entered, by the operator at the machine."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from wellkeep.access.operators import this_operator
from wellkeep.assembly.ledger_check import verify_on_record
from wellkeep.assembly.quarantine import Quarantined, quarantined
from wellkeep.assembly.runtime import open_runtime
from wellkeep.cli.console import done, err, out, print_json, refuse, table, words
from wellkeep.cli.local import HomeOption, Json, locate, run, started
from wellkeep.cli.tenants import find
from wellkeep.ledger.report import COULD_NOT_VERIFY, Report

app = typer.Typer(no_args_is_help=True, help="The record of every access.")


@app.callback()
def ledger() -> None:
    """Work on the record of every access."""


@app.command()
def verify(
    tenant: Annotated[str | None, typer.Option("--tenant", "-t", help="One tenant's log (default: all)")] = None,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Verify the ledger: exit 0 it holds, 1 tampered (the place is named), 2 could not verify.

    Example: wellkeep ledger verify --json
    """

    async def work() -> Report:
        where = locate(home)
        async with started(where) as (settings, database), open_runtime(where, settings, database) as runtime:
            chosen = None if tenant is None else await find(runtime, tenant)
            with Progress(*_COLUMNS, console=err, transient=True) as bars:
                return await verify_on_record(
                    runtime.core, database, this_operator(), tenant=chosen, progress=_Bars(bars).show
                )

    try:
        report = asyncio.run(work())
    except Exception as error:  # noqa: BLE001 -- whatever it was, it was no verdict: exit 1 would say tampered
        message, hint = words(error)
        refuse(f"The ledger was not verified. {message}", hint=hint, code=COULD_NOT_VERIFY)
    _show(report, as_json=json)
    raise typer.Exit(report.exit_code)


@app.command()
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

_COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())


class _Bars:
    """One bar a log."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def show(self, log: str, seen: int, size: int) -> None:
        """Move the bar of `log`."""
        task = self._tasks.get(log)
        if task is None:
            task = self._tasks[log] = self._bars.add_task(log, total=size)
        self._bars.update(task, completed=seen)


def _show(report: Report, *, as_json: bool) -> None:
    if as_json:
        bad = [{"log": one.log, "seq": one.seq, "what": one.what.value} for one in report.bad]
        print_json(
            {"holds": report.ok, "logs": report.logs, "entries": report.entries, "seals": report.seals, "bad": bad}
        )
        return
    covered = f"{report.entries:,} entries and {report.seals:,} seals in {report.logs} logs"
    if report.ok:
        done(f"The ledger holds: {covered}.")
        out.print("  [dim]Not anchored outside this machine: whoever owns database and keys could still rewrite it.[/]")
    else:
        err.print(f"[bold red]✗ The ledger does not hold[/] ({covered}):")
        for one in report.bad:
            err.print(f"  {one.log} at seq {one.seq}: {one.what.value}")
        err.print("  Stop writing, keep a copy of the database as it is, and look who had access to it.")
