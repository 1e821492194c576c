"""Batch: up to 500 creates in one request, one transaction and one entry; each row has its own outcome.

Rules: a row that does not fit is told so and the others are written. What the database refuses (a unique value that is
taken) is taken out and the rest is tried again, so the entry names exactly the records that were made, with one digest
over (id, digest) in their order. A patient out of the caller's reach refuses the whole batch. Rows whose answer depends
on what is stored (a value that is taken, a subject that is not there) are entered as failed before they are answered,
with the records that were met: a batch would else be a quiet way to ask for five hundred values at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import msgspec

from wellkeep.base.errors import (
    Conflict,
    FieldProblem,
    IntegrityBroken,
    NotFound,
    SubjectErased,
    Unavailable,
    Validation,
    WellkeepError,
)
from wellkeep.base.ids import uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.turns import give_way
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.gate.events import Facts
from wellkeep.keys.seals import KeyReplaced
from wellkeep.keys.tenant import TenantKeys
from wellkeep.ledger.event import Action
from wellkeep.vault.calls import BulkWrite, Claim, LocateTags, bulk_row
from wellkeep.vault.context import Context
from wellkeep.vault.definition import Collection
from wellkeep.vault.idempotency import Request, request, stored_answer
from wellkeep.vault.input import check_subject, must_see, payloads
from wellkeep.vault.keying import Keying, for_new_record, keep, refund
from wellkeep.vault.outcomes import id_bytes
from wellkeep.vault.sealing import seal_state
from wellkeep.vault.tags import Payload, index_tags
from wellkeep.vault.values import Value

MOST_ROWS = 500
ROWS_BEFORE_YIELD = 2
"""So many rows are sealed in one go, under half a millisecond; then whoever waits gets turns of the event loop."""
_TRIES = 6
_ROW_ERRORS = (Validation, NotFound, SubjectErased, IntegrityBroken)


class NewRecord(msgspec.Struct, frozen=True):
    """One row of a batch."""

    fields: Mapping[str, Value]
    subject: UUID | None = None


class RowOutcome(msgspec.Struct, frozen=True):
    """What came of one row: the record that was made, or the code of the error and its places."""

    id: UUID | None = None
    subject: UUID | None = None
    error: str | None = None
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class _Attempt:
    """One try: the composites, and which row each record is."""

    rows: list[bytes] = field(default_factory=list)
    places: dict[UUID, int] = field(default_factory=dict)
    keyings: list[Keying] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)

    def refund(self) -> None:
        """Give back what was counted for rows that were not stored."""
        for keying in self.keyings:
            refund(keying)

    def facts(self) -> Facts:
        """Return what the entry says of the records."""
        people = {keying.use.subject for keying in self.keyings if keying.use.subject is not None}
        return Facts(
            records=tuple(self.places),
            subjects=tuple(people),
            count=len(self.rows),
            digest=hashlib.sha256(b"".join(self.digests)).digest(),
        )


@dataclass(slots=True)
class _Refused:
    """What was refused so far: each row's error, the rows tried once more, the records whose values were met."""

    errors: dict[int, WellkeepError] = field(default_factory=dict)
    again: set[int] = field(default_factory=set)
    met: dict[UUID, UUID | None] = field(default_factory=dict)

    def telling(self) -> dict[int, WellkeepError]:
        """Return the errors that say something about what is stored."""
        return {place: error for place, error in self.errors.items() if not isinstance(error, Validation)}


