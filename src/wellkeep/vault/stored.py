"""Rows of the database as stored states of records, and their opening with a receipt.

Rules: the rows of one record come together, one for each generation of its subject's key; a key is used only because
its row came back just now. No row of a key means erased, or tampered with, and never "no encryption". What is opened is
what the receipt's groups may see and nothing more; a failure raises and no ciphertext is handed on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from wellkeep.base.errors import SubjectErased
from wellkeep.crypto.keys import SealingKey
from wellkeep.db.connection import Record
from wellkeep.gate.receipt import Receipt
from wellkeep.keys.subject import HeldSubjectKey
from wellkeep.keys.tenant import TenantKeys
from wellkeep.vault.definition import Collection, Field
from wellkeep.vault.values import Value, decode, kind_of

_LIVE = frozenset({"active", "decrypt_only"})


@dataclass(slots=True)
class KeyRow:
    """One row of `keys.subject_key`, as it came back with what it opens."""

    generation: int
    kid: bytes
    wrapped: bytes
    wrap_epoch: int
    state: str


@dataclass(slots=True)
class Stored:
    """One stored state of a record, sealed."""

    id: UUID
    subject: UUID | None
    sealed_for: UUID | None
    revision: int
    field_ids: list[int]
    sealed: list[bytes]
    plain: dict[int, str]
    tag_fields: list[int]
    tags: list[bytes]
    content_mac: bytes | None
    resealed: UUID | None
    created_at: datetime
    updated_at: datetime
    key_rows: list[KeyRow] = field(default_factory=list)


def stored(answers: Sequence[Record]) -> list[Stored]:
    """Return the records of `answers`, in their order, each with all the key rows that came with it."""
    found: list[Stored] = []
    last: Stored | None = None
    for row in answers:
        if last is None or row["id"] != last.id:
            last = _record(row)
            found.append(last)
        if row["kid"] is not None:
            last.key_rows.append(
                KeyRow(row["generation"], row["kid"], row["wrapped"], row["wrap_epoch"], row["key_state"])
            )
    return found


def _record(row: Record) -> Stored:
    plain = row["plain"]
    return Stored(
        id=row["id"],
        subject=row["subject_id"],
        sealed_for=row["sealed_for"],
        revision=row["revision"],
        field_ids=row["field_ids"],
        sealed=row["sealed"],
        plain={int(number): text for number, text in json.loads(plain).items()} if plain else {},
        tag_fields=row["tag_fields"] or [],
        tags=row["tags"] or [],
        content_mac=row["content_mac"],
        resealed=row["resealed_by"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def subject_keys(keys: TenantKeys, *, subject: UUID, rows: Iterable[KeyRow]) -> dict[bytes, HeldSubjectKey]:
    """Return the keys of `rows` by kid; raises IntegrityBroken (reported) for a row that does not open in its place."""
    return {
        row.kid: keys.subject_key(
            kid=row.kid,
            wrapped=row.wrapped,
            wrap_epoch=row.wrap_epoch,
            subject=subject,
            generation=row.generation,
        )
        for row in rows
        if row.state in _LIVE
    }


def opening_keys(keys: TenantKeys, state: Stored) -> Mapping[bytes, SealingKey]:
    """Return the keys that may have sealed `state`; raises SubjectErased where its subject has none left."""
    if state.sealed_for is None:
        return keys.data_keys
    found = subject_keys(keys, subject=state.sealed_for, rows=state.key_rows)
    if not found:
        raise SubjectErased
    return found


def of_nobody(states: Iterable[Stored]) -> Iterator[bytes]:
    """Return the envelopes of those states that are of no patient."""
    return (sealed for state in states if state.sealed_for is None for sealed in state.sealed)


def open_fields(
    receipt: Receipt, *, keys: TenantKeys, collection: Collection, state: Stored, seen: Mapping[int, Field]
) -> dict[str, Value]:
    """Open the fields of `state` that are `seen` (by number) and return them by name.

    Raises SubjectErased, or IntegrityBroken (reported) where anything does not open in its place.
    """
    field_ids, sealed = [], []
    for number, envelope in zip(state.field_ids, state.sealed, strict=True):
        if number in seen:
            field_ids.append(number)
            sealed.append(envelope)
    opened = keys.open_record(
        receipt,
        collection=collection.id,
        record=state.id,
        keys=opening_keys(keys, state),
        field_ids=field_ids,
        sealed=sealed,
    )
    values = {seen[number].name: decode(kind, payload) for number, kind, payload in opened}
    for number, text in state.plain.items():
        if number in seen:
            values[seen[number].name] = decode(kind_of(seen[number]), text.encode())
    return values
