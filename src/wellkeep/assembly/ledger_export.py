"""Exporting the ledger as an act: the operator's, on record with the digest of what was written before it appears."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wellkeep.assembly.core import Core
from wellkeep.assembly.database import Database
from wellkeep.base.errors import IntegrityBroken
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.permissions import Permission
from wellkeep.db.provision import connected
from wellkeep.gate.acts import Act, Caller
from wellkeep.gate.events import event
from wellkeep.ledger.actions import Action
from wellkeep.ledger.event import Outcome
from wellkeep.ledger.export import Wanted, Written, export
from wellkeep.ledger.export_log import Keys, Progress
from wellkeep.ledger.offline import verify_export
from wellkeep.ledger.retention import MonthRun
from wellkeep.ledger.verify import one_state


async def export_on_record(
    core: Core, database: Database, caller: Caller, top: Path, wanted: Wanted, *, progress: Progress | None = None
) -> Written:
    """Export to `top`, enter that with the digest of the manifest, and put it in its place.

    Raises Forbidden, LedgerUnavailable, Conflict where `top` is not empty, IntegrityBroken where a log does not hold.
    """
    about = str(wanted.tenant) if wanted.tenant else None
    act = Act(Permission.DEPLOYMENT_OPERATE, Action.LEDGER_EXPORTED, "ledger", resource_id=about)
    decision = await core.gate.decide(caller, act)
    keys = Keys(core.checkpoint_signers, core.seal_keys)
    async with connected(database.endpoint("wk_migrate")) as connection, one_state(connection):
        written = await export(connection, top, wanted, keys=keys, now=core.clock.now(), progress=progress)
    entry = event(decision, outcome=Outcome.DONE, count=written.entries, digest=written.digest)
    await core.gate.enter(entry, tenant=PLATFORM_TENANT)
    await asyncio.to_thread(written.publish)
    return written


async def export_month(
    core: Core, database: Database, caller: Caller, top: Path, *, month: str, runs: Sequence[MonthRun]
) -> Written:
    """Export each log of a month up to the end of its run, and verify what was written: before it is pruned.

    Raises what `export_on_record` raises, and IntegrityBroken where the export does not hold.
    """
    sizes = {(run.tenant, run.epoch): run.upto for run in runs}
    written = await export_on_record(core, database, caller, top, Wanted(month=month, sizes=sizes))
    vkeys = [signer.vkey(run.origin) for signer in core.checkpoint_signers for run in runs[:1]]
    report = await verify_export(top, vkeys=vkeys, keys=core.seal_keys)
    if not report.ok:
        raise IntegrityBroken(f"The export in {top} does not hold. See: wellkeep ledger verify --offline {top}")
    return replace(written, staging=top)
