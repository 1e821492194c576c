"""The budget of records, at the one door that gives receipts: what does not fit is not opened.

Rules: the number is known before anything is opened, and counted before it is entered; only access to PHI counts, once
for each record that somebody is given; what does not fit is entered as failed and refused as a whole; a broken glass is
counted and never stopped, for a life comes before a budget. The threat is a key that reads a whole collection
overnight, one permitted record at a time.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol, Unpack

from wellkeep.base.budget import Budget
from wellkeep.base.errors import BudgetExceeded
from wellkeep.base.permissions import Permission
from wellkeep.base.purpose import Purpose
from wellkeep.gate.acts import Decision
from wellkeep.gate.events import Facts

_TOO_MANY = "These are more records at once than the budget of an hour: ask for fewer, or have the budget widened"


class Failed(Protocol):
    """Enters that a permitted act failed."""

    def __call__(self, decision: Decision, *, error: str, **facts: Unpack[Facts]) -> Awaitable[None]:
        """Enter it, durably."""
        ...


async def must_fit(
    budget: Budget, decision: Decision, records: int, *, phi: frozenset[Permission], failed: Failed
) -> None:
    """Count so many `records`. Raises BudgetExceeded, on record, where they do not fit."""
    if not records or decision.act.permission not in phi:
        return
    blocks = decision.purpose is not Purpose.BREAK_GLASS
    short = await budget.spend(decision.caller.principal, records=records, blocks=blocks)
    if short is not None:
        await failed(decision, error=BudgetExceeded.code, count=records)
        raise BudgetExceeded(_TOO_MANY if short.wait is None else None, retry_after=short.wait)
