"""Rows of a batch, sealed: each under its patient's key, or left as it was where nothing about it changed.

Rules: a record stays its patient's, and a row that says otherwise is an error; what is as it was is told by the keyed
MAC of its content and is neither opened nor sealed; seals are counted before they are made and given back where a batch
is not stored; a row whose patient has no key any more is an error of its line.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from wellkeep.base.ids import uuid7, uuid7s
from wellkeep.crypto import envelope
from wellkeep.crypto.keys import SealingKey
from wellkeep.crypto.padding import ValueType
from wellkeep.db.connection import Record
from wellkeep.gate.calls import Row as Composite
from wellkeep.keys.subject import HeldSubjectKey
from wellkeep.keys.tenant import TenantKeys
from wellkeep.vault.calls import KeyUse, SealedState, bulk_row
from wellkeep.vault.definition import EXTERNAL_ID, Collection, SubjectMode
from wellkeep.vault.imports_cells import Cell
from wellkeep.vault.imports_line import LineError, Row
from wellkeep.vault.imports_subjects import Found, Holder
from wellkeep.vault.sealing import content_macs, content_message, plain_json


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


class RowSealer:
    """Seals the rows of one batch into its plan."""

    def __init__(self, plan: Plan, *, tenant: UUID, collection: Collection, keys: TenantKeys, found: Found) -> None:
        """Seal for `collection`; `found` says whose the rows are."""
        self._plan = plan
        self._tenant = tenant.bytes
        self._collection = collection
        self._keys = keys
        self._found = found
        self._mac = content_macs(keys)
        self._data: SealingKey | None = None
        self._ids: list[UUID] = []

    async def reserve(self, seals: int, *, rows: int) -> None:
        """Make the ids of at most `rows` new records, and count the `seals` of records of no patient."""
        self._ids = uuid7s(rows)
        if self._collection.subject is SubjectMode.NONE:
            self._data = await self._keys.data_key(seals=seals)

    async def put(self, row: Row, cells: list[Cell], external: bytes, known: Record | None) -> None:
        """Put `row` into the plan: to be written, unchanged, or an error. `known` is the record that it was before."""
        named = self._found.of(row)
        owner: UUID | None = None
        if self._collection.subject is SubjectMode.REQUIRED:
            if named is None:
                self._refuse(row, "unresolved-reference")
                return
            if known is not None and named.subject not in (known["subject_id"], known["sealed_for"]):
                self._refuse(row, "another-subject")
                return
            owner = named.subject if known is None else known["sealed_for"]
        parts = [cell.part for cell in cells]
        mac = self._mac.of(content_message(self._collection.id, external, owner, parts))
        if known is not None and known["content_mac"] == mac:
            self._plan.unchanged.append(row)
            return
        holder = self._found.by_holder.get(known["sealed_for"]) if known is not None else named
        keying = await self._keying(known, holder, seals=len(cells) + 1)
        if keying is None:
            self._refuse(row, "subject-erased")
            return
        key, use = keying
        record = self._ids.pop() if known is None else known["id"]
        state = self._sealed(key, record, row, cells, external, mac)
        self._keep(row, record, known, use, state)

    def _refuse(self, row: Row, code: str) -> None:
        self._plan.errors.append(LineError(row.line, row.end, row.place, code))

    def _sealed(
        self, key: SealingKey, record: UUID, row: Row, cells: list[Cell], external: bytes, mac: bytes
    ) -> SealedState:
        items = [cell.item for cell in cells if cell.sealed]
        items.append((EXTERNAL_ID, ValueType.STRING, row.external_id.encode(), False))
        identity = record.bytes
        sealed = envelope.seal_record(
            key, tenant=self._tenant, collection=self._collection.id, record=identity, items=items
        )
        field_ids = [item[0] for item in items]
        unique = [(cell.field, tag) for cell in cells for tag in cell.unique]
        unique.append((EXTERNAL_ID, external))
        tags = unique + [(cell.field, tag) for cell in cells for tag in cell.ordinary]
        return SealedState(
            field_ids=field_ids,
            sealed=sealed,
            plain=plain_json({cell.field: cell.item[2].decode() for cell in cells if not cell.sealed}),
            tag_fields=[field for field, _ in tags],
            tags=[tag for _, tag in tags],
            unique_tags=len(unique),
            content_mac=mac,
            digest=envelope.digest(identity, zip(field_ids, sealed, strict=True)),
        )

    def _keep(self, row: Row, record: UUID, known: Record | None, use: KeyUse, state: SealedState) -> None:
        plan = self._plan
        plan.rows.append(bulk_row(record, expected=0 if known is None else known["revision"], use=use, state=state))
        plan.lines[record] = row
        plan.digests.append((record, state.digest))
        if known is None:
            plan.created.add(record)
        owner = known["subject_id"] if known is not None else use.subject
        if owner is not None:
            plan.subjects.add(owner)

    async def _keying(
        self, known: Record | None, holder: Holder | None, *, seals: int
    ) -> tuple[SealingKey, KeyUse] | None:
        """Return the key that seals a row and how the write names it; None where its subject has no key any more."""
        if self._data is not None:
            return self._data, KeyUse(0)
        if holder is not None:
            leased = self._take(holder.key, seals)
            return holder.key, KeyUse(2, holder.subject, holder.key.kid, lease=leased)
        if known is not None or self._collection.subject is not SubjectMode.SELF:
            return None
        subject = uuid7()
        new = await self._keys.new_subject_key(subject)
        self._take(new.key, seals)
        return new.key, KeyUse(1, subject, new.kid, new.wrapped, new.wrap_epoch)

    def _take(self, key: HeldSubjectKey, seals: int) -> bool:
        leased = key.meter.take(seals)
        self._plan.takes.append((key, seals, leased))
        return leased
