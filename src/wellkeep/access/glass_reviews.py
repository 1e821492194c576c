"""Afterwards: who broke which glass, what they saw under it, and what somebody else says of it.

Rules: a use is reviewed once, by another person with that permission, in words; never by who broke it, nor by a key of
theirs or one that such a key made (`review_hands`), not with a key that was made after it, and not by whom they invited
after it. A review of one that is open ends it, and closes the findings of that use. How many accesses there were is
counted in the ledger, which nobody of the tenant writes. Why a glass was broken is shown to those who review, for it
may name the patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

import msgspec

from wellkeep.access.break_glass import RESOURCE, stopped_key
from wellkeep.access.review_hands import hands_behind, hands_of
from wellkeep.access.words import Words
from wellkeep.base.errors import Conflict, Forbidden, NotFound
from wellkeep.base.permissions import Permission
from wellkeep.base.principal import ActorType
from wellkeep.base.purpose import Purpose
from wellkeep.db.connection import Connection, Record
from wellkeep.findings.grammar import Kind
from wellkeep.findings.within import findings_of, settle_within
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.gate.gate import Gate
from wellkeep.ledger.actions import Action, Outcome
from wellkeep.ledger.search import LIMIT, Filters, search

Verdict = Literal["justified", "not-justified"]
_KINDS: Final = (Kind.GLASS_BROKEN, Kind.GLASS_AGAIN)
_LISTED: Final = 1_000
_PAGES: Final = 50
_ACCESSES: Final = frozenset({Outcome.AUTHORISED.value, Outcome.DONE.value})

_SELECT = """
SELECT g.tenant_id, g.id, g.person_id, p.name AS person_name, g.subject_id, g.again, g.reason, g.reason_digest,
  g.broken_at, g.ends_at, g.ended_at, g.reviewed_at, g.reviewed_by, g.verdict, g.note, g.note_digest, g.seen,
  g.ended_at IS NULL AND g.ends_at > clock_timestamp() AS open, coalesce(g.ended_at, g.ends_at) AS until
FROM access.break_glass AS g JOIN access.person AS p ON p.tenant_id = g.tenant_id AND p.id = g.person_id
"""
_LIST = _SELECT + " WHERE NOT $1 OR g.reviewed_at IS NULL ORDER BY g.id DESC LIMIT $2"
_ONE = _SELECT + " WHERE g.id = $1"
_LOCK = "SELECT person_id, broken_at, reviewed_at FROM access.break_glass WHERE id = $1 FOR UPDATE"
_CLOSE = """
UPDATE access.break_glass SET ended_at = clock_timestamp()
WHERE id = $1 AND ended_at IS NULL AND ends_at > clock_timestamp()
"""
_REVIEW = """
UPDATE access.break_glass SET reviewed_at = clock_timestamp(), reviewed_by = $2, verdict = $3, note = $4,
  note_digest = $5, seen = $6
