"""One page of a resealing: what is met, entered, opened, sealed anew, and written back with an entry for each state.

Rules: before anything is opened an entry names every record of the page, durably, as it does for whoever reads; each
state that changes has an entry of its own, in the outbox of the same transaction, with its digest before and after. The
page moves the rotation on in that transaction too, so a page that was killed at any step is done again or was done. A
state that somebody changes meanwhile is passed over and met again in the next turn. Requests come first: the loop is
given back every few states, and a page waits where a rate is set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from uuid import UUID

from wellkeep.base.errors import IntegrityBroken
from wellkeep.crypto.keys import SealingKey
from wellkeep.db.connection import Connection
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.gate.acts import Decision
from wellkeep.gate.events import event
from wellkeep.gate.receipt import Receipt
from wellkeep.gate.transaction import GateTransaction
from wellkeep.keys.seals import BLOCK
from wellkeep.keys.subject import HeldSubjectKey
from wellkeep.ledger.event import Action, Event, Outcome
from wellkeep.vault import resealing_rows, resealing_states
from wellkeep.vault.context import Context
from wellkeep.vault.resealing_bring import Retag, Wanted, seals_needed
from wellkeep.vault.resealing_pace import Pace
from wellkeep.vault.resealing_rows import Place, Rotation
from wellkeep.vault.resealing_states import Brought, Met, PersonKeys
from wellkeep.vault.stored import subject_keys
from wellkeep.vault.values import ValueRefused

_AT_ONCE = 4
"""States that are opened and sealed in one go of the event loop: whoever reads meanwhile waits for that, not longer."""

_RECORD = "record"


class _NothingWrittenError(Exception):
    """No state of the page was there any more as it was met."""


@dataclass(slots=True)
class Tally:
    """What came of a page: fields sealed anew, states passed over, values that a unique index can't take."""

    fields: int = 0
    done: int = 0
    left: int = 0
    conflicts: int = 0


@dataclass(slots=True)
class _Seals:
    """The seals counted for a page; what was not stored is given back."""

    taken: list[tuple[HeldSubjectKey, int, bool]] = field(default_factory=list)

    def refund(self) -> None:
        for key, seals, leased in self.taken:
            key.meter.refund(seals, leased=leased)
        self.taken.clear()


class _Again(NamedTuple):
    """What it takes to bring a state of the page up once more."""

    wanted: Wanted
    receipt: Receipt
    keys: Mapping[UUID, PersonKeys]