class Batches:
    """The service of `…/records/batch`."""

    def __init__(self, context: Context) -> None:
        """Work within `context`."""
        self._context = context

    async def create(
        self, caller: Caller, collection: str, rows: Sequence[NewRecord], *, idempotency_key: str | None = None
    ) -> list[RowOutcome]:
        """Make the records; returns one outcome a row, in their order.

        Raises Validation for no row or more than 500, NotFound (collection), Forbidden, and what the gate raises.
        """
        decision = await self._context.gate.decide(
            caller, Act(Permission.RECORD_CREATE, Action.RECORD_BATCH, "record", collection=collection)
        )
        if not 1 <= len(rows) <= MOST_ROWS:
            raise Validation(fields=(FieldProblem("/records", "out-of-range"),))
        decision = await self._context.gate.must_reach(decision, *(row.subject for row in rows))
        refused = _Refused()
        for _ in range(_TRIES):
            target = await self._context.collection(decision, collection)
            await must_see(self._context.gate, decision, target, {name: 0 for row in rows for name in row.fields})
            keys = await self._context.keys_for(decision.tenant, target)
            values = await self._values(target, rows, refused)
            asked = await request(
                keys,
                credential=caller.principal.credential,
                idempotency_key=idempotency_key,
                parts=_parts(target, rows),
            )
            try:
                done = await self._write(decision, target, keys, rows, values, refused, asked)
            except KeyReplaced:
                await self._context.keyring.renew(keys)
                continue
            if done is not None:
                return done
        raise Unavailable("The collection is being changed by others; try again", retry_after=1)

    async def _values(
        self, target: Collection, rows: Sequence[NewRecord], refused: _Refused
    ) -> dict[int, list[Payload]]:
        found = {}
        for place, row in enumerate(rows):
            if place % ROWS_BEFORE_YIELD == 0:
                await give_way()
            if place in refused.errors:
                continue
            try:
                check_subject(target, row.subject)
                found[place] = payloads(target, row.fields)
            except _ROW_ERRORS as error:
                refused.errors[place] = error
        return found

    async def _write(
        self,
        decision: Decision,
        target: Collection,
        keys: TenantKeys,
        rows: Sequence[NewRecord],
        values: dict[int, list[Payload]],
        refused: _Refused,
        asked: Request | None,
    ) -> list[RowOutcome] | None:
        """Try once; None where rows were refused or the definition is not the current one any more."""
        attempt = await self._attempt(decision, target, keys, rows, values, refused)
        outcomes = _outcomes(len(rows), attempt, refused.errors)
        if not attempt.rows:
            await self._enter_refused(decision, rows, refused)
            return outcomes
        claim = None if asked is None else await asked.claim(keys, _Answer(tuple(outcomes)))
        call = self._call(decision, target, attempt, claim)
        try:
            (row,) = await self._context.gate.change(decision, call, **attempt.facts())
        except KeyReplaced:
            attempt.refund()
            raise
        if row["status"] == "ok":
            for keying in attempt.keyings:
                keep(self._context, decision, keying)
            await self._enter_refused(decision, rows, refused)
            return outcomes
        attempt.refund()
        if row["status"] == "replay":
            mac, sealed = row["stored_mac"], row["answer"]
            gate = self._context.gate
            keys = await self._context.keys_opening(keys, (sealed,))
            answer = await stored_answer(gate, decision, asked, keys=keys, stored_mac=mac, sealed=sealed, shape=_Answer)
            return list(answer.outcomes)
        clashing = self._learn(decision, target, rows, attempt, refused, row["refused"])
        refused.met |= await self._met(decision, target, keys, [values[place] for place in clashing])
        return None

    async def _attempt(
        self,
        decision: Decision,
        target: Collection,
        keys: TenantKeys,
        rows: Sequence[NewRecord],
        values: dict[int, list[Payload]],
        refused: _Refused,
    ) -> _Attempt:
        attempt = _Attempt()
        for place, payload in values.items():
            if place % ROWS_BEFORE_YIELD == 0:
                await give_way()
            try:
                await self._seal(decision, target, keys, attempt, place, payload, rows[place].subject)
            except _ROW_ERRORS as error:
                refused.errors[place] = error
            except KeyReplaced:
                attempt.refund()
                raise
        return attempt

    def _call(self, decision: Decision, target: Collection, attempt: _Attempt, claim: Claim | None) -> BulkWrite:
        return BulkWrite(
            credential=decision.caller.principal.credential,
            collection=target.id,
            version=target.version,
            at=self._context.clock.now(),
            claim=claim,
            rows=attempt.rows,
        )

    def _learn(
        self,
        decision: Decision,
        target: Collection,
        rows: Sequence[NewRecord],
        attempt: _Attempt,
        refused: _Refused,
        clashing: Sequence[UUID] | None,
    ) -> list[int]:
        """Return which rows clash; a row of a subject is first tried once more, with the subject read anew."""
        self._context.forget_collection(decision.tenant, target.name)
        found = []
        for record in clashing or ():
            place = attempt.places[record]
            subject = rows[place].subject
            if subject is not None and place not in refused.again:
                self._context.forget_person(decision.tenant, subject)
                refused.again.add(place)
            else:
                refused.errors[place] = Conflict("A value that must be unique is taken")
                found.append(place)
        return found

    async def _met(
        self, decision: Decision, target: Collection, keys: TenantKeys, clashing: Sequence[Sequence[Payload]]
    ) -> dict[UUID, UUID | None]:
        """Return the records, each with its subject, that have a unique value of the `clashing` rows already."""
        region = self._context.region
        tags = [
            tag
            for payload in clashing
            for tag in index_tags(keys, collection=target.id, payloads=payload, region=region)
            if tag.unique
        ]
        if not tags:
            return {}
        call = LocateTags(
            decision.caller.principal.credential, target.id, [tag.field for tag in tags], [tag.tag for tag in tags]
        )
        return {row["id"]: row["subject_id"] for row in await self._context.gate.read(decision, call)}

    async def _enter_refused(self, decision: Decision, rows: Sequence[NewRecord], refused: _Refused) -> None:
        telling = refused.telling()
        if not telling:
            return
        asked = {rows[place].subject for place in telling}
        people = sorted({subject for subject in asked | {*refused.met.values()} if subject is not None})
        await self._context.gate.failed(
            decision,
            error=next(iter(telling.values())).code,
            records=tuple(refused.met),
            subjects=tuple(people),
            count=len(telling),
        )

    async def _seal(
        self,
        decision: Decision,
        target: Collection,
        keys: TenantKeys,
        attempt: _Attempt,
        place: int,
        payload: list[Payload],
        subject: UUID | None,
    ) -> None:
        record = uuid7()
        tags = index_tags(keys, collection=target.id, payloads=payload, region=self._context.region)
        keying = await for_new_record(self._context, decision, target, keys, subject=subject, seals=len(payload))
        state = seal_state(
            keying.key,
            tenant=decision.tenant,
            collection=target.id,
            record=record,
            revision=1,
            sealed_for=keying.use.subject,
            payloads=payload,
            tags=tags,
        )
        attempt.rows.append(bulk_row(record, expected=0, use=keying.use, state=state))
        attempt.places[record] = place
        attempt.keyings.append(keying)
        attempt.digests.append(record.bytes + state.digest)