WHERE id = $1 AND reviewed_at IS NULL RETURNING id
"""
_INVITED_BY = "SELECT invited_by FROM access.person WHERE id = $1"


class _Event(msgspec.Struct):
    action: str
    outcome: str


class _Entry(msgspec.Struct):
    event: _Event


_entry = msgspec.json.Decoder(_Entry).decode


@dataclass(frozen=True, slots=True)
class Glass:
    """One use, and what was said of it; `reason` and `note` are None for who does not review, or where erased.

    `seen` counts the accesses under it: as the review found it, else None in lists and the number now for one alone.
    """

    id: UUID
    person: UUID
    person_name: str
    subject: UUID
    again: bool
    reason: str | None
    broken_at: datetime
    ends_at: datetime
    ended_at: datetime | None
    open: bool
    seen: int | None
    reviewed_at: datetime | None
    reviewed_by: str | None
    verdict: str | None
    note: str | None


class GlassReviews:
    """Shows uses, and takes reviews of them."""

    def __init__(self, *, gate: Gate, words: Words) -> None:
        """Act through `gate`; what was said is opened and sealed by `words`."""
        self._gate = gate
        self._words = words

    async def listed(self, caller: Caller, *, waiting: bool = False) -> list[Glass]:
        """Return the tenant's uses, the newest first, at most 1,000; `waiting`: those without a review."""
        decision = await self._reading(caller)
        told = await self._reviews(decision)
        async with self._gate.transaction(decision) as work:
            rows = await work.connection.fetch(_LIST, waiting, _LISTED)
            work.record(count=len(rows))
        return [self._shown(row, seen=row["seen"], told=told) for row in rows]

    async def one(self, caller: Caller, glass: UUID) -> Glass:
        """Return one use, and how many accesses there were under it so far. Raises NotFound."""
        decision = await self._reading(caller, glass)
        told = await self._reviews(decision)
        async with self._gate.transaction(decision) as work:
            row = await work.connection.fetchrow(_ONE, glass)
            if row is None:
                raise NotFound("There is no such use of an emergency")
            seen = row["seen"] if row["seen"] is not None else await _accesses(work.connection, row)
            work.record(subject=row["subject_id"])
        return self._shown(row, seen=seen, told=told)

    async def review(self, caller: Caller, glass: UUID, *, verdict: Verdict, note: str) -> Glass:
        """Say what a use of somebody else's was.

        Raises Forbidden for one's own (`review_hands`), or with a key younger than it, Validation for a note that says
        nothing, NotFound, Conflict where somebody said it already.
        """
        act = Act(Permission.GLASS_REVIEW, Action.GLASS_REVIEWED, RESOURCE, resource_id=str(glass))
        decision = await self._gate.decide(caller, act)
        principal = caller.principal
        by = f"{principal.type.value}:{principal.id}"
        sealed = self._words.seal(note, tenant=decision.tenant, about=_note_of(glass), place="/note")
        async with self._gate.transaction(decision) as work:
            await _must_be_reviewable(work.connection, decision, glass)
            await work.connection.execute(_CLOSE, glass)
            row = await work.connection.fetchrow(_ONE, glass)
            if row is None:
                raise NotFound("There is no such use of an emergency")
            seen = await _accesses(work.connection, row)
            await work.connection.fetchval(_REVIEW, glass, by, verdict, sealed.sealed, sealed.digest, seen)
            closed = [*findings_of(_KINDS, glass), stopped_key(row["person_id"])]
            await settle_within(work.connection, keys=closed)
            said = (verdict.replace("-", "_"),)
            work.record(subject=row["subject_id"], reason=sealed.digest, count=seen, fields=said)
            row = await work.connection.fetchrow(_ONE, glass)
        if row is None:
            raise NotFound("There is no such use of an emergency")
        return self._shown(row, seen=seen, told=True)

    async def _reading(self, caller: Caller, glass: UUID | None = None) -> Decision:
        name = None if glass is None else str(glass)
        act = Act(Permission.GLASS_READ, Action.GLASS_READ, RESOURCE, resource_id=name)
        return await self._gate.decide(caller, act)

    async def _reviews(self, decision: Decision) -> bool:
        """Say whether the caller reviews, and is told in words why."""
        settings = self._gate.tenants.known(decision.tenant) or await self._gate.tenants.load(decision.tenant)
        act = Act(Permission.GLASS_REVIEW, Action.GLASS_REVIEWED, RESOURCE)
        return self._gate.policy.decide(decision.caller, act, settings=settings).allowed

    def _shown(self, row: Record, *, seen: int | None, told: bool) -> Glass:
        tenant, glass = row["tenant_id"], row["id"]
        reason = note = None
        if told:
            reason = self._words.shown(row["reason"], digest=row["reason_digest"], tenant=tenant, about=glass)
            note = self._words.shown(row["note"], digest=row["note_digest"], tenant=tenant, about=_note_of(glass))
        return Glass(
            id=glass,
            person=row["person_id"],
            person_name=row["person_name"],
            subject=row["subject_id"],
            again=row["again"],
            reason=reason,
            broken_at=row["broken_at"],
            ends_at=row["ends_at"],
            ended_at=row["ended_at"],
            open=row["open"],
            seen=seen,
            reviewed_at=row["reviewed_at"],
            reviewed_by=row["reviewed_by"],
            verdict=row["verdict"],
            note=note,
        )


def _note_of(glass: UUID) -> UUID:
    """Return the id that a note is sealed for: the use's with its last bit turned, so that no reason opens as one."""
    return UUID(int=glass.int ^ 1)


async def _must_be_reviewable(connection: Connection, decision: Decision, glass: UUID) -> None:
    """Lock a use and raise where it was reviewed, or is not this caller's to review."""
    row = await connection.fetchrow(_LOCK, glass)
    if row is None:
        raise NotFound("There is no such use of an emergency")
    principal, who = decision.caller.principal, str(row["person_id"])
    hands = await hands_of(connection, principal)
    if who in hands.ids:
        raise Forbidden("You broke this glass, or whoever is behind your key did: somebody else must review it")
    if hands.since is None or hands.since > row["broken_at"]:
        if principal.type is not ActorType.PERSON:
            raise Forbidden("Your key was made after this happened: somebody else must review it")
        invited_by = await connection.fetchval(_INVITED_BY, UUID(principal.id))
        if invited_by is None or who in await hands_behind(connection, invited_by):
            raise Forbidden("Whoever broke this glass invited you afterwards: somebody else must review it")
    if row["reviewed_at"] is not None:
        raise Conflict("This was reviewed already")


async def _accesses(connection: Connection, row: Record) -> int:
    """Count what was disclosed or changed under a use: the ledger's entries of that person and patient for BTG."""
    filters = Filters(
        actor=str(row["person_id"]),
        subject=UUID(int=row["subject_id"].int),
        purpose=Purpose.BREAK_GLASS,
        since=row["broken_at"],
        until=row["until"],
    )
    count, before = 0, None
    for _ in range(_PAGES):
        page = await search(connection, filters, before=before, limit=LIMIT)
        events = (_entry(found.entry).event for found in page.entries)
        count += sum(one.outcome in _ACCESSES and not one.action.startswith("glass.") for one in events)
        before = page.following
        if before is None:
            break
    return count
