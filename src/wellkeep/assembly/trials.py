"""What probes saw, kept: a row for each trial of a claim, and an entry in the root log that holds the row's digest.

Rules: what is shown begins at the ledger, never at the rows: a trial whose row is gone, or is not what its entry holds,
is told as such, and whoever shows it calls the claim unknown. The threat is the hand at the database that makes a page
greener than the system is: it can neither edit a state nor drop the run that failed, for both are in the entry.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from wellkeep.base.clock import Clock
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.permissions import Permission
from wellkeep.db.pool import Pool
from wellkeep.gate.acts import Act, Caller
from wellkeep.gate.gate import Gate
from wellkeep.ledger.actions import Action

_KEEP = "INSERT INTO wk.evidence (tenant_id, id, claim, document) VALUES ($1, $2, $3, $4)"
_READ = """
WITH tried AS MATERIALIZED (
  SELECT l.resource_id AS claim, l."time", l.event_id, l.epoch, l.seq,
         convert_from(l.entry, 'UTF8')::jsonb -> 'event' AS event,
         row_number() OVER (PARTITION BY l.resource_id ORDER BY l.epoch DESC, l.seq DESC) AS place
  FROM ledger.entry AS l
  WHERE l.tenant_id = $1 AND l.action = 'prove.run' AND l.outcome = 'done' AND l."time" >= $2)
SELECT t.claim, t."time", t.event_id, t.epoch, t.seq, t.event #>> '{fields,0}' AS state,
       CASE WHEN encode(sha256(convert_to(e.document, 'UTF8')), 'hex') = t.event ->> 'digest' THEN e.document END
         AS document, NULL::date AS day, NULL::bigint AS runs
FROM tried AS t LEFT JOIN wk.evidence AS e ON e.tenant_id = $1 AND e.id = t.event_id AND e.claim = t.claim
WHERE t.place = 1
UNION ALL
SELECT claim, NULL, NULL, NULL, NULL, event #>> '{fields,0}', NULL, ("time" AT TIME ZONE 'UTC')::date, count(*)
FROM tried GROUP BY 1, 6, 8
"""


@dataclass(frozen=True, slots=True)
class Trial:
    """The newest trial of a claim, and the state that its entry says it ended in.

    `document` is None where what was kept is not what the entry holds of it.
    """

    claim: str
    at: datetime
    event: UUID
    epoch: int
    seq: int
    state: str | None
    document: str | None


@dataclass(frozen=True, slots=True)
class Day:
    """How many runs of a claim ended in `state` on a day (UTC), as their entries say."""

    claim: str
    day: date
    state: str | None
    runs: int


@dataclass(frozen=True, slots=True)
class Tried:
    """The newest trial of each claim, and how the runs of each day ended."""

    newest: tuple[Trial, ...]
    days: tuple[Day, ...]


class Trials:
    """Keeps what probes saw, and tells it to whoever shows it."""

    def __init__(self, *, gate: Gate, app: Pool, clock: Clock) -> None:
        """`app` is wk_app's pool."""
        self._gate = gate
        self._app = app
        self._clock = clock

    async def keep(self, caller: Caller, claim: str, document: str, *, state: str, steps: int) -> UUID:
        """Keep the document of one trial, in one transaction with its entry; returns the event of the entry.

        The entry says in which state (a lower-case word) it ended, so that a failure outlives its row.

        No PHI and no secret is in it. Raises Forbidden, LedgerUnavailable.
        """
        act = Act(Permission.PROVE_RUN, Action.PROVE_RUN, "claim", resource_id=claim)
        decision = await self._gate.decide(caller, act)
        digest = hashlib.sha256(document.encode()).digest()
        async with self._gate.transaction(decision) as work:
            event = work.record(count=steps, digest=digest, fields=(state,))
            await work.connection.execute(_KEEP, decision.tenant, event, claim, document)
        return event

    async def since(self, begin: datetime) -> Tried:
        """Return what was tried since then. Raises DatabaseUnavailable."""
        async with self._app.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            rows = await connection.fetch(_READ, PLATFORM_TENANT, begin)
        return Tried(
            newest=tuple(Trial(*tuple(row.values())[:7]) for row in rows if row["day"] is None),
            days=tuple(
                Day(row["claim"], row["day"], row["state"], row["runs"]) for row in rows if row["day"] is not None
            ),
        )
