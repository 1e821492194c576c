"""`wellkeep ledger sinks`: who is given the ledger, how far behind each is, and what is wrong."""

from __future__ import annotations

import typer

from wellkeep.assembly.sinks import sink_states, what_to_do
from wellkeep.cli.console import FAILED, done, err, print_json, table
from wellkeep.cli.local import run, started
from wellkeep.cli.options import HomeOption, Json, locate
from wellkeep.ledger.sinks.state import SinkState


def sinks(home: HomeOption = None, json: Json = False) -> None:
    """List the sinks: what each still has to get, and whether that fails. Exit 1 where one fails or lags too far.

    Example: wellkeep ledger sinks --json
    """

    async def work() -> list[SinkState]:
        async with started(locate(home)) as (settings, database):
            return await sink_states(settings, database)

    found = run(work())
    if json:
        print_json([{"sink": one, "fine": one.fine} for one in found])
    elif not found:
        done("No sink is configured. Name one in [[ledger.sinks]] in wellkeep.toml")
    else:
        table(
            "Sinks of the ledger",
            ("sink", "kind", "format", "behind", "oldest", "delivered", "state"),
            map(_row, found),
        )
        for one in found:
            if not one.fine:
                err.print(f"  {one.sink}: {what_to_do(one)}", markup=False, highlight=False)
    raise typer.Exit(0 if all(one.fine for one in found) else FAILED)


def _row(one: SinkState) -> tuple[object, ...]:
    delivered = "never" if one.delivered_seconds is None else f"{one.delivered_seconds:,.0f} s ago"
    state = f"failing: {one.error}" if one.failing_seconds is not None else ("held" if one.held else "nobody delivers")
    return (one.sink, one.kind, one.format, f"{one.entries:,}", f"{one.lag_seconds:,.0f} s", delivered, state)
