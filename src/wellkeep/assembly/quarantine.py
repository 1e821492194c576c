"""What can never be chained: the outbox rows that were moved out of the way, told without what they hold.

Rule: nothing of a row's content is read into the process but its length. Such a row is either no event of ours or an
event under an id that is taken, so nobody knows what stands in it. Looking is an entry of the root log.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from wellkeep.assembly.core import Core
from wellkeep.assembly.database import Database
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.permissions import Permission
from wellkeep.db.provision import connected
from wellkeep.gate.acts import Act, Caller
from wellkeep.gate.events import event
from wellkeep.ledger.actions import Action
from wellkeep.ledger.event import Outcome

_BECOME_OWNER = "SET LOCAL ROLE wk_owner"
_LIST = """
SELECT q.tenant_id, q.event_id, q.reason, pg_catalog.octet_length(q.event) AS size, q.created_at,
       EXISTS (SELECT FROM ledger.entry AS i WHERE i.tenant_id = q.tenant_id AND i.event_id = q.event_id) AS chained
FROM ledger.quarantine AS q WHERE $1::uuid IS NULL OR q.tenant_id = $1
ORDER BY q.created_at, q.tenant_id, q.event_id
"""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One row; `reason` is form or taken, `size` in bytes, `chained` whether the id stands in the ledger."""

    tenant: UUID
    event: UUID
    reason: str
    size: int
    created_at: datetime
    chained: bool


async def quarantined(core: Core, database: Database, caller: Caller, *, tenant: UUID | None) -> list[Quarantined]:
    """Return the rows of one tenant or of all, oldest first, on record. Raises Forbidden, LedgerUnavailable."""
    act = Act(
        Permission.DEPLOYMENT_OPERATE, Action.LEDGER_READ, "quarantine", resource_id=str(tenant) if tenant else None
    )
    decision = await core.gate.decide(caller, act)
    async with connected(database.endpoint("wk_migrate")) as connection, connection.transaction(readonly=True):
        await connection.execute(_BECOME_OWNER)
        rows = await connection.fetch(_LIST, tenant)
    await core.gate.enter(event(decision, outcome=Outcome.DONE, count=len(rows)), tenant=PLATFORM_TENANT)
    return [
        Quarantined(row["tenant_id"], row["event_id"], row["reason"], row["size"], row["created_at"], row["chained"])
        for row in rows
    ]
