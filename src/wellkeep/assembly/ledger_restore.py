"""Accepting a restored database as an act: the operator's, with a reason, on record in every log that lost entries."""

from __future__ import annotations

from wellkeep.assembly.core import Core
from wellkeep.assembly.reason_keeping import keep_reason
from wellkeep.base.errors import Conflict
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.permissions import Permission
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.gate.acts import Act, Caller
from wellkeep.gate.events import event
from wellkeep.ledger.actions import Action
from wellkeep.ledger.append import Appender
from wellkeep.ledger.event import Outcome
from wellkeep.ledger.restore import Reopened, accept, remembered_after
from wellkeep.ledger.setback import heads_of
from wellkeep.ledger.splice import Splicer


async def accept_restore(core: Core, caller: Caller, *, reason: str) -> list[Reopened]:
    """Go on from the database as it is; return the logs that lost entries and their new epochs.

    `core` was opened with `behind`. Where only what is remembered can't be read, that is entered in the root log, and
    no log gets a new epoch. Raises Conflict where nothing is behind, Validation for a reason that is none,
    Forbidden, and LedgerUnavailable where something else writes to the ledger.
    """
    if not core.setbacks and not core.recording.odd:
        raise Conflict("The ledger is what this host remembers of it: there is no restore to accept")
    act = Act(Permission.DEPLOYMENT_OPERATE, Action.LEDGER_RESTORED, "ledger")
    decision = await core.gate.decide(caller, act)
    told = event(decision, outcome=Outcome.DONE, reason=await keep_reason(core, reason, request=caller.request))
    splicer = Splicer(host=core.settings.host, seal_key=core.seal_key)
    async with core.ledger.connection() as connection:
        appender = Appender(splicer, clock=core.clock, reporter=core.findings)
        reopened = await accept(connection, appender, core.setbacks, told=told)
        core.memory.replace(remembered_after(await heads_of(connection)))
    await core.findings.report(
        PLATFORM_TENANT,
        kind=Kind.LEDGER_BEHIND,
        severity=Severity.HIGH,
        key=finding_key(Kind.LEDGER_BEHIND, "accepted", told.request),
        detail={"what": "accepted", "count": len(reopened), "request": str(told.request)},
    )
    return reopened
