"""Erasure of a subject: everything of theirs goes in one transaction, and what is left proves that it went.

Rules: whoever was merged goes with the survivor; a legal hold is looked for inside the transaction, and whoever places
one waits for erasures that are under way; keys go with the rows, so a read on any worker finds neither; a tombstone
outside of the database is written before the answer, so that no older database is served without erasing again. The
threats are a copy that was forgotten, a write or a merger that slips past, and a backup put back that brings it all
back. What an old backup still opens ends with the epoch's key: the certificate says when (`erasure_certificate`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from wellkeep.base.errors import Conflict, DatabaseUnavailable, LedgerUnavailable, LegalHold, NotFound, Unavailable
from wellkeep.base.permissions import Permission
from wellkeep.db.connection import Connection
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.gate.transaction import GateTransaction
from wellkeep.ledger.event import Action
from wellkeep.vault.calls import NIL
from wellkeep.vault.context import Context
from wellkeep.vault.erasure_states import PATIENCE_SECONDS, digest_of, keep, states_of

_GROUP = "SELECT id, merged_into, erased_at FROM vault.erasure_group($1)"
_HELD = "SELECT vault.held($1)"
_ERASE = "SELECT vault.erase_people($1, $2, $3, $4)"
_MAKE = "INSERT INTO vault.subject (tenant_id, id, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
_TOLD = """
SELECT t.subject_id, t.event_id, t.erased_at FROM vault.tombstone AS t
WHERE t.event_id = (SELECT o.event_id FROM vault.tombstone AS o WHERE o.subject_id = $1) ORDER BY t.subject_id
"""
_PATIENCE = "SET LOCAL statement_timeout = '100s'"
_RESOURCE: Final = "subject"
_TRIES = 5
_UNDONE = ("40P01", "40001")
"""A deadlock and a serialisation failure: rolled back as a whole, and likely to succeed when done again."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What is remembered outside of the database of an erasure: ids and a time; `subject` is NIL for a whole tenant."""

    tenant: UUID
    subject: UUID
    event: UUID
    at: datetime


Remember = Callable[[Sequence[Erased]], None]
"""Appends to the file of tombstones, durably, what does not stand there yet; raises OSError."""

_FORGETFUL = (
    "It is erased, but the file outside of the database that remembers who was can't be written. See that there is "
    "room and that it is writable, then ask again"
)


async def tell(remember: Remember, told: Sequence[Erased]) -> None:
    """Have `told` remembered outside of the database before anybody is answered; raises Unavailable."""
    try:
        await asyncio.to_thread(remember, told)
    except OSError:
        raise Unavailable(_FORGETFUL, retry_after=60) from None


async def until_done(erase: Callable[[], Awaitable[None]]) -> None:
    """Run an erasure that others write beside, again where the database undid it for their sake, five times at most.

    Raises Unavailable where it was undone each time, and what `erase` raises.
    """
    for _ in range(_TRIES):
        try:
            return await erase()
        except DatabaseUnavailable as lost:
            if not any(code in note for note in getattr(lost, "__notes__", ()) for code in _UNDONE):
                raise
    raise Unavailable("What is to be erased is being written to by others; try again", retry_after=1)


async def told_of(connection: Connection, tenant: UUID, subject: UUID) -> list[Erased]:
    """Return who was erased by the act that erased `subject`, as it is to be remembered; NIL is the whole tenant."""
    rows = await connection.fetch(_TOLD, subject)
    return [Erased(tenant, UUID(int=row["subject_id"].int), row["event_id"], row["erased_at"]) for row in rows]


class Erasures:
    """Erases subjects."""

    def __init__(self, context: Context, *, remember: Remember) -> None:
        """Work within `context`; what is erased is told to `remember` before anybody is answered."""
        self._context = context
        self._remember = remember

    async def erase(self, caller: Caller, subject: UUID) -> None:
        """Erase a subject and all who were merged into it; again changes nothing.

        Raises NotFound, Conflict for one that was merged into another, LegalHold, Unavailable.
        """
        act = Act(Permission.SUBJECT_ERASE, Action.SUBJECT_ERASED, _RESOURCE, str(subject), subject=subject)
        decision = await self._context.gate.must_reach(await self._context.gate.decide(caller, act), subject)
        await self.erase_decided(decision, subject)

    async def erase_decided(self, decision: Decision, subject: UUID, *, again: bool = False) -> None:
        """Erase under a decision; `again` for an older database, whatever holds it knows of. Raises as `erase` does."""
        # A change holds its record and waits for the person, as we do the other way round: one of us is undone.
        await until_done(lambda: self._erase(decision, subject, again=again))

    async def _erase(self, decision: Decision, subject: UUID, *, again: bool) -> None:
        now = self._context.clock.now()
        told: list[Erased] = []
        try:
            async with self._context.gate.transaction(decision) as work:
                if again:
                    await work.connection.execute(_MAKE, decision.tenant, subject, now)
                people = await self._people(work, subject, again=again)
                await work.connection.execute(_PATIENCE)
                event = await _erase_people(work, people, subject, now=now, again=again)
                told = [Erased(decision.tenant, person, event, now) for person in people]
        except AlreadyErased as before:
            told = before.told  # whoever asked first may have been cut off between the commit and the file
        except LedgerUnavailable:
            if told and work.ended:  # it is committed: nothing may bring it back
                await tell(self._remember, told)
            raise
        await tell(self._remember, told)
        for one in told:
            self._context.forget_person(decision.tenant, one.subject)

    async def _people(self, work: GateTransaction, subject: UUID, *, again: bool) -> list[UUID]:
        rows = await work.connection.fetch(_GROUP, subject)
        named = {row["id"]: row for row in rows}
        if subject not in named:
            raise NotFound("There is no subject of this id")
        into = named[subject]["merged_into"]
        if into is not None:
            raise Conflict("This subject was merged into another: erase that one, and both are", resource=into)
        if named[subject]["erased_at"] is not None:
            raise AlreadyErased(await told_of(work.connection, work.decision.tenant, subject))
        people = [UUID(int=one.int) for one in named]
        if not again and await work.connection.fetchval(_HELD, people):
            raise LegalHold("A legal hold stands over this patient, this tenant or everybody: nothing is erased")
        return people


class AlreadyErased(Exception):
    """Nothing is left to erase; `told` is what must be remembered of it."""

    def __init__(self, told: list[Erased]) -> None:
        """`told` is what the tombstones say."""
        super().__init__()
        self.told = told


async def _erase_people(
    work: GateTransaction, people: Sequence[UUID], subject: UUID, *, now: datetime, again: bool
) -> UUID:
    connection, tenant = work.connection, work.decision.tenant
    states = await states_of(connection, people)
    event = work.record(
        subject=subject,
        subjects=tuple(people) if len(people) > 1 else (),
        records=tuple(dict.fromkeys(one.record for one in states)),
        count=len(states),
        digest=digest_of(states),
    )
    await keep(connection, states, tenant=tenant, erased_by=event)
    await connection.execute(_ERASE, list(people), event, now, again, timeout=PATIENCE_SECONDS)
    return event


__all__ = ["NIL", "AlreadyErased", "Erased", "Erasures", "Remember", "tell", "told_of", "until_done"]