class _Answer(msgspec.Struct, frozen=True):
    outcomes: tuple[RowOutcome, ...]


def _parts(target: Collection, rows: Sequence[NewRecord]) -> Iterator[bytes]:
    """Return all that tells this batch from another: the rows as they were sent, the ones that are refused too."""
    yield from (b"batch", target.name.encode(), b"%d" % len(rows))
    for row in rows:
        yield from (id_bytes(row.subject), b"%d" % len(row.fields))
        for name in sorted(row.fields):
            value = row.fields[name]
            yield from (name.encode(errors="surrogatepass"), type(value).__name__.encode())
            yield bytes(value) if isinstance(value, msgspec.Raw) else str(value).encode(errors="surrogatepass")


def _outcomes(total: int, attempt: _Attempt, refused: Mapping[int, WellkeepError]) -> list[RowOutcome]:
    made = {place: record for record, place in attempt.places.items()}
    subjects = dict(zip(attempt.places.values(), (keying.use.subject for keying in attempt.keyings), strict=True))
    found = []
    for place in range(total):
        error = refused.get(place)
        if error is None:
            found.append(RowOutcome(id=made[place], subject=subjects[place]))
        else:
            places = tuple((problem.path, problem.code) for problem in error.fields)
            found.append(RowOutcome(error=error.code, fields=places))
    return found
