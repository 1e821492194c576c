"""The walk of a rotation: over the records and their history, a page at a time, then the end of what is old.

Rules: all patients have their next keys before anything is sealed anew, so new writes use those from the start. Records
before history, for a change moves a state from the one to the other and never back, so what the walk of the records has
brought up to date is that in history too. A turn that passed anything over is followed by another one; what is old is
retired by the transaction that saw nothing of it left. In the tier `index` no old tag goes before every process
searches under both epochs, and the older epoch is written no more before its last tags are taken off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

import msgspec

from wellkeep.base.errors import Internal
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.gate.acts import Decision
from wellkeep.gate.transaction import GateTransaction
from wellkeep.keys.rotation import Tier
from wellkeep.ledger.actions import Action
from wellkeep.vault import resealing_answers, resealing_keys, resealing_rows, resealing_states
from wellkeep.vault.calls import NIL
from wellkeep.vault.context import Context
from wellkeep.vault.definition import Definition
from wellkeep.vault.resealing_bring import Retag, Wanted
from wellkeep.vault.resealing_pace import Pace
from wellkeep.vault.resealing_page import Page
from wellkeep.vault.resealing_rows import PHASES, Phase, Place, Rotation, first_place
from wellkeep.vault.resealing_scope import collections_of, held_collection

SETTLE_SECONDS = 5.0
_TURNS = 8
"""So often a walk begins anew; what is left then is not passed over by chance."""
_CARRIED = "still-carried"
_CONFLICT = "index-conflict"
_UPDATE = """
UPDATE vault.collection SET version = version + 1, definition = $2, updated_at = clock_timestamp() WHERE id = $1
"""


class Walk:
    """One step of one rotation, as the row stood when it was read."""

    def __init__(
        self, context: Context, decision: Decision, rotation: Rotation, *, pace: Pace, settle_seconds: float
    ) -> None:
        """Act under `decision`, the system's own."""
        self._context = context
        self._decision = decision
        self._rotation = rotation
        self._settle = settle_seconds
        self._pace = pace
        self._page = Page(context, decision, rotation, pace)

    async def step(self) -> int:
        """Do the next page, or what ends a phase; returns how many fields were sealed anew."""
        match self._rotation.place.phase:
            case Phase.PEOPLE:
                await self._people()
            case Phase.RECORDS | Phase.STRIP:
                return await self._states(history=False)
            case Phase.HISTORY:
                return await self._states(history=True)
            case Phase.NARROW:
                await self._narrow()
            case Phase.ANSWERS:
                return await self._answers()
            case Phase.RETIRE:
                await self._retire()
        return 0

    async def _states(self, *, history: bool) -> int:
        place, rotation = self._rotation.place, self._rotation
        await self._settled()
        async with self._context.gate.reading(self._decision) as connection:
            collections = await collections_of(connection, rotation.tier, rotation.collection)
            ahead = [one for one in collections if one.id >= place.collection]
            for collection in ahead:
                after, revision = (place.record, place.revision) if collection.id == place.collection else (NIL, 0)
                if history:
                    states, more = await resealing_states.history(
                        connection, collection.id, after, revision, most=self._pace.size
                    )
                else:
                    states, more = await resealing_states.records(
                        connection, collection.id, after, most=self._pace.size
                    )
                if more:
                    break
            else:
                states = []
        if not states:
            await self._next_phase()
            return 0
        last = states[-1]
        to = place._replace(collection=collection.id, record=last.id, revision=last.revision if history else 0)
        keys = await self._context.keys_for(self._decision.tenant, collection)
        wanted = Wanted(collection, keys, self._retag(history=history), self._context.region)
        return (await self._page.bring(wanted, states, to)).fields

    async def _people(self) -> None:
        """Make the next keys of a page of patients: whoever writes for one of them seals under it from then on."""
        place, started = self._rotation.place, self._rotation.started_at
        async with self._context.gate.reading(self._decision) as connection:
            last, _, old = await resealing_keys.people_behind(connection, place.record, before=started)
        if old:
            await self._next_generations(old)
        to = self._following() if last is None else place._replace(record=last)
        async with self._context.gate.reading(self._decision) as connection:
            await resealing_rows.advance(connection, self._rotation, to)

    async def _next_generations(self, people: Sequence[UUID]) -> None:
        keys = await self._context.keys(self._decision.tenant)
        before = self._rotation.started_at
        await resealing_keys.next_generations(self._context, self._decision, keys, people, before=before)

    def _retag(self, *, history: bool) -> Retag:
        if history:
            return Retag.KEEP
        if self._rotation.tier is Tier.INDEX:
            return Retag.STRIP if self._rotation.place.phase is Phase.STRIP else Retag.RENEW
        return Retag.ADD if self._rotation.tier is Tier.FIELD else Retag.KEEP

    async def _settled(self) -> None:
        """Wait until no process searches under the older epoch alone."""
        if self._rotation.tier is Tier.INDEX and self._rotation.place == first_place(Tier.INDEX):
            age = (self._context.clock.now() - self._rotation.started_at).total_seconds()
            if age < self._settle:
                await asyncio.sleep(self._settle - age)

    def _following(self) -> Place:
        """Return where the walk goes on behind this phase: once more through it where anything was passed over."""
        place = self._rotation.place
        if place.left and place.turn < _TURNS:
            return Place(place.phase, place.turn + 1)
        phases = PHASES[self._rotation.tier]
        return Place(phases[phases.index(place.phase) + 1], place.turn)

    async def _next_phase(self) -> None:
        async with self._context.gate.reading(self._decision) as connection:
            await resealing_rows.advance(connection, self._rotation, self._following())

    async def _answers(self) -> int:
        keys = await self._context.keys(self._decision.tenant)
        done = await resealing_answers.page(self._context, self._decision, keys)
        if not done:
            await self._next_phase()
        return done

    async def _narrow(self) -> None:
        async with self._context.gate.transaction(self._decision) as work:
            await resealing_keys.narrow(work, self._target)
            await resealing_rows.advance(work.connection, self._rotation, self._following())
        await self._renew()

    async def _retire(self) -> None:
        match self._rotation.tier:
            case Tier.SUBJECT:
                await self._retire_people()
            case Tier.FIELD:
                try:
                    await self._complete()
                except resealing_keys.StillCarried:
                    await self._again(Phase.RECORDS)
            case _:
                await self._retire_epoch()

    async def _retire_people(self) -> None:
        """Destroy the replaced keys of a page of patients; behind the last, end, or walk once more."""
        place, started = self._rotation.place, self._rotation.started_at
        async with self._context.gate.reading(self._decision) as connection:
            last, replaced, old = await resealing_keys.people_behind(connection, place.record, before=started)
        if last is None:
            await self._end_or_again()
            return
        if old:  # made by a write of before the rotation that ended behind its first walk over the patients
            await self._next_generations(old)
        people = sorted({*replaced, *old})
        if not people:
            async with self._context.gate.reading(self._decision) as connection:
                await resealing_rows.advance(connection, self._rotation, place._replace(record=last))
            return
        async with self._context.gate.transaction(self._decision) as work:
            left = await resealing_keys.destroy_generations(work, people)
            to = place._replace(record=last, left=place.left + left)
            await resealing_rows.advance(work.connection, self._rotation, to)

    async def _end_or_again(self) -> None:
        place = self._rotation.place
        if place.left:
            await self._again(Phase.RECORDS)
            return
        async with self._context.gate.transaction(self._decision) as work:
            await self._end(work)

    async def _retire_epoch(self) -> None:
        retire = resealing_keys.retire_index if self._rotation.tier is Tier.INDEX else resealing_keys.retire_data
        try:
            async with self._context.gate.transaction(self._decision) as work:
                await retire(work, self._target)
                await self._end(work)
        except resealing_keys.StillCarried:
            await self._again(Phase.STRIP if self._rotation.tier is Tier.INDEX else Phase.RECORDS)
            return
        await self._renew()

    async def _again(self, phase: Phase) -> None:
        """Walk once more for what an old key is still needed for; where that does not end, say so and keep the key."""
        place = self._rotation.place
        if place.turn < _TURNS:
            async with self._context.gate.reading(self._decision) as connection:
                await resealing_rows.advance(connection, self._rotation, Place(phase, place.turn + 1))
            return
        async with self._context.gate.transaction(self._decision) as work:
            await self._end(work, error=_CARRIED)
        self._context.findings.note(
            self._decision.tenant,
            kind=Kind.KEYS_ROTATION_FAILED,
            severity=Severity.HIGH,
            key=finding_key(Kind.KEYS_ROTATION_FAILED, self._rotation.tier.value),
            detail={"tier": self._rotation.tier.value, "error": _CARRIED},
        )

    async def _complete(self) -> None:
        """Let the added indexes be searched, unless a unique one could not take every value: then say so and end."""
        rotation = self._rotation
        async with self._context.gate.transaction(self._decision) as work:
            old = await held_collection(work.connection, rotation.collection)
            if await resealing_states.stand_clear(work.connection, old):
                raise resealing_keys.StillCarried
            if rotation.conflicts:
                await self._end(work, error=_CONFLICT)
            else:
                fields = tuple(msgspec.structs.replace(field, building=False) for field in old.definition.fields)
                definition = msgspec.json.encode(Definition(subject=old.subject, fields=fields)).decode()
                await work.connection.execute(_UPDATE, old.id, definition)
                await self._end(work)
        self._context.forget_collection(self._decision.tenant, old.name)

    async def _end(self, work: GateTransaction, *, error: str | None = None) -> None:
        state = "done" if error is None else "failed"
        if not await resealing_rows.end(work.connection, self._rotation, state, error=error):
            raise resealing_rows.Superseded
        work.record(
            action=Action.ROTATION_ENDED,
            resource_type="rotation",
            resource_id=str(self._rotation.id),
            count=self._rotation.done,
        )

    async def _renew(self) -> None:
        """Have this process read the keys again; the others hear of it."""
        self._context.keyring.expire(self._decision.tenant)
        await self._context.keys(self._decision.tenant)

    @property
    def _target(self) -> int:
        if self._rotation.target is None:
            raise Internal("A rotation to another epoch names it")
        return self._rotation.target
