"""The desk of the sinks in the database: whose turn it is, what is due, what was delivered, and how it stands.

Rule: all of it is functions that `wk_ledger` may execute; they read logs and entries, and write cursors and turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from wellkeep.base.sink_settings import SinkSettings
from wellkeep.db.connection import Connection
from wellkeep.db.pool import Pool

_OPEN = "SELECT ledger.sink_open($1, $2)"
_TAKE = "SELECT ledger.sink_take($1, $2, $3)"
_RELEASE = "SELECT ledger.sink_release($1, $2)"
_FAILED = "SELECT seconds FROM ledger.sink_failed($1, $2, $3, $4)"
_DUE = """
SELECT tenant_id, epoch, origin, size, head_leaf, head_time, first, seq, leaf, "time", found
FROM ledger.sink_due($1, $2, $3, $4)
"""
_ENTRIES = 'SELECT run, seq, "time", leaf, entry FROM ledger.sink_entries($1::ledger.sink_run[], $2)'
_MOVED = "SELECT ledger.sink_moved($1, $2, $3, $4::ledger.sink_move[])"
_LAG = "SELECT logs, entries, seconds FROM ledger.sink_lag($1, $2, $3)"
_STATES = "SELECT sink, held, failing, failures, error, delivered FROM ledger.sink_states()"

_MOST_LOGS = 500


class Due(NamedTuple):
    """A log that a sink has not got to its end, and where its cursor stands; `size` 0: the log is gone."""

    tenant: UUID
    epoch: int
    origin: str
    size: int
    head_leaf: bytes | None
    head_time: datetime | None
    first: int
    seq: int
    leaf: bytes | None
    time: datetime | None
    found: bytes | None


class Row(NamedTuple):
    """An entry as it is stored."""

    seq: int
    time: datetime
    leaf: bytes
    entry: bytes


class Move(NamedTuple):
    """A cursor's way: from `old_seq` to `seq`. `first` is where the sink began; None forgets the cursor."""

    tenant: UUID
    epoch: int
    origin: str
    old_seq: int
    first: int | None
    seq: int
    leaf: bytes | None
    time: datetime | None


class Lag(NamedTuple):
    """How far a sink is behind: logs, entries, and the seconds since the oldest of them."""

    logs: int
    entries: int
    seconds: float


class Standing(NamedTuple):
    """What is stored of a sink; times are seconds ago, None where there is nothing to tell."""

    sink: str
    held: bool
    failing: float | None
    failures: int
    error: str | None
    delivered: float | None


def chosen(sink: SinkSettings) -> list[UUID] | None:
    """Return the tenants whose logs a sink gets; None for all."""
    return None if sink.tenants == "all" else list(sink.tenants)


async def lag(connection: Connection, sink: SinkSettings) -> Lag:
    """Return how far `sink` is behind; `connection` is wk_ledger's."""
    (row,) = await connection.fetch(_LAG, sink.name, chosen(sink), sink.root)
    return Lag(*row)


async def standings(connection: Connection) -> dict[str, Standing]:
    """Return what is stored of every sink that was ever started; `connection` is wk_ledger's."""
    return {row["sink"]: Standing(*row) for row in await connection.fetch(_STATES)}


class Desk:
    """One sink's desk, for one process."""

    def __init__(self, pool: Pool, *, sink: SinkSettings, holder: UUID, hold: float) -> None:
        """`pool` is wk_ledger's, `holder` this process, and a turn lasts `hold` seconds unless it is kept."""
        self._pool = pool
        self._sink = sink
        self._holder = holder
        self._hold = hold

    async def open(self) -> None:
        """Make the sink known; a new one begins where its settings say."""
        async with self._pool.connection() as connection:
            await connection.fetchval(_OPEN, self._sink.name, self._sink.begin == "now")

    async def take(self) -> bool:
        """Take the turn, or keep it; False while another process has it, or it is too early to try again."""
        async with self._pool.connection() as connection:
            taken: bool = await connection.fetchval(_TAKE, self._sink.name, self._holder, self._hold)
        return taken

    async def release(self) -> None:
        """Give the turn back, where we have it."""
        async with self._pool.connection() as connection:
            await connection.fetchval(_RELEASE, self._sink.name, self._holder)

    async def failed(self, error: str, *, pause: float) -> float:
        """Note a failure and give the turn back for at least `pause` seconds; return for how long it has failed."""
        async with self._pool.connection() as connection:
            seconds: float | None = await connection.fetchval(_FAILED, self._sink.name, self._holder, error, pause)
        return seconds or 0.0

    async def due(self) -> list[Due]:
        """Return the logs that have something to deliver, the longest neglected first."""
        async with self._pool.connection() as connection:
            rows = await connection.fetch(_DUE, self._sink.name, chosen(self._sink), self._sink.root, _MOST_LOGS)
        return [Due(*row) for row in rows]

    async def entries(self, logs: Sequence[Due], *, each: int) -> list[list[Row]]:
        """Return the first entries after the cursor of each of `logs`, at most `each`, in their order."""
        runs = [(log.tenant, log.epoch, log.seq, log.size, log.time) for log in logs]
        found: list[list[Row]] = [[] for _ in logs]
        async with self._pool.connection() as connection:
            for run, *row in await connection.fetch(_ENTRIES, runs, each):
                found[run - 1].append(Row(*row))
        return found

    async def moved(self, moves: Sequence[Move]) -> bool:
        """Move cursors after a delivery; False, and nothing moved, where another process has the turn by now."""
        async with self._pool.connection() as connection:
            kept: bool = await connection.fetchval(_MOVED, self._sink.name, self._holder, self._hold, list(moves))
        return kept

    async def lag(self) -> Lag:
        """Return how far the sink is behind."""
        async with self._pool.connection() as connection:
            return await lag(connection, self._sink)
