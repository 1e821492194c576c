"""Stepping in: staff of the deployment in the account of a customer's person, for fifteen minutes, in full view.

Rules: a person of the platform, signed in and with a second factor shown just now, says why and whose account; the
row, its entry and the finding are the customer's own. It ends after fifteen minutes of the database's clock, when the
staff's session ends, when the account loses a role or the tenant is closed, and at once when anybody of the tenant or
the staff ends it: every call into the database asks whether it stands, and so does the gate before it discloses. One at
a time, never into the platform's own tenant, never from inside another. What is seen is masked, unless a person of the
tenant permitted otherwise for a few days. Each entry names both: who acts, and on whose behalf.

The threat is staff who look because they can, and a customer who hears of it last.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from wellkeep.access import stepping_format
from wellkeep.access.words import Words
from wellkeep.base.errors import Conflict, Forbidden, Internal, NotFound
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.secrets import Secret
from wellkeep.db.connection import Connection, Record
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.findings.within import findings_of, settle_within, store_within
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.gate.events import event
from wellkeep.gate.gate import Gate
from wellkeep.gate.transaction import GateTransaction
from wellkeep.ledger.actions import Action, Outcome

LENGTH: Final = timedelta(minutes=15)
_RESOURCE = "impersonation"
_LISTED = 1_000

_STAFF_NAME = "SELECT name FROM access.person WHERE id = $1 AND state = 'active'"
_TENANT_STATE = "SELECT state FROM wk.tenants"
_MAY = "SELECT access.may_step_in($1)"
_ACTIVE = "SELECT state = 'active' FROM access.person WHERE id = $1 FOR SHARE"
_PERMIT = """
SELECT id, until FROM access.impersonation_permit
WHERE (person_id = $1 OR person_id IS NULL) AND withdrawn_at IS NULL AND until > clock_timestamp() + interval '1 minute'
ORDER BY until DESC LIMIT 1 FOR SHARE
"""
_START = """
INSERT INTO access.impersonation (tenant_id, id, person_id, staff_id, staff_name, staff_session, digest, permit_id,
  reason, reason_digest, started_at, ends_at)
SELECT wk.tenant(), $1, $2, $3, $4, $5, $6, $7, $8, $9, now, least(now + $10, $11)
FROM (SELECT clock_timestamp() AS now) AS at RETURNING started_at, ends_at, masked
"""
_END = """
UPDATE access.impersonation SET ended_at = clock_timestamp(), ended_by = $2, ended_because = $3
WHERE id = $1 AND ended_at IS NULL AND ends_at > clock_timestamp() RETURNING person_id
"""
_THERE = "SELECT id FROM access.impersonation WHERE id = $1"
_MINE = """
SELECT i.tenant_id, i.id, i.person_id, p.name AS person_name, i.staff_id, i.staff_name, i.masked, i.reason,
  i.reason_digest, i.started_at, i.ends_at, i.ended_at, i.ended_by, i.ended_because,
  i.ended_at IS NULL AND i.ends_at > clock_timestamp() AND access.staff_stands(i.staff_session) AS live
FROM access.impersonation AS i JOIN access.person AS p ON p.tenant_id = i.tenant_id AND p.id = i.person_id
ORDER BY i.id DESC LIMIT $1
"""
_ALL = """
SELECT i.tenant_id, i.id, i.person_id, NULL AS person_name, i.staff_id, i.staff_name, i.masked, NULL::bytea AS reason,
  NULL::bytea AS reason_digest, i.started_at, i.ends_at, i.ended_at, i.ended_by, i.ended_because,
  i.ended_at IS NULL AND i.ends_at > clock_timestamp() AND access.staff_stands(i.staff_session) AS live
