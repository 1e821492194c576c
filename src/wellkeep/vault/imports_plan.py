"""From decoded rows to a batch that can be written: what is new, what changed, what is as it was.

Rules: a record is found again by the tag of its external id, and whether anything changed is told by a keyed MAC of its
content, so a repeated import opens nothing and writes nothing; a record stays its patient's, and a row that says
otherwise is an error; what can't be stored is an error of its line, with path and code, and the others go on. Every so
many rows the loop is given back, so requests of others are not kept waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from wellkeep.base.errors import Validation
from wellkeep.base.ids import uuid7
from wellkeep.crypto.keys import SealingKey
from wellkeep.db.connection import Record
from wellkeep.db.pool import Pool
from wellkeep.gate.acts import Decision
from wellkeep.gate.calls import Row as Composite
from wellkeep.keys.subject import HeldSubjectKey
from wellkeep.keys.tenant import TenantKeys
from wellkeep.vault import imports_subjects
from wellkeep.vault.calls import KeyUse, bulk_row
from wellkeep.vault.context import Context
from wellkeep.vault.definition import EXTERNAL_ID, Collection, Field, SubjectMode
from wellkeep.vault.imports_line import LineError, Row, Value
from wellkeep.vault.input import LONGEST_EXTERNAL_ID
from wellkeep.vault.sealing import content_mac, seal_state
from wellkeep.vault.tags import Payload, external_tag, index_tags
from wellkeep.vault.tags import Tag as IndexTag
from wellkeep.vault.values import ValueRefused, encode

ROWS_BEFORE_YIELD = 20
_TAGS_KEPT = 1_000

_KNOWN = """
SELECT tag, id, subject_id, sealed_for, revision, content_mac FROM vault.import_known($1, $2::bytea[])
"""


@dataclass(slots=True)
class Plan:
    """One batch: composites to write, by line so that a refused one can be named, and what is counted without them."""

    rows: list[Composite] = field(default_factory=list)
    lines: dict[UUID, Row] = field(default_factory=dict)
    created: set[UUID] = field(default_factory=set)
    subjects: set[UUID] = field(default_factory=set)
    digests: list[tuple[UUID, bytes]] = field(default_factory=list)
    unchanged: list[Row] = field(default_factory=list)
    errors: list[LineError] = field(default_factory=list)
    takes: list[tuple[HeldSubjectKey, int, bool]] = field(default_factory=list)

    def refund(self) -> None:
        """Give back the seals that were counted for a batch that was not stored."""
        for key, seals, leased in self.takes:
            key.meter.refund(seals, leased=leased)
        self.takes.clear()


@dataclass(frozen=True, slots=True)
class _Prepared:
    row: Row
    payloads: list[Payload]
    tags: list[IndexTag]
    external: bytes


class Planner:
    """Plans the batches of one run."""

    def __init__(
        self,
        *,
        context: Context,
        pool: Pool,
        decision: Decision,
        keys: TenantKeys,
        collection: Collection,
        patients: Collection | None,
    ) -> None:
        """Plan for `collection`; `patients` resolves references, None where the tenant has no such collection."""
        self._context = context
        self._pool = pool
        self._decision = decision
        self._keys = keys
        self._collection = collection
        self._patients = patients
        self._tags: dict[tuple[int, bytes], list[IndexTag]] = {}

    async def plan(self, rows: Sequence[Row], *, refused: frozenset[int] = frozenset()) -> Plan:
        """Plan `rows`, whose external ids differ; lines in `refused` clashed with what is stored and become errors."""
        plan = Plan()
        prepared = []
        for place, row in enumerate(rows):
            if place % ROWS_BEFORE_YIELD == 0:
                await asyncio.sleep(0)
            if row.line in refused:
                plan.errors.append(LineError(row.line, row.end, "", "conflict"))
                continue
            one = self._prepare(row)
            if isinstance(one, LineError):
                plan.errors.append(one)
            else:
                prepared.append(one)
        if not prepared:
            return plan
        known, found = await self._look_up(prepared)
        await self._reserve(prepared)
        for place, one in enumerate(prepared):
            if place % ROWS_BEFORE_YIELD == 0:
                await asyncio.sleep(0)
            await self._put(plan, one, known.get(one.external), found)
        return plan

    def _prepare(self, row: Row) -> _Prepared | LineError:
        collection = self._collection
        if len(row.external_id) > LONGEST_EXTERNAL_ID:
            return LineError(row.line, row.end, "external_id", "too-long")
        for name in collection.required:
            if row.fields.get(name) is None:
                return LineError(row.line, row.end, f"fields.{name}", "required")
        payloads: list[Payload] = []
        for name, value in row.fields.items():
            declared = collection.by_name.get(name)
            if declared is None:
                return LineError(row.line, row.end, "fields.*", "unknown-field")
            if value is None:
                continue
            try:
                payloads.append((declared, _payload(declared, value, row)))
            except ValueRefused as refused:
                return LineError(row.line, row.end, f"fields.{name}", refused.code)
        try:
            tags = [tag for payload in payloads if payload[0].index != "none" for tag in self._tags_of(payload)]
        except Validation as refused:
            return LineError(row.line, row.end, "fields", refused.fields[0].code)
        external = external_tag(self._keys, collection=collection.id, external_id=row.external_id)
        tags.append(IndexTag(EXTERNAL_ID, external, unique=True))
        return _Prepared(row, payloads, tags, external)

    def _tags_of(self, payload: Payload) -> list[IndexTag]:
        """Return the tags of one value; neighbours share many (an encounter, a day), so the last ones are kept."""
        field, value = payload
        known = self._tags.get((field.id, value))
        if known is None:
            if len(self._tags) >= _TAGS_KEPT:
                self._tags.clear()
            known = index_tags(
                self._keys, collection=self._collection.id, payloads=(payload,), region=self._context.region
            )
            self._tags[field.id, value] = known
        return known

    async def _look_up(self, prepared: Sequence[_Prepared]) -> tuple[dict[bytes, Record], imports_subjects.Found]:
        rows = [one.row for one in prepared]
        async with self._pool.tenant_transaction(tenant=self._decision.tenant) as connection:
            records = await connection.fetch(_KNOWN, self._collection.id, [one.external for one in prepared])
            known = {record["tag"]: record for record in records}
            holders = [record["sealed_for"] for record in records if record["sealed_for"] is not None]
            if self._collection.subject is not SubjectMode.REQUIRED and not holders:
                return known, imports_subjects.Found()
            return known, await imports_subjects.find(
                connection, keys=self._keys, patients=self._patients, rows=rows, holders=holders
            )

    async def _reserve(self, prepared: Sequence[_Prepared]) -> None:
        """Count the seals of records of no patient, and hold the key that they are sealed under."""
        self._data: SealingKey | None = None
        if self._collection.subject is SubjectMode.NONE:
            self._data = await self._keys.data_key(seals=sum(len(one.payloads) + 1 for one in prepared))

    async def _put(self, plan: Plan, one: _Prepared, known: Record | None, found: imports_subjects.Found) -> None:
        row = one.row
        owner: UUID | None = None
        if self._collection.subject is SubjectMode.REQUIRED:
            named = found.of(row)
            if named is None:
                plan.errors.append(LineError(row.line, row.end, row.place, "unresolved-reference"))
                return
            if known is not None and named.subject not in (known["subject_id"], known["sealed_for"]):
                plan.errors.append(LineError(row.line, row.end, row.place, "another-subject"))
                return
            owner = named.subject if known is None else known["sealed_for"]
        mac = content_mac(
            self._keys,
            collection=self._collection.id,
            external_tag=one.external,
            payloads=one.payloads,
            subject=owner,
        )
        if known is not None and known["content_mac"] == mac:
            plan.unchanged.append(row)
            return
        holder = found.by_holder.get(known["sealed_for"]) if known is not None else found.of(row)
        await self._seal(plan, one, known, holder, mac)

    async def _seal(
        self,
        plan: Plan,
        one: _Prepared,
        known: Record | None,
        holder: imports_subjects.Holder | None,
        mac: bytes,
    ) -> None:
        keying = await self._keying(plan, known, holder, seals=len(one.payloads) + 1)
        if keying is None:
            plan.errors.append(LineError(one.row.line, one.row.end, one.row.place, "subject-erased"))
            return
        key, use = keying
        record = uuid7() if known is None else known["id"]
        state = seal_state(
            key,
            tenant=self._decision.tenant,
            collection=self._collection.id,
            record=record,
            payloads=one.payloads,
            tags=one.tags,
            external_id=one.row.external_id,
            mac=mac,
        )
        plan.rows.append(bulk_row(record, expected=0 if known is None else known["revision"], use=use, state=state))
        plan.lines[record] = one.row
        plan.digests.append((record, state.digest))
        if known is None:
            plan.created.add(record)
        owner = known["subject_id"] if known is not None else use.subject
        if owner is not None:
            plan.subjects.add(owner)

    async def _keying(
        self, plan: Plan, known: Record | None, holder: imports_subjects.Holder | None, *, seals: int
    ) -> tuple[SealingKey, KeyUse] | None:
        """Return the key that seals a row and how the write names it; None where its subject has no key any more."""
        if self._data is not None:
            return self._data, KeyUse(0)
        if holder is not None:
            leased = self._take(plan, holder.key, seals)
            return holder.key, KeyUse(2, holder.subject, holder.key.kid, lease=leased)
        if known is not None or self._collection.subject is not SubjectMode.SELF:
            return None
        subject = uuid7()
        new = await self._keys.new_subject_key(subject)
        self._take(plan, new.key, seals)
        return new.key, KeyUse(1, subject, new.kid, new.wrapped, new.wrap_epoch)

    @staticmethod
    def _take(plan: Plan, key: HeldSubjectKey, seals: int) -> bool:
        leased = key.meter.take(seals)
        plan.takes.append((key, seals, leased))
        return leased


def _payload(declared: Field, value: Value, row: Row) -> bytes:
    """Return the payload of `value`; raises ValueRefused.

    The decoder has read a resource strictly already, and a second reading would cost a tenth of the import.
    """
    if value is not row.checked or declared.type != "json":
        return encode(declared, value)
    if len(row.payload) > declared.max_length:
        raise ValueRefused("too-long")
    return row.payload
