"""Erasure of a whole tenant: its keys in one transaction, by two people, and the rest in a sweep that can be resumed.

Rules: the tenant is closed before, so nobody writes; from the commit on nothing of it opens, whatever is still there,
and a tombstone says so; the sweep only takes away what is worthless already. The ledger stays, and verifies: its seals
are the deployment's. The threat is a customer half erased, and one erased by a single person.
"""

from __future__ import annotations

from uuid import UUID

from wellkeep.access.approvals import Approvals, Needing
from wellkeep.base.clock import Clock
from wellkeep.base.errors import ApprovalNeeded, Conflict, LedgerUnavailable, LegalHold, NotFound
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.permissions import Permission
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.gate.gate import Gate
from wellkeep.gate.transaction import GateTransaction
from wellkeep.ledger.event import Action
from wellkeep.vault.calls import NIL
from wellkeep.vault.erasure import AlreadyErased, Erased, Remember, tell, told_of, until_done

_STATE = "SELECT state FROM wk.tenants WHERE id = $1"
_THERE = "SELECT EXISTS (SELECT FROM vault.tombstone WHERE subject_id = $1)"
_HOLD_BACK = "LOCK TABLE vault.tombstone IN ROW EXCLUSIVE MODE"
_HELD = "SELECT vault.held(NULL)"
_PATIENCE = "SET LOCAL statement_timeout = '10min'"
_PATIENCE_SECONDS = 600.0
_ERASE = "SELECT vault.erase_keys($1, $2, $3)"
_RESOURCE = "tenant"


class TenantErasures:
    """Erases tenants that are closed."""

    def __init__(self, *, gate: Gate, approvals: Approvals, clock: Clock, remember: Remember) -> None:
        """Tell `remember` what was erased before anybody is answered."""
        self._gate = gate
        self._approvals = approvals
        self._clock = clock
        self._remember = remember

    async def erase(self, caller: Caller, tenant: UUID) -> None:
        """Erase a tenant, once a second person approved: its keys, and with them everything; again changes nothing.

        Raises NotFound, Conflict for one that is not closed, LegalHold, ApprovalNeeded with the request that waits.
        """
        act = Act(Permission.TENANT_ERASE, Action.TENANT_ERASED, _RESOURCE, str(tenant), tenant=tenant)
        decision = await self._gate.decide(caller, act)
        try:
            await self.erase_decided(decision)
        except ApprovalNeeded:
            waiting = await self._approvals.request(decision, Needing.TENANT_ERASE, target=str(tenant))
            raise ApprovalNeeded(
                f"Another person must approve this first: wellkeep approvals approve {waiting}. "
                "Then give this command again",
                resource=waiting,
            ) from None

    async def erase_decided(self, decision: Decision, *, again: bool = False) -> None:
        """Take the keys under a decision; `again` for an older database: approved it was before. As `erase` raises."""
        await until_done(lambda: self._erase(decision, again=again))

    async def _erase(self, decision: Decision, *, again: bool) -> None:
        now = self._clock.now()
        tenant = decision.tenant
        told: list[Erased] = []
        try:
            async with self._gate.transaction(decision) as work:
                await self._check(work, again=again)
                event = work.record()
                # The tenant's log says it; the root log says it to whoever looks from outside. Both commit with it.
                work.record_elsewhere(PLATFORM_TENANT)
                await work.connection.execute(_PATIENCE)
                await work.connection.fetchval(_ERASE, event, now, again, timeout=_PATIENCE_SECONDS)
                await work.renew()  # taking a million keys may have outlived the context, and the entries need one
                told = [Erased(tenant, NIL, event, now)]
        except AlreadyErased as before:
            await tell(self._remember, before.told)
            return
        except LedgerUnavailable:
            if told and work.ended:
                await tell(self._remember, told)
            raise
        await tell(self._remember, told)

    async def _check(self, work: GateTransaction, *, again: bool) -> None:
        connection, tenant = work.connection, work.decision.tenant
        state = await connection.fetchval(_STATE, tenant)
        if state is None:
            raise NotFound("There is no such tenant")
        await connection.execute(_HOLD_BACK)
        if await connection.fetchval(_THERE, NIL):
            raise AlreadyErased(await told_of(connection, tenant, NIL))
        if again:
            return
        if state != "closed":
            raise Conflict("Close this tenant first: wellkeep tenant close")
        if await connection.fetchval(_HELD):
            raise LegalHold("A legal hold stands over this tenant, one of its patients or everybody: nothing is erased")
        await self._approvals.use(connection, work.decision, Needing.TENANT_ERASE, target=str(tenant))
