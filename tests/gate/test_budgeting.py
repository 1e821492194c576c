"""The budget at the door of receipts: what does not fit gets none, is on record, and a broken glass goes through."""

from __future__ import annotations

from uuid import UUID

import msgspec
import pytest

from gate.trial import House, caller, reading
from wellkeep.base.budget import Short
from wellkeep.base.errors import BudgetExceeded
from wellkeep.base.ids import uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.principal import Principal
from wellkeep.base.purpose import Purpose
from wellkeep.gate.acts import Act, Caller, Decision, Reach
from wellkeep.ledger.event import Action


class Purse:
    """So many records, and then a wait of seven seconds."""

    def __init__(self, records: int) -> None:
        """Begin with `records`."""
        self.left = records

    async def spend(self, principal: Principal, *, records: int, blocks: bool) -> Short | None:  # noqa: ARG002 -- the port's
        """Count them."""
        if blocks and records > self.left:
            return Short(7)
        self.left -= records
        return None


async def decided(home: House, tenant: UUID) -> Decision:
    return await home.gate.decide(caller(tenant), reading())


async def test_beyond_the_budget_there_is_no_receipt_and_an_entry(home: House, tenant: UUID) -> None:
    home.gate._budget = purse = Purse(3)
    decision = await decided(home, tenant)
    shown = (uuid7(), uuid7())
    assert (await home.gate.disclose(decision, records=shown)).covers(shown[0])
    with pytest.raises(BudgetExceeded) as refused:
        await home.gate.disclose(decision, records=shown)
    assert (refused.value.retry_after, purse.left) == (7, 1)
    event = (await home.events(tenant))[-1]
    assert (event["outcome"], event["error"], event["count"]) == ("failed", "budget-exceeded", 2)
    assert "records" not in event


async def test_what_names_no_record_costs_nothing(home: House, tenant: UUID) -> None:
    home.gate._budget = Purse(0)
    await home.gate.disclose(await decided(home, tenant), count=5)


async def test_what_is_no_phi_costs_nothing(home: House, tenant: UUID) -> None:
    home.gate._budget = Purse(0)
    act = Act(Permission.LEDGER_READ, Action.LEDGER_READ, "entry")
    decision = await home.gate.decide(caller(tenant, "auditor"), act)
    await home.gate.disclose(decision, records=(uuid7(),))


async def test_a_broken_glass_is_counted_and_not_stopped(home: House, tenant: UUID) -> None:
    home.gate._budget = purse = Purse(0)
    decision = await decided(home, tenant)
    asked = Caller(decision.caller.principal, Purpose.BREAK_GLASS, uuid7())
    glass = msgspec.structs.replace(decision, caller=asked, purpose=Purpose.BREAK_GLASS, reach=Reach.ALL)
    await home.gate.disclose(glass, records=(uuid7(),))
    assert purse.left == -1


async def test_what_is_counted_is_what_is_shown_where_that_is_said(home: House, tenant: UUID) -> None:
    """A file's records leave together, and what is sealed again leaves not at all."""
    home.gate._budget = purse = Purse(5)
    decision, named = await decided(home, tenant), (uuid7(), uuid7())
    await home.gate.disclose(decision, shown=0, records=named)
    await home.gate.disclose(decision, shown=5, records=named)
    assert purse.left == 0
    with pytest.raises(BudgetExceeded):
        await home.gate.disclose(decision, shown=1, records=named)
    assert (await home.events(tenant))[-1]["count"] == 1
