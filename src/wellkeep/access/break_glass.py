"""Breaking the glass: in an emergency a clinician gets at one patient, and the privacy officer knows at once.

Rules: a person with a second factor shown just now says why; it widens what this person sees of this one patient, for
requests that declare the purpose BTG, until the tenant's time for it is over (an hour, unless it says otherwise). The
row, the entry and the finding commit together. Lives come first: whoever's earlier use still waits for its review may
break the next glass, louder; only the tenant's number of unreviewed uses stops a person. Asked again about a patient
whose glass is open it is the same glass. It needs the database and nothing else: no mail, no identity provider, no
Redis.

The threat is curiosity with an excuse: so there is no use without somebody else who hears of it and says what it was.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from wellkeep.access.words import Words
from wellkeep.base.errors import Conflict, Internal, NotFound, SubjectErased, Unauthenticated
from wellkeep.base.ids import uuid7
from wellkeep.base.permissions import Permission
from wellkeep.db.connection import Connection, Record
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.findings.within import store_within
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.gate.gate import Gate
from wellkeep.gate.transaction import GateTransaction
from wellkeep.keys.reasons import SealedReason
from wellkeep.ledger.actions import Action

RESOURCE: Final = "break_glass"

Find = Callable[[Decision], Awaitable[UUID]]
"""Finds the one patient that an emergency is about, under the decision that permits to break a glass."""

_PERSON = "SELECT state = 'active' FROM access.person WHERE id = $1 FOR NO KEY UPDATE"
_SUBJECT = """
SELECT coalesce(s.merged_into, s.id) AS id, s.erased_at IS NOT NULL OR o.erased_at IS NOT NULL AS erased
FROM vault.subject AS s LEFT JOIN vault.subject AS o ON o.tenant_id = s.tenant_id AND o.id = s.merged_into
WHERE s.id = $1
"""
_OPEN = """
SELECT id, subject_id, broken_at, ends_at, again FROM access.break_glass
WHERE person_id = $1 AND subject_id = $2 AND ended_at IS NULL AND ends_at > clock_timestamp()
ORDER BY ends_at DESC LIMIT 1
"""
_UNREVIEWED = """
SELECT (SELECT count(*) FROM access.break_glass WHERE person_id = $1 AND reviewed_at IS NULL) AS waiting,
  coalesce((SELECT max(glass_unreviewed) FROM access.tenant_rules), 3) AS most
"""
_BREAK = """
INSERT INTO access.break_glass (tenant_id, id, person_id, subject_id, again, reason, reason_digest, broken_at, ends_at)
SELECT wk.tenant(), $1, $2, $3, $4, $5, $6, now, now + rules.length
FROM (SELECT clock_timestamp() AS now) AS at,
  (SELECT coalesce(max(glass_length), interval '1 hour') AS length FROM access.tenant_rules) AS rules
RETURNING id, subject_id, broken_at, ends_at, again
"""
_END = """
UPDATE access.break_glass SET ended_at = clock_timestamp()
WHERE id = $1 AND person_id = $2 AND ended_at IS NULL AND ends_at > clock_timestamp() RETURNING subject_id
"""


class _Stopped(Conflict):
    """As many uses of one person wait for their review as the tenant lets."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A glass that is open; `again`: another one of the same person waited for its review when it was broken."""

    id: UUID
    subject: UUID
    broken_at: datetime
    ends_at: datetime
    again: bool


