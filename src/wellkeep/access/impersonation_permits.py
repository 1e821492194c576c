"""The customer's own word that staff who step in may see what is masked otherwise: for days, and taken back at once.

Rules: a person of the tenant gives it, signed in and with a second factor shown just now; a key does not, for the
deployment's staff can make keys of any tenant. It names one account, or is for all; it lasts seven days at most. Taken
back, it ends what was begun under it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from wellkeep.base.errors import FieldProblem, Internal, NotFound, Validation
from wellkeep.base.ids import uuid7
from wellkeep.base.permissions import Permission
from wellkeep.db.connection import Record
from wellkeep.gate.acts import Act, Caller
from wellkeep.gate.gate import Gate
from wellkeep.ledger.actions import Action

LONGEST: Final = timedelta(days=7)
_RESOURCE = "impersonation_permit"
_LISTED = 1_000

_FITS = "SELECT $1::timestamptz > clock_timestamp() AND $1::timestamptz <= clock_timestamp() + $2::interval"
_PERSON = "SELECT id FROM access.person WHERE id = $1 FOR KEY SHARE"
_GIVE = """
INSERT INTO access.impersonation_permit (tenant_id, id, person_id, given_by, given_at, until)
VALUES (wk.tenant(), $1, $2, $3, clock_timestamp(), $4)
RETURNING id, person_id, given_by, given_at, until, withdrawn_at, true AS stands
"""
_LIST = """
SELECT id, person_id, given_by, given_at, until, withdrawn_at,
  withdrawn_at IS NULL AND until > clock_timestamp() AS stands
FROM access.impersonation_permit ORDER BY id DESC LIMIT $1
"""
_WITHDRAW = """
UPDATE access.impersonation_permit SET withdrawn_at = clock_timestamp(), withdrawn_by = $2
WHERE id = $1 AND withdrawn_at IS NULL RETURNING id
"""
_END_UNDER = """
UPDATE access.impersonation SET ended_at = clock_timestamp(), ended_by = $2, ended_because = 'permit-withdrawn'
WHERE permit_id = $1 AND ended_at IS NULL AND ends_at > clock_timestamp() RETURNING id
"""


@dataclass(frozen=True, slots=True)
class Permit:
    """Who may be seen unmasked (None: anybody) until when, by whose word; `stands`: it holds now."""

    id: UUID
    person: UUID | None
    given_by: UUID
    given_at: datetime
    until: datetime
    withdrawn_at: datetime | None
    stands: bool


class ImpersonationPermits:
    """Gives, shows and takes back permits."""

    def __init__(self, *, gate: Gate) -> None:
        """Act through `gate`."""
        self._gate = gate

    async def give(self, caller: Caller, *, until: datetime, person: UUID | None = None) -> Permit:
        """Permit that staff who step into the account of `person` (None: anybody's) see what is unmasked.

        Raises Forbidden, StepUpRequired, Validation for a time that is over or further off than seven days, NotFound.
        """
        identifier = uuid7()
        decision = await self._gate.decide(caller, _act(identifier))
        principal = caller.principal
        async with self._gate.transaction(decision) as work:
            if not await work.connection.fetchval(_FITS, until, LONGEST):
                raise Validation(fields=(FieldProblem("/until", "out-of-range"),))
            if person is not None and await work.connection.fetchval(_PERSON, person) is None:
                raise NotFound("There is no such person in this tenant")
            row = await work.connection.fetchrow(_GIVE, identifier, person, UUID(principal.id), until)
            if row is None:
                raise Internal("A permit was not stored")
            work.record()
        return _permit(row)

    async def listed(self, caller: Caller) -> list[Permit]:
        """Return the tenant's permits, the newest first, at most 1,000."""
        act = Act(Permission.IMPERSONATION_READ, Action.IMPERSONATION_READ, _RESOURCE)
        decision = await self._gate.decide(caller, act)
        async with self._gate.transaction(decision) as work:
            rows = await work.connection.fetch(_LIST, _LISTED)
            work.record(count=len(rows))
        return [_permit(row) for row in rows]

    async def withdraw(self, caller: Caller, permit: UUID) -> None:
        """Take a permit back, and end what was begun under it. Raises Forbidden, NotFound."""
        act = Act(Permission.IMPERSONATION_END, Action.IMPERSONATION_ENDED, _RESOURCE, resource_id=str(permit))
        decision = await self._gate.decide(caller, act)
        by = f"{caller.principal.type.value}:{caller.principal.id}"
        async with self._gate.transaction(decision) as work:
            if await work.connection.fetchval(_WITHDRAW, permit, by) is None:
                raise NotFound("There is no such permit, or it was taken back before")
            ended = await work.connection.fetch(_END_UNDER, permit, by)
            work.record(count=len(ended))


def _act(permit: UUID) -> Act:
    return Act(Permission.IMPERSONATION_PERMIT, Action.IMPERSONATION_PERMITTED, _RESOURCE, resource_id=str(permit))


def _permit(row: Record) -> Permit:
    return Permit(
        id=row["id"],
        person=row["person_id"],
        given_by=row["given_by"],
        given_at=row["given_at"],
        until=row["until"],
        withdrawn_at=row["withdrawn_at"],
        stands=row["stands"],
    )
