"""The outbox: what changes left to be chained, found again whoever died in between.

Rules: a row is written in the change's own transaction and deleted by the call that chains it, so none is lost and
none is chained twice, whoever drains; one process drains at a time (a row's lock), for economy and not for
correctness. A row that is no event of ours is left where it is and reported: the outbox then grows old, and the gate
stops changes, which is how a ledger that can't be written fails.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from wellkeep.base.errors import LedgerUnavailable
from wellkeep.db.connection import Connection, Record
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.ledger.append import Appender, Reporter
from wellkeep.ledger.grammar import EventRefused, refuse
from wellkeep.ledger.reading import parse
from wellkeep.ledger.splice import Submitted

_TAKE = "SELECT ledger.take_drain()"
_LEFTOVERS = "SELECT tenant_id, event_id, event FROM ledger.outbox_leftovers($1, $2)"
_AGE = "SELECT ledger.outbox_age()"
_ROWS = 500


async def oldest_seconds(connection: Connection) -> float:
    """Return how many seconds ago the oldest outbox row was written; 0.0 where there is none."""
    age: float | None = await connection.fetchval(_AGE)
    return age or 0.0


async def drain(connection: Connection, appender: Appender, *, older: timedelta, reporter: Reporter) -> int:
    """Chain the outbox rows at least as old as `older` and return how many; zero while another process does it.

    Raises LedgerUnavailable where rows remain that can't be chained, and what the connection raises.
    """
    drained = 0
    while True:
        async with connection.transaction(isolation="read_committed"):
            if not await connection.fetchval(_TAKE):
                return drained
            rows = await connection.fetch(_LEFTOVERS, older, _ROWS)
            batch = [submitted for row in rows if (submitted := _submitted(row, reporter)) is not None]
            places = await appender.append(connection, batch)
        chained = sum(each.place in places for each in batch)
        drained += chained
        if chained < len(rows):
            raise LedgerUnavailable("Rows of the outbox can't be chained; see the findings")
        if len(rows) < _ROWS:
            return drained


def _submitted(row: Record, reporter: Reporter) -> Submitted | None:
    tenant: UUID = row["tenant_id"]
    try:
        prepared = parse(row["event"])
        if prepared.event.id != row["event_id"]:
            raise refuse("id")
    except EventRefused:
        reporter.note(
            tenant,
            kind=Kind.LEDGER_BROKEN,
            severity=Severity.CRITICAL,
            key=finding_key(Kind.LEDGER_BROKEN, "outbox"),
            detail={"what": "outbox"},
        )
        return None
    return Submitted(tenant, prepared, outbox=True)
