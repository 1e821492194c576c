"""In which tenant an act is decided that names one: another's, or one that nobody made.

Rule: a tenant that nobody made has no log, so to the platform, which may know, its refusal stands in the platform's
own. Whoever is not of the platform is refused as for any tenant that is not theirs: the answer tells nobody which
customers there are.
"""

from __future__ import annotations

from uuid import UUID

from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.gate.acts import Caller
from wellkeep.gate.gate import Gate


async def away(gate: Gate, caller: Caller, tenant: UUID) -> tuple[UUID | None, bool]:
    """Return the tenant that an act upon `tenant` names (None: the caller's own), and whether `tenant` is there.

    Raises DatabaseUnavailable.
    """
    there, home = (await gate.tenants.load(tenant)).exists, caller.principal.tenant
    named = tenant != home and (there or home != PLATFORM_TENANT)
    return tenant if named else None, there
