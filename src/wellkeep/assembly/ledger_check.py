"""Verifying the ledger as an act: the operator's on record, the deployment's own every five minutes.

Rules: what does not hold is a finding; what lies outside is read first (anchors, then what this host remembers), for
the ledger goes on meanwhile. On a database that is behind what this host remembers nothing is entered, and that is what
is found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from wellkeep.assembly.core import Core
from wellkeep.assembly.database import Database
from wellkeep.base.errors import NotFound
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.permissions import Permission
from wellkeep.db import schema
from wellkeep.db.dsn import Endpoint
from wellkeep.db.provision import connected
from wellkeep.db.schema import Difference
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.gate.acts import Act, Caller
from wellkeep.gate.events import event
from wellkeep.ledger.accounts import lowest
from wellkeep.ledger.actions import Action
from wellkeep.ledger.anchors.anchor import ALARMS
from wellkeep.ledger.anchors.gathering import gather
from wellkeep.ledger.anchors.status import AnchorStatus
from wellkeep.ledger.event import Outcome
from wellkeep.ledger.known import Known
from wellkeep.ledger.report import ANCHORS_STALE, HOLDS, TAMPERED, Bad, Report, What
from wellkeep.ledger.seal import log_of
from wellkeep.ledger.verified import Verified
from wellkeep.ledger.verify import Progress, verify
from wellkeep.ledger.verify_ranges import crew_of

_MOST_FINDINGS = 16
_CALLED = "SELECT id FROM wk.list_tenants() WHERE name = $1 OR id::text = $1"
_NOT_OURS = "what was verified before was not ours to believe, so everything was read"


@dataclass(frozen=True, slots=True)
class Extent:
    """What is to be verified: one tenant's logs or all; what came since a time, or since the last time; by how many."""

    tenant: UUID | None = None
    since: datetime | None = None
    since_last: bool = False
    jobs: int = 1


@dataclass(frozen=True, slots=True)
class Checked:
    """The report, how the anchors stand (None where they were not asked), and those that could not be asked.

    `schema` is what is not as the migrations make it: all that was read may hold, and somebody be shown less of it.
    """

    report: Report
    anchors: AnchorStatus | None = None
    unasked: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    schema: tuple[Difference, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether everything holds, and nothing changes who sees the ledger."""
        return self.report.ok and not any(one.of_ledger for one in self.schema)

    @property
    def exit_code(self) -> int:
        """Return HOLDS, TAMPERED or ANCHORS_STALE: also where one was altered, however many others keep up."""
        if not self.holds:
            return TAMPERED
        stale = self.anchors is not None and self.anchors.stale
        return ANCHORS_STALE if stale or ALARMS & set(self.unasked.values()) else HOLDS


async def check(core: Core, database: Database, extent: Extent, *, progress: Progress | None = None) -> Checked:
    """Verify, report what does not hold as findings, and remember how far it held; nothing is entered.

    Raises what the database raises where it could not be read.
    """
    outside = await gather(core.anchoring) if extent.tenant is None else None
    file = Verified(core.memory, keys=core.seal_keys, key=core.seal_key)
    before = await asyncio.to_thread(file.load)
    known = Known(
        core.seal_keys,
        signers=core.checkpoint_signers,
        remembered=await asyncio.to_thread(core.memory.load),
        anchored=() if outside is None else outside.notes,
        verified=(before or {}) if extent.since_last else {},
    )
    endpoint = database.endpoint("wk_migrate")
    if core.setbacks:
        endpoint = replace(endpoint, announce=None)  # nothing can be entered
    walked, differences = await _walked(core, endpoint, extent, known, progress)
    report = _with_setbacks(core, walked)
    checked = Checked(report, notes=(_NOT_OURS,) if before is None else (), schema=differences)
    if checked.holds and extent.since is None:
        await asyncio.to_thread(file.store, {**(before or {} if extent.tenant else {}), **report.ends})
    await _report(core, report)
    await _report_schema(core, differences)
    if outside is None:
        return checked
    return replace(checked, anchors=await core.anchoring.status(), unasked=outside.failed)


async def _walked(
    core: Core, endpoint: Endpoint, extent: Extent, known: Known, progress: Progress | None
) -> tuple[Report, tuple[Difference, ...]]:
    seeds = [key.secret for key in core.keys.checkpoints]
    async with (
        crew_of(extent.jobs, endpoint=endpoint, keys=known.keys, seeds=seeds) as crew,
        connected(endpoint) as connection,
    ):
        report = await verify(
            connection,
            keys=known.keys,
            known=known,
            tenant=extent.tenant,
            since=extent.since,
            progress=progress,
            crew=crew,
        )
        return report, tuple(await schema.differences(connection))


async def verify_on_record(
    core: Core, database: Database, caller: Caller, extent: Extent, *, progress: Progress | None = None
) -> Checked:
    """Verify as an operator, and enter the result in the root log, unless the database is behind.

    Raises Forbidden, and what the database raises where it could not be read.
    """
    about = str(extent.tenant) if extent.tenant else None
    act = Act(Permission.LEDGER_VERIFY, Action.LEDGER_VERIFIED, "ledger", resource_id=about)
    decision = await core.gate.decide(caller, act)
    checked = await check(core, database, extent, progress=progress)
    if not core.setbacks:
        outcome = Outcome.DONE if checked.holds else Outcome.FAILED
        entry = event(decision, outcome=outcome, count=checked.report.entries)
        await core.gate.enter(entry, tenant=PLATFORM_TENANT)
    return checked


async def tenant_called(core: Core, name: str) -> UUID:
    """Return the id of the tenant of that name or id, without an entry. Raises NotFound."""
    async with core.app.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
        found: UUID | None = await connection.fetchval(_CALLED, name)
    if found is None:
        raise NotFound("There is no such tenant. List them with: wellkeep tenant list")
    return found


def _with_setbacks(core: Core, report: Report) -> Report:
    """Return `report` with the logs in which the database is behind what this host remembers."""
    behind = [Bad(one.remembered.origin, one.size, What.REMEMBERED) for one in core.setbacks]
    return report.with_bad(lowest([*report.bad, *behind]))


async def _report(core: Core, report: Report) -> None:
    for bad in report.bad[:_MOST_FINDINGS]:
        tenant, epoch = log_of(bad.log)
        await core.findings.report(
            PLATFORM_TENANT,
            kind=Kind.LEDGER_BROKEN,
            severity=Severity.CRITICAL,
            key=finding_key(Kind.LEDGER_BROKEN, bad.what.value, tenant, epoch),
            detail={"log": str(tenant), "epoch": epoch, "seq": bad.seq, "what": bad.what.value},
        )


async def _report_schema(core: Core, differences: Sequence[Difference]) -> None:
    """Report what is not as the migrations make it; names are whoever's who gave them, so their digests stand there."""
    for difference in differences[:_MOST_FINDINGS]:
        named = sha256(difference.name.encode()).hexdigest()
        kind, how = difference.kind, difference.how.value
        await core.findings.report(
            PLATFORM_TENANT,
            kind=Kind.SCHEMA_CHANGED,
            severity=Severity.CRITICAL,
            key=finding_key(Kind.SCHEMA_CHANGED, kind, how, named),
            detail={"what": kind, "state": how, "place": difference.schema, "digest": named},
        )
