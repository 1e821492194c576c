"""Whose the rows of a batch are: references to patients, resolved by blind tag, with the key that seals for each.

Rules: a reference is looked for by the tag of its external id among the patients, never by opening anything; who was
merged is followed, who was erased has no key and so is not found; the key row comes back with the very query that is
asked for each batch, so a key that was destroyed meanwhile is not used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from wellkeep.db.connection import Connection
from wellkeep.keys.subject import HeldSubjectKey
from wellkeep.keys.tenant import TenantKeys
from wellkeep.vault.definition import Collection
from wellkeep.vault.imports_line import Row
from wellkeep.vault.tags import external_tags

_FIND = """
SELECT tag, person, holder, subject_id, generation, kid, wrapped, wrap_epoch
FROM vault.import_subjects($1, $2::bytea[], $3::uuid[], $4::uuid[])
"""
_NO_PATIENTS = 0


@dataclass(frozen=True, slots=True)
class Holder:
    """A subject that can be written for, and its current key."""

    subject: UUID
    key: HeldSubjectKey


@dataclass(slots=True)
class Found:
    """What one query found: by external id among the patients, by a subject's own id, and exactly."""

    by_reference: dict[str, Holder] = field(default_factory=dict)
    by_person: dict[UUID, Holder] = field(default_factory=dict)
    by_holder: dict[UUID, Holder] = field(default_factory=dict)

    def of(self, row: Row) -> Holder | None:
        """Return whose `row` is, or None where that is nobody."""
        if row.subject is not None:
            return self.by_person.get(row.subject)
        return self.by_reference.get(row.reference) if row.reference is not None else None


async def find(
    connection: Connection,
    *,
    keys: TenantKeys,
    patients: Collection | None,
    rows: Sequence[Row],
    holders: Iterable[UUID],
) -> Found:
    """Find the subjects that `rows` name and the `holders` of records that exist, each with its current key."""
    references = {row.reference for row in rows if row.reference is not None and row.subject is None}
    number = _NO_PATIENTS if patients is None else patients.id
    tags = {tag: name for name in references for tag in external_tags(keys, collection=number, external_id=name)}
    people = {row.subject for row in rows if row.subject is not None}
    found = Found()
    for record in await connection.fetch(_FIND, number, list(tags), list(people), list(set(holders))):
        subject = record["subject_id"]
        key = keys.subject_key(
            kid=record["kid"],
            wrapped=record["wrapped"],
            wrap_epoch=record["wrap_epoch"],
            subject=subject,
            generation=record["generation"],
        )
        holder = Holder(subject, key)
        if record["tag"] is not None:
            found.by_reference[tags[record["tag"]]] = holder
        elif record["person"] is not None:
            found.by_person[record["person"]] = holder
        else:
            found.by_holder[record["holder"]] = holder
    return found
