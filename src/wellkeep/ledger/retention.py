"""Retention: which months of entries may go, and what stays of them.

Rules: six years at least (45 CFR 164.316(b)(2)(i)), the oldest month first, none under a legal hold; before a month
goes each log that it is of says so, and the root log too; the hashes stay, so the tree's root, every checkpoint and
every old proof can be checked for ever. The threat is a deletion that looks like retention: a missing prefix that no
entry and no older anchor tells of is tampering.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.db.connection import Connection
from wellkeep.ledger.event import Action, Event
from wellkeep.ledger.tile_store import TileStore
from wellkeep.ledger.tiles import root_at

FLOOR_YEARS: Final = 6
"""45 CFR 164.316(b)(2)(i). The database refuses less, whatever asks it to."""

_MONTHS = "SELECT month, ends FROM ledger.months()"
_RUNS = "SELECT tenant_id, epoch, origin, first, upto FROM ledger.month_runs($1)"
_RECORDED = "SELECT epoch, seq FROM ledger.pruned_at($1, $2, $3, $4)"


class Month(NamedTuple):
    """A month of entries: from when to before when, UTC."""

    begins: datetime
    ends: datetime

    @property
    def name(self) -> str:
        """Return it as people write it: 2020-05."""
        return f"{self.begins:%Y-%m}"


class MonthRun(NamedTuple):
    """What a month holds of one log: the entries `first` to before `upto`."""

    tenant: UUID
    epoch: int
    origin: str
    first: int
    upto: int


async def due(connection: Connection, *, now: datetime, years: int = FLOOR_YEARS) -> list[Month]:
    """Return the months that ended more than `years` (6 at least) ago, the oldest first."""
    latest = years_before(now, max(years, FLOOR_YEARS))
    return [Month(*row) for row in await connection.fetch(_MONTHS) if row["ends"] <= latest]


async def runs_of(connection: Connection, month: Month) -> list[MonthRun]:
    """Return what `month` holds, log by log, the root log's first."""
    return [MonthRun(*row) for row in await connection.fetch(_RUNS, month.begins)]


async def keep_leaves(connection: Connection, run: MonthRun) -> bytes:
    """Store the leaves that would go with a run, and return the root of the tree at its end.

    Full tiles have most of them; the last, partial one is stored as it is. `connection` is wk_ledger's. Raises BadProof
    where one is missing.
    """
    store = TileStore(connection, tenant=run.tenant, epoch=run.epoch)
    await store.grow(run.upto)
    root = await root_at(store, run.upto)
    await store.keep(run.upto)
    return root


def told(of: Event, run: MonthRun, root: bytes) -> list[tuple[UUID, Event]]:
    """Return the logs that must say that `run` goes, each with its event: copies of the act's own event."""
    return [
        (
            log,
            msgspec.structs.replace(
                of,
                id=uuid7(),
                action=Action.LEDGER_PRUNED,
                resource_type="log",
                resource_id=str(run.tenant),
                span=(run.epoch, run.first, run.upto),
                digest=root,
                count=run.upto - run.first,
            ),
        )
        for log in sorted({run.tenant, PLATFORM_TENANT})
    ]


def years_before(moment: datetime, years: int) -> datetime:
    """Return the same day `years` earlier; for the 29th of February, where there is none, the 28th."""
    try:
        return moment.replace(year=moment.year - years)
    except ValueError:
        return moment.replace(year=moment.year - years, day=28)


async def recorded(connection: Connection, run: MonthRun) -> tuple[int, int] | None:
    """Return epoch and seq of the root log's entry that says that `run` goes, where the log itself says so too."""
    row = await connection.fetchrow(_RECORDED, run.tenant, run.epoch, run.first, run.upto)
    return None if row is None else (row["epoch"], row["seq"])
