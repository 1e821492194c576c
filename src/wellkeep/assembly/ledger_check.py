"""Verifying the ledger as an act: the operator's, on record, its failure a finding."""

from __future__ import annotations

from uuid import UUID

from wellkeep.assembly.core import Core
from wellkeep.assembly.database import Database
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.permissions import Permission
from wellkeep.db.provision import connected
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.gate.acts import Act, Caller
from wellkeep.gate.events import event
from wellkeep.ledger.actions import Action
from wellkeep.ledger.event import Outcome
from wellkeep.ledger.report import Report
from wellkeep.ledger.verify import Progress, verify


async def verify_on_record(
    core: Core, database: Database, caller: Caller, *, tenant: UUID | None, progress: Progress | None = None
) -> Report:
    """Verify one tenant's log or all of them, and enter the result in the root log.

    Raises Forbidden, and what the database raises where it could not be read.
    """
    act = Act(Permission.LEDGER_VERIFY, Action.LEDGER_VERIFIED, "ledger", resource_id=str(tenant) if tenant else None)
    decision = await core.gate.decide(caller, act)
    async with connected(database.endpoint("wk_migrate")) as connection:
        report = await verify(connection, keys=core.seal_keys, tenant=tenant, progress=progress)
    outcome = Outcome.DONE if report.ok else Outcome.FAILED
    if report.first_bad is not None:
        await core.findings.report(
            tenant or PLATFORM_TENANT,
            kind=Kind.LEDGER_BROKEN,
            severity=Severity.CRITICAL,
            key=finding_key(Kind.LEDGER_BROKEN, str(report.first_bad.seq)),
            detail={"seq": report.first_bad.seq, "what": report.first_bad.what.value},
        )
    await core.gate.enter(event(decision, outcome=outcome, count=report.entries), tenant=PLATFORM_TENANT)
    return report