FROM access.all_impersonations() AS i LIMIT $1
"""
_WHERE = "SELECT i.tenant_id FROM access.all_impersonations() AS i WHERE i.id = $1"


@dataclass(frozen=True, slots=True)
class Started:
    """A new impersonation and, this once, what its requests carry as their bearer token."""

    id: UUID
    tenant: UUID
    person: UUID
    token: Secret[str]
    masked: bool
    started_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Impersonation:
    """One of the staff in the account of `person`; `reason` is None where it is not the reader's, or was erased.

    `live`: it stands now. `ended_by` is a person, a key, or the part of the system that ended it, as entries name them.
    """

    id: UUID
    tenant: UUID
    person: UUID
    person_name: str | None
    staff: UUID
    staff_name: str
    masked: bool
    reason: str | None
    started_at: datetime
    ends_at: datetime
    ended_at: datetime | None
    ended_by: str | None
    ended_because: str | None
    live: bool


class Impersonations:
    """Begins, shows and ends impersonations."""

    def __init__(self, *, gate: Gate, words: Words) -> None:
        """Act through `gate`; reasons are sealed by `words`."""
        self._gate = gate
        self._words = words

    async def start(self, caller: Caller, *, tenant: UUID, person: UUID, reason: str) -> Started:
        """Step into the account of `person`.

        Raises Forbidden, StepUpRequired, Validation for a reason that says nothing, NotFound where the tenant has no
        such active person, Conflict where the caller is in an account already, LedgerUnavailable.
        """
        identifier = uuid7()
        home = await self._gate.decide(caller, _start(identifier))
        staff, name = await self._staff(home, tenant)
        decision = await self._gate.decide(caller, _start(identifier, tenant=tenant))
        sealed = self._words.seal(reason, tenant=tenant, about=identifier, place="/reason")
        token = stepping_format.new_token(identifier)
        async with self._gate.transaction(decision) as work:
            permit = await _must_be_possible(work.connection, staff, person)
            row = await work.connection.fetchrow(
                _START,
                *(identifier, person, staff, name, caller.principal.credential, stepping_format.digest(token.reveal())),
                *(None if permit is None else permit["id"], sealed.sealed, sealed.digest),
                *(LENGTH, None if permit is None else permit["until"]),
            )
            if row is None:
                raise Internal("An impersonation was not stored")
            _record(work, person, reason=sealed.digest)
            await store_within(
                work.connection,
                kind=Kind.IMPERSONATION_STARTED,
                severity=Severity.MEDIUM if row["masked"] else Severity.HIGH,
                key=finding_key(Kind.IMPERSONATION_STARTED, identifier),
                detail={"impersonation": str(identifier), "person": str(person)},
            )
        return Started(identifier, tenant, person, token, row["masked"], row["started_at"], row["ends_at"])

    async def _staff(self, home: Decision, tenant: UUID) -> tuple[UUID, str]:
        """Return who steps in; refuse, on record, places that nobody steps into."""
        if tenant == PLATFORM_TENANT:
            await self._gate.failed(home, error=Forbidden.code)
            raise Forbidden("Nobody steps into an account of the deployment's own staff")
        there = (await self._gate.tenants.load(tenant)).exists
        staff = UUID(home.caller.principal.id)
        async with self._gate.reading(home) as connection:
            name = await connection.fetchval(_STAFF_NAME, staff)
            if not there or name is None:
                raise NotFound("There is no such tenant")
        return staff, name

    async def listed(self, caller: Caller) -> list[Impersonation]:
        """Return the tenant's impersonations, the newest first, at most 1,000; to the platform everybody's, no reasons.

        Once its own people have seen one that is over, its finding is closed.
        """
        act = Act(Permission.IMPERSONATION_READ, Action.IMPERSONATION_READ, _RESOURCE)
        decision = await self._gate.decide(caller, act)
        everybody = decision.tenant == PLATFORM_TENANT
        async with self._gate.transaction(decision) as work:
            rows = await work.connection.fetch(_ALL if everybody else _MINE, _LISTED)
            over = [row["id"] for row in rows if not row["live"]]
            if over and not everybody:
                keys = [key for one in over for key in findings_of((Kind.IMPERSONATION_STARTED,), one)]
                await settle_within(work.connection, keys=keys)
            work.record(count=len(rows))
        return [self._shown(row) for row in rows]

    async def end(self, caller: Caller, impersonation: UUID) -> None:
        """End one, by anybody of its tenant who may, or by staff: what it is at that very moment gets nothing more.

        Raises Forbidden, NotFound, Conflict where it is over already, LedgerUnavailable.
        """
        tenant = await self._tenant_of(caller, impersonation)
        decision = await self._gate.decide(caller, _end(caller, impersonation, tenant=tenant))
        principal = caller.principal
        because = "ended-by-tenant" if principal.tenant == decision.tenant else "ended-by-staff"
        async with self._gate.transaction(decision) as work:
            by = f"{principal.type.value}:{principal.id}"
            person = await work.connection.fetchval(_END, impersonation, by, because)
            if person is None and await work.connection.fetchval(_THERE, impersonation) is None:
                raise NotFound("There is no such impersonation")
            if person is None:
                raise Conflict("It is over already")
            _record(work, UUID(int=person.int))

    async def _tenant_of(self, caller: Caller, impersonation: UUID) -> UUID:
        if caller.principal.tenant != PLATFORM_TENANT:
            return caller.principal.tenant
        home = await self._gate.decide(caller, _end(caller, impersonation, tenant=PLATFORM_TENANT))
        async with self._gate.reading(home) as connection:
            found = await connection.fetchval(_WHERE, impersonation)
            if found is None:
                raise NotFound("There is no such impersonation")
        return UUID(int=found.int)

    def _shown(self, row: Record) -> Impersonation:
        tenant, identifier = row["tenant_id"], row["id"]
        return Impersonation(
            id=identifier,
            tenant=tenant,
            person=row["person_id"],
            person_name=row["person_name"],
            staff=row["staff_id"],
            staff_name=row["staff_name"],
            masked=row["masked"],
            reason=self._words.shown(row["reason"], digest=row["reason_digest"], tenant=tenant, about=identifier),
            started_at=row["started_at"],
            ends_at=row["ends_at"],
            ended_at=row["ended_at"],
            ended_by=row["ended_by"],
            ended_because=row["ended_because"],
            live=row["live"],
        )


def _start(identifier: UUID, *, tenant: UUID | None = None) -> Act:
    return Act(
        Permission.IMPERSONATION_START,
        Action.IMPERSONATION_STARTED,
        _RESOURCE,
        resource_id=str(identifier),
        tenant=tenant,
    )


def _end(caller: Caller, impersonation: UUID, *, tenant: UUID) -> Act:
    away = None if tenant == caller.principal.tenant else tenant
    return Act(
        Permission.IMPERSONATION_END,
        Action.IMPERSONATION_ENDED,
        _RESOURCE,
        resource_id=str(impersonation),
        tenant=away,
    )


async def _must_be_possible(connection: Connection, staff: UUID, person: UUID) -> Record | None:
    """Return the permit to see what is unmasked, if there is one; raises where the account can't be stepped into."""
    if await connection.fetchval(_TENANT_STATE) != "active":
        raise Conflict("This tenant is closed")
    if not await connection.fetchval(_ACTIVE, person):
        raise NotFound("There is no such active person in this tenant")
    if not await connection.fetchval(_MAY, staff):
        raise Conflict("You are in somebody's account already: end that first")
    return await connection.fetchrow(_PERMIT, person)


def _record(work: GateTransaction, person: UUID, *, reason: bytes | None = None) -> None:
    """Record what is done, with both names: who acts, and whose account it is about."""
    made = event(work.decision, outcome=Outcome.DONE, reason=reason)
    work.record_made(msgspec.structs.replace(made, on_behalf_of=str(person)))
