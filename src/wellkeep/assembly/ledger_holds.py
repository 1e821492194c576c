"""Legal holds as acts: while one stands, nothing of its tenant is pruned. Placed and lifted with a reason, recorded.

Rule: a hold is its entry in the root log and nothing beside it, so none can be taken away without a trace, and none is
half placed by a crash.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from wellkeep.assembly.core import Core
from wellkeep.assembly.reason_keeping import keep_reason
from wellkeep.base.errors import NotFound
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.permissions import Permission
from wellkeep.gate.acts import Act, Caller
from wellkeep.gate.events import event
from wellkeep.ledger.actions import Action
from wellkeep.ledger.event import Event, Outcome

_STANDING = "SELECT tenant_id, id, placed_at FROM ledger.standing_holds()"


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold that stands: whose, its id (the entry's event id), and since when."""

    tenant: UUID
    id: UUID
    placed_at: datetime


async def place(core: Core, caller: Caller, *, tenant: UUID, reason: str) -> UUID:
    """Put `tenant` under a legal hold and return the hold's id; the platform tenant's holds everything.

    Raises Forbidden, Validation for a reason that is none, LedgerUnavailable: then no hold stands.
    """
    entry = await _entry(core, caller, Action.HOLD_PLACED, tenant, reason)
    await _enter(core, entry, tenant)
    return entry.id


async def lift(core: Core, caller: Caller, *, hold: UUID, reason: str) -> UUID:
    """Lift a hold and return whose it was. Raises NotFound where it does not stand, and what `place` raises."""
    standing = {one.id: one for one in await holds(core)}
    if hold not in standing:
        raise NotFound("No such legal hold stands")
    tenant = standing[hold].tenant
    entry = await _entry(core, caller, Action.HOLD_LIFTED, tenant, reason, hold)
    await _enter(core, entry, tenant)
    return tenant


async def holds(core: Core) -> list[Hold]:
    """Return the holds that stand, the oldest first."""
    async with core.ledger.connection() as connection:
        return [Hold(row["tenant_id"], row["id"], row["placed_at"]) for row in await connection.fetch(_STANDING)]


async def _entry(
    core: Core, caller: Caller, action: Action, tenant: UUID, reason: str, hold: UUID | None = None
) -> Event:
    act = Act(Permission.DEPLOYMENT_OPERATE, action, "hold", resource_id=str(hold or tenant), tenant=tenant)
    decision = await core.gate.decide(caller, act)
    return event(decision, outcome=Outcome.DONE, reason=await keep_reason(core, reason, request=caller.request))


async def _enter(core: Core, entry: Event, tenant: UUID) -> None:
    """Enter it in the tenant's log, and last in the root log, whose word counts."""
    for log in dict.fromkeys((tenant, PLATFORM_TENANT)):
        await core.gate.enter(entry, tenant=log)
