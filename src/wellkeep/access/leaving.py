"""Leavers: one act ends everything that a person could still do here, and says what it was.

Rules: in one transaction the person is let in no more, their sessions end (and with them what they have open in a
customer's account, or staff in theirs), their roles go, the keys that they made are revoked, and those that these keys
made or that took over from them; what they asked for or approved and was not used yet is withdrawn; a glass that they
broke is closed; they treat nobody any more. Nobody does this to themselves. Given again it ends what there is, which
may be nothing. The threat is the key that somebody made for themselves on their last day, and the half of a leaver's
access that each of five systems forgot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from wellkeep.access.away import away
from wellkeep.access.review_hands import is_behind
from wellkeep.base.errors import Forbidden, NotFound
from wellkeep.base.permissions import Permission
from wellkeep.db.connection import Connection, Record
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.gate.gate import Gate
from wellkeep.gate.transaction import GateTransaction
from wellkeep.ledger.actions import Action

_LOCK: Final = "SELECT state FROM access.person WHERE id = $1 FOR UPDATE"
_SESSIONS = "SELECT id FROM access.session WHERE person_id = $1 AND ended_at IS NULL ORDER BY id"
_STEPPED_IN = "SELECT id FROM access.impersonation WHERE person_id = $1 AND ended_at IS NULL ORDER BY id"
_GRANTS = """
UPDATE access.role_grant SET revoked_at = clock_timestamp(), revoked_by = $2
WHERE person_id = $1 AND revoked_at IS NULL RETURNING role
"""
_KEYS = """
WITH RECURSIVE made (id) AS (
  SELECT k.id FROM access.api_key AS k WHERE k.created_by = $1::uuid::text
  UNION
  SELECT k.id FROM made JOIN access.api_key AS k
    ON k.created_by = made.id::text OR k.id = (SELECT o.replaced_by FROM access.api_key AS o WHERE o.id = made.id)
)
SELECT k.id, k.revoked_at IS NULL AS stands FROM access.api_key AS k WHERE k.id IN (SELECT made.id FROM made)
ORDER BY k.id FOR UPDATE
"""
_REVOKE = "UPDATE access.api_key SET revoked_at = clock_timestamp() WHERE id = ANY ($1::uuid[]) AND revoked_at IS NULL"
_WITHDRAW = """
UPDATE access.approval SET state = 'expired'
WHERE state IN ('waiting', 'given') AND (requested_by = ANY ($1::text[]) OR decided_by = ANY ($1::text[])) RETURNING id
"""
_GLASSES = """
UPDATE access.break_glass SET ended_at = clock_timestamp()
WHERE person_id = $1 AND ended_at IS NULL AND ends_at > clock_timestamp() RETURNING id
"""
_TEAMS = """
UPDATE access.care_team SET removed_at = clock_timestamp(), removed_by = $2
WHERE person_id = $1 AND removed_at IS NULL RETURNING id
"""
_DISABLE = """
UPDATE access.person SET state = 'disabled', disabled_at = clock_timestamp() WHERE id = $1 AND state <> 'disabled'
RETURNING id
"""


@dataclass(frozen=True, slots=True)
class Left:
    """What ended with a person's leaving: ids, and the names of roles; `disabled`: they could sign in until now.

    `impersonations` are those of staff in this person's account; `care_teams` counts the patients they treated.
    """

    person: UUID
    disabled: bool
    sessions: list[UUID]
    roles: list[str]
    keys: list[UUID]
    approvals: list[UUID]
    impersonations: list[UUID]
    glasses: list[UUID]
    care_teams: int


class Leaving:
    """Ends what leavers could do."""

    def __init__(self, *, gate: Gate) -> None:
        """Act and record through `gate`."""
        self._gate = gate

    async def leave(self, caller: Caller, *, tenant: UUID, person: UUID) -> Left:
        """End everything that `person` could do; returns what it was. Raises NotFound, Forbidden for oneself."""
        decision = await self._decide(caller, tenant, person)
        async with self._gate.transaction(decision) as work:
            if await work.connection.fetchval(_LOCK, person) is None:
                raise NotFound("There is no such person")
            left = await _end_all(work.connection, person, by=caller.principal.id)
            _record(work, left)
        return left

    async def _decide(self, caller: Caller, tenant: UUID, person: UUID) -> Decision:
        """Decide in the tenant's own log; a tenant that nobody made has none, so its refusal is in the caller's."""
        named, there = await away(self._gate, caller, tenant)
        act = Act(Permission.USER_CHANGE, Action.USER_DISABLED, "person", str(person), tenant=named)
        decision = await self._gate.decide(caller, act)
        if not there:
            async with self._gate.reading(decision):  # whose credential was revoked is told nothing
                raise NotFound("There is no such tenant")
        async with self._gate.reading(decision) as connection:
            if await is_behind(connection, caller.principal, person):
                raise Forbidden("Nobody does this to themselves, nor by a key of theirs: ask another administrator")
        return decision


async def _end_all(connection: Connection, person: UUID, *, by: str) -> Left:
    """End it all, the person's row being locked: nobody signs in, and no role is given, meanwhile."""
    sessions = await _ids(connection, _SESSIONS, person)
    stepped_in = await _ids(connection, _STEPPED_IN, person)
    made = await _made(connection, person)
    keys = [UUID(int=row["id"].int) for row in made if row["stands"]]
    roles = [str(row["role"]) for row in await connection.fetch(_GRANTS, person, by)]
    await connection.execute(_REVOKE, keys)
    names = [f"person:{person}", *(f"api_key:{row['id']}" for row in made)]
    return Left(
        person=person,
        disabled=await connection.fetchval(_DISABLE, person) is not None,
        sessions=sessions,
        roles=sorted(roles),
        keys=keys,
        approvals=await _ids(connection, _WITHDRAW, names),
        impersonations=stepped_in,
        glasses=await _ids(connection, _GLASSES, person),
        care_teams=len(await connection.fetch(_TEAMS, person, by)),
    )


async def _made(connection: Connection, person: UUID) -> list[Record]:
    """Return the keys that a person made, and those that these made, locked: one made while we waited is seen, too."""
    made = list[Record]()
    while len(found := await connection.fetch(_KEYS, person)) > len(made):
        made = list(found)
    return made


async def _ids(connection: Connection, query: str, *arguments: object) -> list[UUID]:
    return [UUID(int=row["id"].int) for row in await connection.fetch(query, *arguments)]


def _record(work: GateTransaction, left: Left) -> None:
    """Record the leaving, and beside it each thing that ended under the action by which it is looked for."""
    work.record(count=len(left.sessions) + len(left.roles) + len(left.keys) + len(left.approvals) + len(left.glasses))
    if left.roles:
        work.record(action=Action.ROLE_REVOKED, fields=tuple(left.roles))
    for key in left.keys:
        work.record(action=Action.APIKEY_REVOKE, resource_type="api_key", resource_id=str(key))
    for glass in left.glasses:
        work.record(action=Action.GLASS_ENDED, resource_type="break_glass", resource_id=str(glass))
