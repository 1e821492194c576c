"""Rows of a batch, sealed: each under its patient's key, or left as it was where nothing about it changed.

Rules: a record stays its patient's, and a row that says otherwise is an error; what is as it was is told by the keyed
MAC of its content and is neither opened nor sealed; seals are counted before they are made and given back where a batch
is not stored; a row whose patient has no key any more is an error of its line.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from wellkeep.base.ids import uuid7, uuid7s
from wellkeep.crypto import envelope
from wellkeep.crypto.keys import SealingKey
from wellkeep.crypto.padding import ValueType
from wellkeep.db.connection import Record
from wellkeep.keys.subject import HeldSubjectKey
from wellkeep.keys.tenant import TenantKeys
from wellkeep.vault import packed
from wellkeep.vault.definition import EXTERNAL_ID, Collection, SubjectMode
from wellkeep.vault.fingerprint import state_digest, tags_digest
from wellkeep.vault.imports_cells import Cell
from wellkeep.vault.imports_line import LineError, Row
from wellkeep.vault.imports_subjects import Found, Holder
from wellkeep.vault.sealing import content_macs, content_message, plain_json


@dataclass(slots=True)
class Plan:
    """One batch: composites to write, by line so that a refused one can be named, and what is counted without them.

    `unique` holds the unique tags of each record to be written; `met` the records that lines met and that stay as they
    are, each with its subject.
    """

    rows: list[bytes] = field(default_factory=list)
    lines: dict[UUID, Row] = field(default_factory=dict)
    created: set[UUID] = field(default_factory=set)
    subjects: set[UUID] = field(default_factory=set)
    digests: list[tuple[UUID, bytes]] = field(default_factory=list)
    unchanged: list[Row] = field(default_factory=list)
    unique: dict[UUID, list[tuple[int, bytes]]] = field(default_factory=dict)
    met: dict[UUID, UUID | None] = field(default_factory=dict)
    errors: list[LineError] = field(default_factory=list)
    takes: list[tuple[HeldSubjectKey, int, bool]] = field(default_factory=list)

    def refund(self) -> None:
        """Give back the seals that were counted for a batch that was not stored."""
        for key, seals, leased in self.takes:
            key.meter.refund(seals, leased=leased)
        self.takes.clear()


class _Keying(NamedTuple):
    """A key to seal with, whose it is, and the columns of a row that name it."""

    key: SealingKey
    subject: UUID | None
    columns: bytes


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
        self._data: _Keying | None = None
        self._keyings: dict[UUID, _Keying] = {}
        self._ids: list[UUID] = []

    async def reserve(self, seals: int, *, rows: int) -> None:
        """Make the ids of at most `rows` new records, and count the `seals` of records of no patient."""
        self._ids = uuid7s(rows)
        if self._collection.subject is SubjectMode.NONE:
            key = await self._keys.data_key(seals=seals)
            self._data = _Keying(key, None, packed.key_columns(0, None, None, None, None, lease=False))

    async def put(self, row: Row, cells: list[Cell], external: list[bytes], known: Record | None) -> None:
        """Put `row` into the plan: to be written, unchanged, or an error. `known` is the record that it was before."""
        named = self._found.of(row)
        owner: UUID | None = None
        if self._collection.subject is SubjectMode.REQUIRED:
            if named is None:
                self._refuse(row, "unresolved-reference")
                return
            if known is not None and named.subject not in (known["subject_id"], known["sealed_for"]):
                self._meet(known)
                self._refuse(row, "another-subject")
                return
            owner = named.subject if known is None else known["sealed_for"]
        parts = [cell.part for cell in cells]
        mac = self._mac.of(content_message(self._collection.id, row.external_id, owner, parts))
        if known is not None and known["content_mac"] == mac:
            self._meet(known)
            self._plan.unchanged.append(row)
            return
        holder = self._found.by_holder.get(known["sealed_for"]) if known is not None else named
        keying = await self._keying(known, holder, seals=len(cells) + 1)
        if keying is None:
            if known is not None:
                self._meet(known)
            self._refuse(row, "subject-erased")
            return
        self._write(row, cells, external, mac, known, keying)

    def _meet(self, known: Record) -> None:
        self._plan.met[known["id"]] = known["subject_id"]

    def _refuse(self, row: Row, code: str) -> None:
        self._plan.errors.append(LineError(row.line, row.end, row.place, code))

    def _write(
        self, row: Row, cells: list[Cell], external: list[bytes], mac: bytes, known: Record | None, keying: _Keying
    ) -> None:
        record = self._ids.pop() if known is None else known["id"]
        field_ids, sealed = self._seal(row, cells, record, keying.key)
        unique = [(cell.field, tag) for cell in cells for tag in cell.unique]
        unique += [(EXTERNAL_ID, tag) for tag in external]
        self._plan.unique[record] = unique
        tags = unique + [(cell.field, tag) for cell in cells for tag in cell.ordinary]
        tag_fields, tag_bytes = tuple([field for field, _ in tags]), [tag for _, tag in tags]
        indexed = tags_digest(tag_fields, tag_bytes)
        plain = {cell.field: cell.item[2].decode() for cell in cells if not cell.sealed}
        expected = 0 if known is None else known["revision"]
        digest = state_digest(
            record.bytes,
            collection=self._collection.id,
            revision=expected + 1,
            field_ids=field_ids,
            sealed=sealed,
            sealed_for=keying.subject,
            plain=plain,
            tags=indexed,
        )
        state = packed.state_columns(
            field_ids=field_ids,
            sealed=sealed,
            plain=plain_json(plain),
            tag_fields=tag_fields,
            tags=tag_bytes,
            unique_tags=len(unique),
            content_mac=mac,
            digest=indexed,
        )
        packed_row = packed.bulk_row(record, expected=expected, keyed=keying.columns, state=state)
        self._keep(row, record, known, keying, packed_row, digest)

    def _seal(self, row: Row, cells: list[Cell], record: UUID, key: SealingKey) -> tuple[tuple[int, ...], list[bytes]]:
        """Return the sealed fields of a row, the external id last, and their envelopes."""
        items = [cell.item for cell in cells if cell.sealed]
        items.append((EXTERNAL_ID, ValueType.STRING, row.external_id.encode(), False))
        sealed = envelope.seal_record(
            key, tenant=self._tenant, collection=self._collection.id, record=record.bytes, items=items
        )
        return tuple([item[0] for item in items]), sealed

    def _keep(
        self, row: Row, record: UUID, known: Record | None, keying: _Keying, packed_row: bytes, digest: bytes
    ) -> None:
        plan = self._plan
        plan.rows.append(packed_row)
        plan.lines[record] = row
        plan.digests.append((record, digest))
        if known is None:
            plan.created.add(record)
        owner = known["subject_id"] if known is not None else keying.subject
        if owner is not None:
            plan.subjects.add(owner)

    def _keyed(self, holder: Holder, *, seals: int) -> _Keying:
        """Return the key of a subject that exists; rows of one subject share the columns that name it."""
        leased = self._take(holder.key, seals)
        known = self._keyings.get(holder.subject)
        if known is not None and not leased:
            return known
        columns = packed.key_columns(2, holder.subject, holder.key.kid, None, None, lease=leased)
        keying = _Keying(holder.key, holder.subject, columns)
        if not leased:
            self._keyings[holder.subject] = keying
        return keying

    async def _keying(self, known: Record | None, holder: Holder | None, *, seals: int) -> _Keying | None:
        """Return the key that seals a row and how the write names it; None where its subject has no key any more."""
        if self._data is not None:
            return self._data
        if holder is not None:
            return self._keyed(holder, seals=seals)
        if known is not None or self._collection.subject is not SubjectMode.SELF:
            return None
        subject = uuid7()
        new = await self._keys.new_subject_key(subject)
        self._take(new.key, seals)
        columns = packed.key_columns(1, subject, new.kid, new.wrapped, new.wrap_epoch, lease=False)
        return _Keying(new.key, subject, columns)

    def _take(self, key: HeldSubjectKey, seals: int) -> bool:
        leased = key.meter.take(seals)
        self._plan.takes.append((key, seals, leased))
        return leased
