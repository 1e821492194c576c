"""Why an operator did something: sealed beside the ledger before the entry that holds its hash.

Rule: the row comes first, so that no entry is without its reason; a row without its entry, after a crash, is harmless.
"""

from __future__ import annotations

from uuid import UUID

from wellkeep.assembly.core import Core
from wellkeep.base.ids import PLATFORM_TENANT

_KEEP = "SELECT ledger.add_reason($1, $2, $3)"


async def keep_reason(core: Core, reason: str, *, request: UUID) -> bytes:
    """Keep the reason of the act whose entries have this `request`, and return the 32 bytes that they hold of it.

    Raises Validation for a reason that is none, and what the database raises.
    """
    sealed = core.reasons.seal(reason, tenant=PLATFORM_TENANT, event=request)
    async with core.ledger.connection() as connection:
        await connection.execute(_KEEP, PLATFORM_TENANT, request, sealed.sealed)
    return sealed.digest
