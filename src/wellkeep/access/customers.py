"""What staff of the platform may not do in a customer's tenant: let anybody in.

Rules: a key or a person of the platform makes no key there, invites nobody, gives no role, opens no account and
registers no provider: the customer's own administrator does. Where nobody ever was, person or key, and so nothing is
stored, they found it: one invitation at a time, of an administrator whose roles open no PHI, until the first of them
joined. A tenant that was founded stays founded when its administrators are gone, for whoever can take the last one away
could found it anew for themselves; the operator at the machine lets them in again, as whoever has the host can anyhow.
A refusal stands in the customer's own log. The threat is staff who give themselves, or a friend, an account that reads
a customer's patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from wellkeep.base.errors import Forbidden
from wellkeep.base.permissions import Permission
from wellkeep.base.principal import ActorType
from wellkeep.db.connection import Connection
from wellkeep.gate.acts import Decision
from wellkeep.gate.custom_roles import opening
from wellkeep.gate.gate import Gate
from wellkeep.gate.policy import RoleSet

_REMOTE: Final = frozenset({ActorType.API_KEY, ActorType.PERSON})
_THEIRS: Final = "The customer's own administrator does this, or the operator at the machine"
_HOLD: Final = """
INSERT INTO access.tenant_rules (tenant_id, changed_at, changed_by) VALUES (wk.tenant(), clock_timestamp(), $1)
ON CONFLICT DO NOTHING
"""
_HELD: Final = "SELECT FROM access.tenant_rules FOR UPDATE"
_FOUNDED: Final = """
SELECT EXISTS (SELECT FROM access.person WHERE joined_at IS NOT NULL)
  OR EXISTS (SELECT FROM access.api_key)
  OR EXISTS (SELECT FROM access.invitation
    WHERE used_at IS NULL AND expires_at > clock_timestamp() AND person_id IS DISTINCT FROM $1)
"""
_ROLES: Final = """
SELECT role FROM access.role_grant WHERE person_id = $1 AND revoked_at IS NULL
  AND (expires_at IS NULL OR expires_at > clock_timestamp())
"""


def is_staff(decision: Decision) -> bool:
    """Say whether `decision` is of somebody of the platform, not at the machine, in a customer's tenant."""
    principal = decision.caller.principal
    return principal.tenant != decision.tenant and principal.type in _REMOTE


async def must_be_theirs(gate: Gate, decision: Decision) -> None:
    """Refuse, on record in the customer's log, to staff what lets somebody in there.

    Raises Forbidden, Unauthenticated where their own credential was revoked meanwhile.
    """
    if is_staff(decision):
        async with gate.reading(decision):
            raise Forbidden(_THEIRS)


async def must_found(
    connection: Connection,
    decision: Decision,
    roles: Sequence[str] | None,
    *,
    known: RoleSet,
    person: UUID | None = None,
) -> None:
    """Refuse to staff an invitation that does not found the tenant that `connection` has entered.

    `roles` are those to be invited with; None: those that `person`, who was invited before, has. Two at once wait for
    each other. Raises Forbidden.
    """
    if not is_staff(decision):
        return
    await connection.execute(_HOLD, decision.caller.principal.id)
    await connection.execute(_HELD)
    if roles is None:
        roles = [row["role"] for row in await connection.fetch(_ROLES, person)]
    given = [known.roles.get(name) for name in roles]
    blind = all(role is not None and not role.permissions & opening(known) for role in given)
    runs = any(role is not None and Permission.USER_CREATE in role.permissions for role in given)
    if not (blind and runs):
        raise Forbidden(f"{_THEIRS}; you invite their first administrator, with no role that opens PHI")
    if await connection.fetchval(_FOUNDED, person):
        raise Forbidden(f"{_THEIRS}: somebody was let in already, or an invitation is open")
