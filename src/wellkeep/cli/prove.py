"""`wellkeep prove`.

The claims tried on the running deployment, a table of what was tried and seen, exit 1 where one fails.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from wellkeep.access.operators import this_operator
from wellkeep.assembly.core import open_core
from wellkeep.assembly.database import Database
from wellkeep.assembly.home import Home
from wellkeep.assembly.trials import Trials
from wellkeep.base.clock import SystemClock
from wellkeep.base.settings import PRODUCTION, Settings
from wellkeep.cli.console import err, out, print_json, refuse
from wellkeep.cli.local import run, started
from wellkeep.cli.options import HomeOption, Json, locate
from wellkeep.cli.quiet import silenced
from wellkeep.prove.claims import load_claims
from wellkeep.prove.documents import document, written
from wellkeep.prove.evidence import Evidence, State, fails
from wellkeep.prove.probe import Probe, prove
from wellkeep.prove.registry import PROBES
from wellkeep.prove.world import world

_MARKS = {
    State.PROVEN: "[bold green]✓ proven[/]",
    State.PARTIAL: "[bold yellow]◐ partial[/]",
    State.UNKNOWN: "[bold yellow]? unknown[/]",
    State.UNMET: "[bold red]✗ not met here[/]",
    State.FAILED: "[bold red]✗ failed[/]",
}


def prove_claims(
    claims: Annotated[
        list[str] | None, typer.Argument(help="Ids such as rest.fields [default: all with a probe]")
    ] = None,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Try what the claims forbid, on the running deployment and on scratch ones; exit 1 where one fails.

    So it is in production where what wellkeep stands on (its disks, say) does not keep one; elsewhere that is shown.
    Live probes act on two tenants marked synthetic; destructive ones on a scratch deployment of the same build. What
    was seen is kept, with an entry in the root log for each claim, and shown by the trust page.

    Example: wellkeep prove rest.fields access.tenant_wall --json
    """
    chosen = choose(claims or [])

    async def work() -> list[Evidence]:
        end_on_sigterm()
        where = locate(home)
        async with started(where, apart=True) as (settings, database):
            found = await gather(where.path, chosen, quiet=json)
            try:
                await keep(where, settings, database, found)
            finally:  # where it can't be kept, what was seen is told all the same
                if json:
                    print_json([document(one) for one in found])
                else:
                    show(found)
            return found

    try:
        evidence = run(work())
    except asyncio.CancelledError:
        raise typer.Exit(128 + signal.SIGTERM) from None
    production = locate(home).settings().environment == PRODUCTION
    raise typer.Exit(1 if fails(evidence, production=production) else 0)


def end_on_sigterm() -> None:
    """Let SIGTERM end this work as Ctrl-C does: what was started for it is stopped, and its end is on record."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def choose(ids: Sequence[str]) -> list[Probe]:
    """Return the probes of the claims `ids`, or all; refuses ids that have none."""
    known = load_claims()
    for claim in ids:
        if claim not in known:
            refuse(f"There is no claim {claim}.", hint=f"Those with a probe: {', '.join(PROBES)}", code=2)
        if claim not in PROBES:
            refuse(f"The claim {claim} has no probe yet, so it is unknown.", hint="Leave it out to try the others.")
    return [PROBES[claim] for claim in ids] if ids else list(PROBES.values())


async def gather(
    home: Path, probes: Sequence[Probe], *, quiet: bool = False, seen: Callable[[Evidence], None] = lambda _: None
) -> list[Evidence]:
    """Run `probes` against the deployment in `home`; a server is started for the run where none answers.

    `seen` is handed each claim's evidence as it is there.

    Raises Misconfigured where there is no deployment.
    """
    deployment = Home(home)
    deployment.settings()
    with silenced():
        return await _gathered(deployment, probes, quiet=quiet, seen=seen)


async def _gathered(
    deployment: Home, probes: Sequence[Probe], *, quiet: bool, seen: Callable[[Evidence], None]
) -> list[Evidence]:
    clock = SystemClock()
    evidence = []
    async with world(deployment) as shared:
        for probe in probes:
            if not quiet:
                err.print(f"[dim]· {probe.claim}[/]")
            evidence.append(await prove(probe, shared, clock))
            seen(evidence[-1])
    return evidence


async def keep(home: Home, settings: Settings, database: Database, evidence: Sequence[Evidence]) -> None:
    """Keep what was seen for the trust page, on record. Raises WellkeepError where that can't be done."""
    await asyncio.to_thread(database.start)  # a probe may have stopped what it started
    async with open_core(home, settings, database) as core:
        trials = Trials(gate=core.gate, app=core.app, clock=core.clock)
        for one in evidence:
            state = one.state.name.lower()
            await trials.keep(this_operator(), one.claim, written(one), state=state, steps=len(one.steps))


def show(evidence: Sequence[Evidence]) -> None:
    """Print each claim's sentence, its state, and every step that was taken."""
    says = load_claims()
    for one in evidence:
        out.print(f"\n{_MARKS[one.state]}  [bold]{escape(says[one.claim].says)}[/]")
        out.print(f"   [dim]{one.claim} · {one.where.value} · {one.seconds:.1f} s[/]")
        steps = Table(show_header=False, box=None, padding=(0, 1))
        steps.add_column(width=3, justify="right")
        steps.add_column(ratio=5, overflow="fold")
        steps.add_column(ratio=5, overflow="fold")
        for step in one.steps:
            mark = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[yellow]?[/]"}[step.held]
            steps.add_row(mark, escape(step.tried), f"[dim]{escape(step.seen)}[/]")
        out.print(steps)
        if one.missing:
            out.print(f"   [yellow]not covered yet:[/] {escape(one.missing)}")
    summary(evidence)


def summary(evidence: Sequence[Evidence]) -> None:
    """Print how many claims stand how; those without a probe are unknown, and said to be."""
    counts = {state: sum(one.state is state for one in evidence) for state in State}
    told = ", ".join(f"{counts[state]} {state.value}" for state in State if counts[state])
    silent = len(load_claims()) - len(PROBES)
    out.print(f"\n[bold]{told}[/] · {silent} claims have no probe yet and are unknown")
