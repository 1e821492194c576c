"""Legal holds as acts: while one stands, nothing of its tenant is pruned, and nothing it is over is erased.

Rules: a hold is its entry in the root log and nothing beside it, so none can be taken away without a trace, and none is
half placed by a crash. Once placing has returned, no erasure that did not see it is under way. Lifting one takes two
people, and the approval is used up in the transaction of the entry that counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from wellkeep.access.approvals import Approvals, Needing
from wellkeep.assembly.core import Core
from wellkeep.assembly.reason_keeping import keep_reason
from wellkeep.base.errors import ApprovalNeeded, NotFound
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.permissions import Permission
from wellkeep.gate.acts import Act, Caller
from wellkeep.gate.events import event
from wellkeep.ledger.actions import Action
from wellkeep.ledger.event import Outcome

_STANDING = "SELECT tenant_id, id, placed_at, subject_id FROM ledger.standing_holds()"
_AWAIT_ERASURES = "SELECT vault.await_erasures()"
_PATIENCE_SECONDS = 40.0
_PATIENCE = "SET LOCAL statement_timeout = '40s'"


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold that stands: whose, its id (the entry's event id), since when, and the patient if it is over one alone."""

    tenant: UUID
    id: UUID
    placed_at: datetime
    subject: UUID | None = None


async def place(core: Core, caller: Caller, *, tenant: UUID, reason: str, subject: UUID | None = None) -> UUID:
    """Put `tenant`, or one `subject` of it, under a legal hold and return its id; the platform's holds everything.

    Raises Forbidden, Validation for a reason that is none, LedgerUnavailable: then no hold stands. DatabaseUnavailable
    where an erasure that began before it did not end in time: the hold stands all the same.
    """
    act = Act(Permission.DEPLOYMENT_OPERATE, Action.HOLD_PLACED, "hold", str(tenant), subject=subject, tenant=tenant)
    decision = await core.gate.decide(caller, act)
    kept = await keep_reason(core, reason, request=caller.request)
    entry = event(decision, outcome=Outcome.DONE, reason=kept)
    # In the tenant's log, and last in the root log, whose word counts.
    for log in dict.fromkeys((tenant, PLATFORM_TENANT)):
        await core.gate.enter(entry, tenant=log)
    async with core.app.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
        await connection.execute(_PATIENCE)
        await connection.execute(_AWAIT_ERASURES, timeout=_PATIENCE_SECONDS)
    return entry.id


async def lift(core: Core, caller: Caller, *, hold: UUID, reason: str) -> UUID:
    """Lift a hold, once a second person approved, and return whose it was.

    Raises NotFound where it does not stand, ApprovalNeeded with the request that waits, and what `place` raises.
    """
    standing = {one.id: one for one in await holds(core)}
    if hold not in standing:
        raise NotFound("No such legal hold stands")
    one = standing[hold]
    approvals = Approvals(gate=core.gate, clock=core.clock)
    act = Act(Permission.DEPLOYMENT_OPERATE, Action.HOLD_LIFTED, "hold", str(hold), subject=one.subject)
    decision = await core.gate.decide(caller, act)
    async with core.gate.reading(decision) as connection:
        given = await approvals.given(connection, decision, Needing.HOLD_LIFT, target=str(hold))
    if not given:
        waiting = await approvals.request(decision, Needing.HOLD_LIFT, target=str(hold))
        raise ApprovalNeeded(
            f"Another person must approve this first: wellkeep approvals approve {waiting}. "
            "Then give this command again",
            resource=waiting,
        )
    kept = await keep_reason(core, reason, request=caller.request)
    async with core.gate.transaction(decision) as work:
        await approvals.use(work.connection, decision, Needing.HOLD_LIFT, target=str(hold))
        work.record(reason=kept)
        if one.tenant != PLATFORM_TENANT:
            work.record_elsewhere(one.tenant, reason=kept)
    return one.tenant


async def holds(core: Core) -> list[Hold]:
    """Return the holds that stand, the oldest first."""
    async with core.ledger.connection() as connection:
        return [
            Hold(row["tenant_id"], row["id"], row["placed_at"], row["subject_id"])
            for row in await connection.fetch(_STANDING)
        ]
