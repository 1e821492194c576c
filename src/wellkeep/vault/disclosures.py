"""Whose data an accounting of disclosures is about: the ids of one patient, and their records.

Rule: two patients that were merged are one, whichever of the ids is asked for; what is deleted was disclosed all the
same. Nothing is opened for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from wellkeep.base.errors import NotFound
from wellkeep.db.connection import Connection

_REMAINING = "SELECT coalesce(s.merged_into, s.id) FROM vault.subject AS s WHERE s.id = $1"
_MERGED = "SELECT s.id FROM vault.subject AS s WHERE s.merged_into = $1 ORDER BY s.id"
_RECORDS = """
SELECT r.id, c.name FROM vault.record AS r JOIN vault.collection AS c ON c.id = r.collection_id
WHERE r.subject_id = ANY ($1::uuid[])
"""


@dataclass(frozen=True, slots=True)
class Person:
    """The id that a patient is found under, those merged into it, and the collection of each of their records."""

    subject: UUID
    merged: tuple[UUID, ...]
    collections: dict[UUID, str]


async def person(connection: Connection, subject: UUID) -> Person:
    """Return who `subject` is in the tenant whose context `connection` is under; raises NotFound."""
    remaining = await connection.fetchval(_REMAINING, subject)
    if remaining is None:
        raise NotFound("There is no subject of this id")
    merged = tuple(row["id"] for row in await connection.fetch(_MERGED, remaining))
    rows = await connection.fetch(_RECORDS, [remaining, *merged])
    return Person(remaining, merged, {row["id"]: row["name"] for row in rows})
