"""Dealing with what was noticed: the operator's act, each of it an entry in the log of the tenant it was about."""

from __future__ import annotations

from collections.abc import Sequence

from wellkeep.assembly.core import Core
from wellkeep.assembly.database import Database
from wellkeep.base.errors import Conflict, NotFound
from wellkeep.base.permissions import Permission
from wellkeep.db.provision import connected
from wellkeep.findings.findings import Finding, platform_findings
from wellkeep.gate.acts import Act, Caller
from wellkeep.ledger.actions import Action

_MOST = 10_000
_RESOLVE = "UPDATE findings.finding SET resolved_at = $2 WHERE id = $1 AND resolved_at IS NULL RETURNING id"


async def resolve(core: Core, database: Database, caller: Caller, names: Sequence[str]) -> list[Finding]:
    """Mark the findings called `names` (key or id) as dealt with; return those that were open until now.

    All are looked up before the first is touched. Raises NotFound where there is none of a name, Conflict where several
    tenants have one of that key, Forbidden, LedgerUnavailable.
    """
    async with connected(database.endpoint("wk_migrate")) as connection:
        known = await platform_findings(connection, open_only=False, limit=_MOST)
    chosen = {found.id: found for name in names for found in _named(known, name)}
    still_open = [found for found in chosen.values() if found.resolved_at is None]
    return [found for found in still_open if await _resolve(core, caller, found)]


def _named(known: Sequence[Finding], name: str) -> list[Finding]:
    found = [one for one in known if name in (one.key, str(one.id))]
    if not found:
        raise NotFound("There is no finding of this key or id. List them with: wellkeep findings --all --json")
    if len(found) > 1:
        raise Conflict("Several tenants have a finding of this key. Name the one you mean by its id")
    return found


async def _resolve(core: Core, caller: Caller, finding: Finding) -> bool:
    """Resolve one; False where somebody else was faster, which is on record too."""
    act = Act(
        Permission.DEPLOYMENT_OPERATE,
        Action.FINDING_RESOLVE,
        "finding",
        resource_id=str(finding.id),
        tenant=None if finding.tenant == caller.principal.tenant else finding.tenant,
    )
    decision = await core.gate.decide(caller, act)
    async with core.gate.transaction(decision) as work:
        done = await work.connection.fetchval(_RESOLVE, finding.id, core.clock.now())
        work.record(count=int(done is not None))
    return done is not None