class BreakGlass:
    """Breaks glasses, and ends what was opened so."""

    def __init__(self, *, gate: Gate, words: Words, findings: Findings) -> None:
        """Act through `gate`; reasons are sealed by `words`; who is stopped in an emergency is told to `findings`."""
        self._gate = gate
        self._words = words
        self._findings = findings

    async def open(self, caller: Caller, *, find: Find, reason: str) -> Broken:
        """Break the glass of the one patient whom `find` returns.

        Raises Forbidden, StepUpRequired, Validation for a reason that says nothing, NotFound, SubjectErased, Conflict
        where as many uses wait for their review as the tenant lets, LedgerUnavailable.
        """
        identifier = uuid7()
        act = Act(Permission.GLASS_BREAK, Action.GLASS_BROKEN, RESOURCE, resource_id=str(identifier))
        decision = await self._gate.decide(caller, act)
        person = UUID(caller.principal.id)
        sealed = self._words.seal(reason, tenant=decision.tenant, about=identifier, place="/reason")
        wanted = await find(decision)
        try:
            async with self._gate.transaction(decision) as work:
                if not await work.connection.fetchval(_PERSON, person):
                    raise Unauthenticated
                subject = await _subject(work.connection, wanted)
                there = await work.connection.fetchrow(_OPEN, person, subject)
                if there is not None:
                    work.record(action=Action.GLASS_READ, resource_id=str(there["id"]), subject=subject)
                    return _broken(there)
                return await _break(work, identifier, person, subject, sealed)
        except _Stopped:
            await self._tell(decision, person)
            raise

    async def _tell(self, decision: Decision, person: UUID) -> None:
        """Note that somebody was stopped in what may be an emergency: reviewing one use lets them go on."""
        await self._findings.report(
            decision.tenant,
            kind=Kind.GLASS_AGAIN,
            severity=Severity.CRITICAL,
            key=stopped_key(person),
            detail={"person": str(person), "state": "refused"},
        )

    async def end(self, caller: Caller, glass: UUID) -> None:
        """End what one broke oneself, before its time. Raises Forbidden, NotFound."""
        act = Act(Permission.ACCOUNT_USE, Action.GLASS_ENDED, RESOURCE, resource_id=str(glass))
        decision = await self._gate.decide(caller, act)
        async with self._gate.transaction(decision) as work:
            subject = await work.connection.fetchval(_END, glass, UUID(caller.principal.id))
            if subject is None:
                raise NotFound("You have no open glass of this id")
            work.record(subject=UUID(int=subject.int))


def stopped_key(person: UUID) -> str:
    """Return the key of the finding that a person was stopped in an emergency."""
    return finding_key(Kind.GLASS_AGAIN, "refused", person)


async def _subject(connection: Connection, wanted: UUID) -> UUID:
    """Return the id that the patient's records are found under now."""
    row = await connection.fetchrow(_SUBJECT, wanted)
    if row is None:
        raise NotFound("There is no such patient")
    if row["erased"]:
        raise SubjectErased
    return UUID(int=row["id"].int)


async def _break(work: GateTransaction, identifier: UUID, person: UUID, subject: UUID, sealed: SealedReason) -> Broken:
    """Store a use, its entry and its finding; the person's row is locked, so that uses are counted one by one."""
    held = await work.connection.fetchrow(_UNREVIEWED, person)
    if held is None or held["waiting"] >= held["most"]:
        raise _Stopped("So many of your emergencies wait for their review already: ask your privacy officer for it now")
    again = held["waiting"] > 0
    row = await work.connection.fetchrow(_BREAK, identifier, person, subject, again, sealed.sealed, sealed.digest)
    if row is None:
        raise Internal("A broken glass was not stored")
    work.record(subject=subject, reason=sealed.digest)
    kind = Kind.GLASS_AGAIN if again else Kind.GLASS_BROKEN
    await store_within(
        work.connection,
        kind=kind,
        severity=Severity.CRITICAL if again else Severity.HIGH,
        key=finding_key(kind, identifier),
        detail={"glass": str(identifier), "person": str(person), "subject": str(subject)},
    )
    return _broken(row)


def _broken(row: Record) -> Broken:
    return Broken(
        id=row["id"],
        subject=row["subject_id"],
        broken_at=row["broken_at"],
        ends_at=row["ends_at"],
        again=row["again"],
    )
