"""The outbox: what changes left to be chained, found again whoever died in between.

Rules: a row is written in the change's own transaction and deleted by the call that chains it, so none is lost and
none is chained twice, whoever drains; one process drains at a time (a row's lock), for economy and not for correctness.
Each tenant has an equal share of a round, and what the ledger refuses of one (a head ahead of the clock, a log that is
gone) stops nobody else: its rows stay, grow old, and the gate stops its changes alone. A row that can never be chained,
because it is no event of ours (it carries no MAC of ours, or is none at all) or its id stands for other bytes, is moved
to quarantine: a critical finding, and bad news from verification until somebody has looked. The threats are one tenant,
or one bad row, that stops all, and a row that somebody wrote past the gate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from uuid import UUID

from wellkeep.db.connection import Connection, Record
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.ledger.append import Appender, Reporter
from wellkeep.ledger.grammar import EventRefused, refuse
from wellkeep.ledger.reading import parse
from wellkeep.ledger.seal import SealKey
from wellkeep.ledger.splice import Submitted

_TAKE = "SELECT ledger.take_drain()"
_UNTIL = "SELECT pg_catalog.clock_timestamp() - $1::pg_catalog.interval"
_LEFTOVERS = "SELECT tenant_id, event_id, event FROM ledger.outbox_leftovers($1, $2, $3)"
_AGES = "SELECT tenant_id, seconds FROM ledger.outbox_ages()"
_QUARANTINE = "SELECT tenant_id, event_id FROM ledger.quarantine($1, $2)"
_ROWS = 500

_Ref = tuple[UUID, UUID]


async def oldest_seconds(connection: Connection) -> dict[UUID, float]:
    """Return how many seconds ago each tenant's oldest outbox row was written; a tenant without one is left out."""
    return {row["tenant_id"]: row["seconds"] for row in await connection.fetch(_AGES)}


async def drain(
    connection: Connection, appender: Appender, *, keys: Sequence[SealKey], older: timedelta, reporter: Reporter
) -> int:
    """Chain the outbox rows at least as old as `older` and return how many; zero while another process does it.

    A row must carry the MAC of one of the `keys`. Rows that the ledger refuses for now stay, those that it can never
    take go to quarantine. Raises LedgerUnavailable where nothing can be appended, and what the connection raises.
    """
    until = await connection.fetchval(_UNTIL, older)
    drained = 0
    stopped: set[UUID] = set()
    while True:
        async with connection.transaction(isolation="read_committed"):
            if not await connection.fetchval(_TAKE):
                return drained
            rows = await connection.fetch(_LEFTOVERS, until, _ROWS, list(stopped))
            if not rows:
                return drained
            chained, left = await _chain(connection, appender, rows, keys=keys, reporter=reporter)
        appender.committed()
        drained += chained
        # Whoever made no progress this time is not asked for again, so each round gets something done or is the last.
        stopped |= left


async def _chain(
    connection: Connection, appender: Appender, rows: Iterable[Record], *, keys: Sequence[SealKey], reporter: Reporter
) -> tuple[int, set[UUID]]:
    """Chain one round of rows; return how many were, and the tenants of whom some could not be."""
    batch: list[Submitted] = []
    formless: list[_Ref] = []
    for row in rows:
        submitted = _submitted(row, keys)
        if submitted is None:
            formless.append((row["tenant_id"], row["event_id"]))
        else:
            batch.append(submitted)
    await _quarantine(connection, formless, "form", reporter)
    places = await appender.append(connection, batch)
    refused = [(each.tenant, each.prepared.event.id) for each in batch if each.place not in places]
    moved = await _quarantine(connection, refused, "taken", reporter)
    return len(batch) - len(refused), {ref[0] for ref in refused if ref not in moved}


async def _quarantine(connection: Connection, refs: list[_Ref], why: str, reporter: Reporter) -> set[_Ref]:
    """Move the rows that can't be chained for this reason, report them, and return which they were."""
    if not refs:
        return set()
    moved = {(row["tenant_id"], row["event_id"]) for row in await connection.fetch(_QUARANTINE, refs, why)}
    for tenant in {tenant for tenant, _ in moved}:
        reporter.note(
            tenant,
            kind=Kind.LEDGER_BROKEN,
            severity=Severity.CRITICAL,
            key=finding_key(Kind.LEDGER_BROKEN, "outbox"),
            detail={"what": "outbox"},
        )
    return moved


def _submitted(row: Record, keys: Sequence[SealKey]) -> Submitted | None:
    opened = (key.opens(row["event"], tenant=row["tenant_id"]) for key in keys)
    encoded = next((event for event in opened if event is not None), b"")
    try:
        prepared = parse(encoded)
        if prepared.event.id != row["event_id"]:
            raise refuse("id")
    except EventRefused:
        return None
    return Submitted(row["tenant_id"], prepared, outbox=True)
