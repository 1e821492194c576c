"""What one person may look at, and what waits for them: for the pages that people begin their day with.

Rules: what a person may do is asked of the policy, for what a page offers, never for what it does; each list is read
by the service that it belongs to, at the gate and on record. The threat is a page that shows in passing what its
reader could not have asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wellkeep.access.approvals import Approval, Approvals
from wellkeep.access.glass_reviews import Glass
from wellkeep.access.impersonation import Impersonation
from wellkeep.assembly.emergencies import Emergencies
from wellkeep.base.permissions import Permission
from wellkeep.findings.findings import Finding, listed_within
from wellkeep.gate.acts import Act, Caller
from wellkeep.gate.gate import Gate
from wellkeep.ledger.actions import Action

_WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is open in a tenant, the newest first; None is a list that is not the reader's to see.

    `approvals` are those that nobody has decided yet, `glasses` those that nobody has reviewed, `inside` those of the
    staff who are in somebody's account now.
    """

    findings: Sequence[Finding] | None
    approvals: Sequence[Approval] | None
    glasses: Sequence[Glass] | None
    inside: Sequence[Impersonation] | None

    @property
    def lists(self) -> tuple[Sequence[object] | None, ...]:
        """Return all four."""
        return (self.findings, self.approvals, self.glasses, self.inside)

    @property
    def clear(self) -> bool:
        """Say whether nothing waits in what may be seen."""
        return not any(self.lists)


class Desk:
    """Gathers them."""

    def __init__(self, *, gate: Gate, approvals: Approvals, emergencies: Emergencies) -> None:
        """Ask the services that each list belongs to."""
        self._gate = gate
        self._approvals = approvals
        self._emergencies = emergencies

    async def offers(self, caller: Caller) -> frozenset[Permission]:
        """Return what the caller may do in their own tenant, as far as the policy alone says; nothing is entered.

        A second factor that would have to be shown once more counts as shown. Raises DatabaseUnavailable.
        """
        tenant = caller.principal.tenant
        settings = self._gate.tenants.known(tenant) or await self._gate.tenants.load(tenant)
        decisions = (
            self._gate.policy.decide(caller, Act(permission, Action.ACCOUNT_READ, "page"), settings=settings)
            for permission in Permission
        )
        return frozenset(one.act.permission for one in decisions if one.allowed or one.rule == "deny:step-up")

    async def waiting(self, caller: Caller, offers: frozenset[Permission]) -> Waiting:
        """Return what waits, of what `offers` says is the caller's. Raises Forbidden, LedgerUnavailable."""
        findings, approvals, glasses, inside = None, None, None, None
        if Permission.FINDING_READ in offers:
            findings = await self.findings(caller)
        if Permission.APPROVAL_READ in offers:
            approvals = [one for one in await self._approvals.listed(caller) if one.state == _WAITING]
        if Permission.GLASS_READ in offers:
            glasses = await self._emergencies.reviews.listed(caller, waiting=True)
        if Permission.IMPERSONATION_READ in offers:
            inside = [one for one in await self._emergencies.impersonations.listed(caller) if one.live]
        return Waiting(findings, approvals, glasses, inside)

    async def findings(self, caller: Caller) -> list[Finding]:
        """Return the open findings of the caller's own tenant, the newest first. Raises Forbidden."""
        decision = await self._gate.decide(caller, Act(Permission.FINDING_READ, Action.FINDING_READ, "finding"))
        async with self._gate.reading(decision) as connection:
            found = await listed_within(connection)
        await self._gate.disclose(decision, count=len(found))
        return found