class Page:
    """Works off pages of one rotation."""

    def __init__(self, context: Context, decision: Decision, rotation: Rotation, pace: Pace) -> None:
        """Act under `decision`, the system's own."""
        self._context = context
        self._decision = decision
        self._rotation = rotation
        self._pace = pace

    async def bring(self, wanted: Wanted, states: Sequence[Met], to: Place) -> Tally:
        """Bring `states`, all of one collection, up to what is wanted, and move the rotation on `to`.

        Raises Superseded, Unavailable, and what the gate raises.
        """
        tally = Tally()
        people = {state.sealed_for for state in states if state.sealed_for is not None}
        keys = await self._keys_of(people)
        due = [state for state in states if self._due(wanted, state, keys)]
        due = await self._sound([state for state in due if state.sealed_for is None or state.sealed_for in keys], tally)
        if not due:
            return await self._passed(to, tally)
        named = tuple(dict.fromkeys(state.id for state in due))
        subjects = tuple(dict.fromkeys(state.subject for state in due if state.subject is not None))
        receipt = await self._context.gate.disclose(self._decision, records=named, subjects=subjects, count=len(named))
        seals = _Seals()
        try:
            brought = await self._brought(wanted, receipt, due, keys, seals, tally)
            again = _Again(wanted, receipt, keys)
            return await self._write(brought, to, tally, again) if brought else await self._passed(to, tally)
        except BaseException:
            seals.refund()
            raise

    async def _keys_of(self, people: set[UUID]) -> Mapping[UUID, PersonKeys]:
        if not people:
            return {}
        async with self._context.gate.reading(self._decision) as connection:
            return await resealing_states.person_keys(connection, people)

    def _due(self, wanted: Wanted, met: Met, keys: Mapping[UUID, PersonKeys]) -> bool:
        """Whether anything of `met` may have to change; what nobody's key opens any more is erased, and stays."""
        if wanted.retags(met) or wanted.clear(met):
            return True
        if not met.sealed:
            return False
        if met.sealed_for is None:
            return wanted.stale(met, wanted.keys.data_kid)
        person = keys.get(met.sealed_for)
        if person is None or person.row is None:
            return False
        return wanted.stale(met, person.row.kid)

    async def _sound(self, due: list[Met], tally: Tally) -> list[Met]:
        """Return the states that are what was entered of them; the others are reported and stay as they are."""
        async with self._context.gate.reading(self._decision) as connection:
            attested = await resealing_states.attested(connection, due)
        sound = []
        for state in due:
            told = None if state.resealed is None else attested.get(state.resealed)
            if state.tags_right() and (told is None or told == state.digest().hex()):
                sound.append(state)
            else:
                tally.conflicts += 1
                self._report(Kind.REVISION_REPLAYED, Severity.CRITICAL, state)
        return sound

    async def _brought(
        self,
        wanted: Wanted,
        receipt: Receipt,
        due: Sequence[Met],
        keys: Mapping[UUID, PersonKeys],
        seals: _Seals,
        tally: Tally,
    ) -> list[Brought]:
        brought = []
        opening: dict[UUID, dict[bytes, HeldSubjectKey]] = {}
        for place, met in enumerate(due):
            if place % _AT_ONCE == 0:
                await self._pace.give_way()
            try:
                one = await self._one(wanted, receipt, met, keys, opening, seals)
            except (IntegrityBroken, ValueRefused) as refused:
                tally.conflicts += 1
                one = None
                if isinstance(refused, ValueRefused):
                    self._report(Kind.INDEX_CONFLICT, Severity.MEDIUM, met)
                    one = await self._one(replace(wanted, retag=Retag.KEEP), receipt, met, keys, opening, seals)
            if one is not None:
                brought.append(one)
        return brought

    async def _one(
        self,
        wanted: Wanted,
        receipt: Receipt,
        met: Met,
        keys: Mapping[UUID, PersonKeys],
        opening: dict[UUID, dict[bytes, HeldSubjectKey]],
        seals: _Seals,
    ) -> Brought | None:
        lease = False
        kid: bytes | None = None
        if met.sealed_for is None:
            needed = seals_needed(wanted, met, wanted.keys.data_kid)
            key: SealingKey = await wanted.keys.data_key(seals=max(needed, 1))
            openers: Mapping[bytes, SealingKey] = wanted.keys.data_keys
        else:
            person = keys[met.sealed_for]
            if person.row is None:
                return None
            held = opening.get(met.sealed_for)
            if held is None:
                held = opening[met.sealed_for] = subject_keys(wanted.keys, subject=met.sealed_for, rows=person.rows)
            own = held[person.row.kid]
            openers, key = held, own
            needed = seals_needed(wanted, met, person.row.kid)
            if needed:
                kid = person.row.kid
                lease = _take(own, min(needed, BLOCK), seals)
        made = wanted.bring(receipt, met, opening=openers, key=key)
        if made is None:
            return None
        return Brought(met, made[0], made[1], kid, lease, met.digest())

    async def _write(self, brought: Sequence[Brought], to: Place, tally: Tally, again: _Again) -> Tally:
        events = []
        for number, one in enumerate(brought):
            if number % _AT_ONCE == 0:
                await self._pace.give_way()
            events.append(self._event(one))
        try:
            async with self._context.gate.transaction(self._decision) as work:
                statuses = await resealing_states.write(
                    work.connection, [one.row(made.id) for one, made in zip(brought, events, strict=True)]
                )
                for one, made, status in zip(brought, events, statuses, strict=True):
                    self._count(tally, one, status)
                    if status == "ok":
                        work.record_made(made)
                    elif status == "conflict":
                        await self._without_tags(work, one.met, again, tally)
                _something(tally)
                await self._advance(work.connection, to, tally)
        except _NothingWrittenError:
            return await self._passed(to, tally)
        return tally

    async def _without_tags(self, work: GateTransaction, met: Met, again: _Again, tally: Tally) -> None:
        """Seal anew what has to be, also where the tags that belong to it are another record's."""
        wanted = replace(again.wanted, retag=Retag.KEEP)
        one = await self._one(wanted, again.receipt, met, again.keys, {}, _Seals())
        if one is not None:
            made = self._event(one)
            (status,) = await resealing_states.write(work.connection, [one.row(made.id)])
            self._count(tally, one, status)
            if status == "ok":
                work.record_made(made)

    def _count(self, tally: Tally, one: Brought, status: str) -> None:
        if status == "ok":
            tally.done += 1
            tally.fields += len(one.state.sealed)
        elif status == "conflict":
            tally.conflicts += 1
            self._report(Kind.INDEX_CONFLICT, Severity.MEDIUM, one.met)
        else:
            tally.left += 1

    async def _passed(self, to: Place, tally: Tally) -> Tally:
        async with self._context.gate.reading(self._decision) as connection:
            await self._advance(connection, to, tally)
        return tally

    async def _advance(self, connection: Connection, to: Place, tally: Tally) -> None:
        place = to._replace(left=to.left + tally.left)
        await resealing_rows.advance(
            connection,
            self._rotation,
            place,
            done=tally.done,
            conflicts=tally.conflicts,
        )

    def _event(self, one: Brought) -> Event:
        return event(
            self._decision,
            outcome=Outcome.DONE,
            action=Action.RECORD_RESEALED,
            resource_type=_RECORD,
            resource_id=str(one.met.id),
            subject=one.met.subject,
            records=(one.met.id,),
            digest=one.state.digest,
            prior=one.prior,
            revision=one.met.revision,
        )

    def _report(self, kind: Kind, severity: Severity, met: Met) -> None:
        self._context.findings.note(
            self._decision.tenant,
            kind=kind,
            severity=severity,
            key=finding_key(kind, met.collection, met.id),
            detail={"collection": met.collection, "record": str(met.id), "revision": met.revision},
        )


def _something(tally: Tally) -> None:
    """Leave the transaction where there is nothing to commit but the place."""
    if not tally.done:
        raise _NothingWrittenError


def _take(key: HeldSubjectKey, needed: int, seals: _Seals) -> bool:
    leased = key.meter.take(needed)
    seals.taken.append((key, needed, leased))
    return leased
