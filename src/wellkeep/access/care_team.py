"""Care teams: which persons treat which patients, put there and taken out by whoever may, each an entry.

Rules: nobody takes themself into a team, nor by a key of theirs; a member is a person of the same tenant who was not
disabled, the patient one who was not erased; patients that were merged have one team. Taking somebody out holds with
the next request of theirs, and the row stays: who belonged to a team at any time can be told. Ids alone, of persons
and of patients.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from wellkeep.access.review_hands import is_behind
from wellkeep.base.clock import Clock
from wellkeep.base.errors import Conflict, FieldProblem, Forbidden, NotFound, SubjectErased, Validation
from wellkeep.base.ids import uuid7
from wellkeep.base.permissions import Permission
from wellkeep.db.connection import Connection
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.gate.gate import Gate
from wellkeep.ledger.actions import Action

_SUBJECT = "SELECT coalesce(merged_into, id) AS root, erased_at FROM vault.subject WHERE id = $1"
_PERSON = "SELECT state FROM access.person WHERE id = $1"
_LIST = """
SELECT t.person_id AS person, t.since, t.until, t.added_by FROM access.care_team AS t
WHERE t.removed_at IS NULL AND (t.until IS NULL OR t.until > $2)
  AND t.subject_id IN (SELECT s.id FROM vault.subject AS s WHERE s.id = $1 OR s.merged_into = $1)
ORDER BY t.since, t.id LIMIT 1000
"""
_RETIRE = """
UPDATE access.care_team SET removed_at = $3, removed_by = 'time'
WHERE person_id = $1 AND subject_id = $2 AND removed_at IS NULL AND until <= $3
"""
_ADD = """
INSERT INTO access.care_team (tenant_id, id, person_id, subject_id, since, until, added_by)
VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING id
"""
_REMOVE = """
UPDATE access.care_team AS t SET removed_at = $3, removed_by = $4
WHERE t.person_id = $1 AND t.removed_at IS NULL
  AND t.subject_id IN (SELECT s.id FROM vault.subject AS s WHERE s.id = $2 OR s.merged_into = $2)
RETURNING t.id
"""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One person of a patient's care team; `until` is when that ends by itself, None where it does not."""

    person: UUID
    since: datetime
    until: datetime | None
    added_by: str


class CareTeams:
    """The care teams of a tenant's patients."""

    def __init__(self, *, gate: Gate, clock: Clock) -> None:
        """Act through `gate`."""
        self._gate = gate
        self._clock = clock

    async def members(self, caller: Caller, subject: UUID) -> list[Member]:
        """Return who is in the patient's team, the longest first, at most 1,000. Raises NotFound, SubjectErased."""
        decision = await self._decide(caller, Permission.TEAM_READ, Action.TEAM_READ, subject)
        async with self._gate.transaction(decision) as work:
            root = await _root(work.connection, subject)
            rows = await work.connection.fetch(_LIST, root, self._clock.now())
            work.record(count=len(rows))
        return [Member(**dict(row)) for row in rows]

    async def add(self, caller: Caller, subject: UUID, *, person: UUID, until: datetime | None = None) -> Member:
        """Put `person` into the patient's team, until a time or until taken out.

        Raises NotFound, SubjectErased, Conflict for a member or a disabled person, Forbidden for oneself, Validation.
        """
        decision = await self._decide(caller, Permission.TEAM_CHANGE, Action.TEAM_CHANGED, subject)
        now = self._clock.now()
        if until is not None and until <= now:
            raise Validation(fields=(FieldProblem("/until", "out-of-range"),))
        added_by = caller.principal.id
        async with self._gate.transaction(decision) as work:
            if await is_behind(work.connection, caller.principal, person):
                raise Forbidden("Nobody takes themself into a care team, nor by their key: ask a colleague who may")
            root = await _root(work.connection, subject)
            state = await work.connection.fetchval(_PERSON, person)
            if state is None:
                raise NotFound("There is no person of this id")
            if state == "disabled":
                raise Conflict("This person is disabled")
            await work.connection.execute(_RETIRE, person, root, now)
            row = (decision.tenant, uuid7(), person, root, now, until, added_by)
            if await work.connection.fetchval(_ADD, *row) is None:
                raise Conflict("This person is in the team already")
            work.record(resource_type="person", resource_id=str(person), fields=("added",))
        return Member(person=person, since=now, until=until, added_by=added_by)

    async def remove(self, caller: Caller, subject: UUID, *, person: UUID) -> None:
        """Take `person` out of the patient's team, from the next request on. Raises NotFound."""
        decision = await self._decide(caller, Permission.TEAM_CHANGE, Action.TEAM_CHANGED, subject)
        async with self._gate.transaction(decision) as work:
            root = await _root(work.connection, subject, erased_too=True)
            gone = await work.connection.fetch(_REMOVE, person, root, self._clock.now(), caller.principal.id)
            if not gone:
                raise NotFound("This person is not in the team")
            work.record(resource_type="person", resource_id=str(person), fields=("removed",))

    async def _decide(self, caller: Caller, permission: Permission, action: Action, subject: UUID) -> Decision:
        return await self._gate.decide(caller, Act(permission, action, "subject", str(subject), subject=subject))


async def _root(connection: Connection, subject: UUID, *, erased_too: bool = False) -> UUID:
    """Return the id that the patient is found under; raises NotFound, SubjectErased."""
    row = await connection.fetchrow(_SUBJECT, subject)
    if row is None:
        raise NotFound("There is no subject of this id")
    if row["erased_at"] is not None and not erased_too:
        raise SubjectErased
    root: UUID = row["root"]
    return root
