"""Pruning a month as an act: exported and verified, said in every log that it is of, anchored outside, then dropped.

Rules: each step is found done by whoever runs it again, so a crash costs nothing but the time; the month goes last, and
the database itself refuses one that is too young, held, or not on record. Without an anchor there is no pruning: a
deletion that only the database vouches for is no retention. A sink that was not given the month keeps it, unless
whoever prunes names that sink: what goes then is a gap in its stream.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from wellkeep.assembly.core import Core
from wellkeep.assembly.database import Database
from wellkeep.assembly.ledger_holds import holds
from wellkeep.base.errors import Conflict, LegalHold, NotFound, Unavailable
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.permissions import Permission
from wellkeep.db.provision import connected
from wellkeep.gate.acts import Act, Caller
from wellkeep.gate.events import event
from wellkeep.ledger.actions import Action
from wellkeep.ledger.anchors.status import AnchorStatus
from wellkeep.ledger.cover import cover
from wellkeep.ledger.event import Outcome
from wellkeep.ledger.retention import Month, MonthRun, due, keep_leaves, recorded, runs_of, told
from wellkeep.ledger.sinks.owed import owed

_DROP = "SELECT ledger.drop_month($1)"
_REFUSED: Final = {
    "WK020": "There is no such month in the ledger",
    "WK021": "The ledger is kept for six years at least (45 CFR 164.316(b)(2)(i))",
    "WK022": "An older month is still there: prune it first",
    "WK024": "The prune is not on record in every log of that month: run the command again",
}

_READ = "Somebody reads the ledger for long (a verification, an export); try again later"

Export = Callable[[Sequence[MonthRun]], Awaitable[None]]
"""Exports each log up to the end of its run and verifies what it wrote; raises where it can't."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """How far a month's prune has come: the logs, whether enough anchors hold the record of it, and entries dropped.

    `dropped` is None where the month is still there.
    """

    month: Month
    runs: tuple[MonthRun, ...]
    anchored: int
    needed: int
    dropped: int | None


async def months_due(core: Core) -> list[Month]:
    """Return the months that may be pruned by the settings' retention, the oldest first."""
    years = core.settings.ledger.retention_years
    async with core.ledger.connection() as connection:
        return await due(connection, now=core.clock.now(), years=years)


async def owed_of(core: Core, month: Month) -> dict[str, int]:
    """Return how many entries of `month` each sink was not given yet, by its name; nothing where all were."""
    sinks = core.settings.ledger.sinks
    if not sinks:
        return {}
    async with core.ledger.connection() as connection:
        return await owed(connection, sinks, await runs_of(connection, month))


async def prune(
    core: Core,
    database: Database,
    caller: Caller,
    *,
    month: str,
    export: Export,
    without_sinks: Collection[str] = (),
) -> Pruned:
    """Prune `month` (2019-05), or go on with it, whatever the sinks named in `without_sinks` were given of it.

    Raises Forbidden, NotFound for a month or a sink that is not there, Conflict for one that is too young or not the
    oldest, or where no anchor is configured, or for a sink that was not given it all, LegalHold, and what export,
    ledger and database raise.
    """
    act = Act(Permission.DEPLOYMENT_OPERATE, Action.LEDGER_PRUNED, "ledger")
    decision = await core.gate.decide(caller, act)
    chosen = await _chosen(core, month)
    async with core.ledger.connection() as connection:
        runs = await runs_of(connection, chosen)
        unsaid = [run for run in runs if await recorded(connection, run) is None]
    await _no_hold(core, runs)
    await _no_sink_waits(core, chosen, without_sinks)
    if unsaid:
        await export(runs)
        of = event(decision, outcome=Outcome.DONE)
        for run in unsaid:
            async with core.ledger.connection() as connection:
                root = await keep_leaves(connection, run)
            for log, entry in told(of, run, root):
                await core.gate.enter(entry, tenant=log)
    # What goes must be vouched for from outside its log: the root log covers it, and the anchors hold the root log.
    await core.checkpointer.sign_now()
    await cover(core.ledger, core.writer, signers=core.checkpoint_signers, reporter=core.findings)
    await core.checkpointer.sign_now()
    status = await core.anchoring.run(at_once=True)
    anchored = await _anchored(core, runs, status)
    dropped = await _drop(database, chosen) if anchored >= max(status.needed, 1) else None
    return Pruned(chosen, tuple(runs), anchored, status.needed, dropped)


async def _chosen(core: Core, name: str) -> Month:
    months = await months_due(core)
    found = next((month for month in months if month.name == name), None)
    if found is None:
        raise NotFound(f"No month {name} of the ledger is due. Those that are: wellkeep ledger prune")
    if found != months[0]:
        raise Conflict(_REFUSED["WK022"])
    if not core.settings.ledger.anchors:
        raise Conflict("Nothing is pruned without an anchor outside: see docs/how-to/anchor-the-ledger.md")
    return found


async def _no_hold(core: Core, runs: Sequence[MonthRun]) -> None:
    of_month = {run.tenant for run in runs}
    standing = [hold for hold in await holds(core) if hold.tenant in of_month or hold.tenant == PLATFORM_TENANT]
    if standing:
        raise LegalHold(f"A legal hold stands ({standing[0].id}): nothing of that month goes. See: wellkeep hold list")


async def _no_sink_waits(core: Core, month: Month, without: Collection[str]) -> None:
    if not {one.name for one in core.settings.ledger.sinks}.issuperset(without):
        raise NotFound("There is no sink of that name to leave out. Those that are: wellkeep ledger sinks")
    for name, count in (await owed_of(core, month)).items():
        if name not in without:
            raise Conflict(
                f"The sink {name} was not given {count:,} entries of {month.name} yet. Wait for it (wellkeep ledger "
                f"sinks), or leave a gap in its stream: --without-sink {name}"
            )


async def _anchored(core: Core, runs: Sequence[MonthRun], status: AnchorStatus) -> int:
    """Return how many anchors hold a checkpoint of the root log that is later than every record of the prune."""
    async with core.ledger.connection() as connection:
        places = [await recorded(connection, run) for run in runs]
    last = max((place for place in places if place is not None), default=(0, -1))
    return sum(
        one.holds and one.epoch is not None and one.size is not None and (one.epoch, one.size) > last
        for one in status.anchors
    )


async def _drop(database: Database, month: Month) -> int:
    async with connected(database.endpoint("wk_migrate")) as connection:
        try:
            dropped: int = await connection.fetchval(_DROP, month.begins)
        except asyncpg.PostgresError as refused:
            if refused.sqlstate == "WK023":
                raise LegalHold from None
            if isinstance(refused, asyncpg.LockNotAvailableError):
                raise Unavailable(_READ) from None
            if refused.sqlstate in _REFUSED:
                raise Conflict(_REFUSED[refused.sqlstate]) from None
            raise
    return dropped
