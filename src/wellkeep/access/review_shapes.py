"""What a review of access looks like to who reads it: names beside ids, and what is stuck said so.

Rule: names are those of now, read under the tenant's context; the frozen rows hold ids alone. An item is stuck where
nobody of the tenant may decide it: with one lone administrator, their own. It stays open, and says so.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from wellkeep.db.connection import Record


@dataclass(frozen=True, slots=True)
class Review:
    """A review and how it stands; `undecided` counts what stands and waits for its decision."""

    id: UUID
    opened_by: str
    opened_at: datetime
    due_at: datetime
    closed_at: datetime | None
    items: int
    kept: int
    revoked: int
    undecided: int


@dataclass(frozen=True, slots=True)
class Item:
    """One grant or API key as it stood when the review was opened, and what was decided of it.

    `id` is the grant's or the key's. `outcome` is keep, revoke, ended (gone before anybody decided) or None. `name` is
    a person's or a key's, `email` and `state` a person's, as they are now. `stuck`: nobody of the tenant may decide it.
    """

    id: UUID
    kind: str
    person: UUID | None
    name: str | None = field(repr=False)
    email: str | None = field(repr=False)
    state: str | None
    roles: tuple[str, ...]
    granted_by: str | None
    granted_at: datetime
    last_used_at: datetime | None
    last_seen_at: datetime | None
    expires_at: datetime | None
    outcome: str | None
    decided_by: str | None
    decided_at: datetime | None
    stuck: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """A review with its items, those that wait first."""

    review: Review
    items: list[Item]


def review_of(row: Record) -> Review:
    """Return a review of its row."""
    return Review(**{name: row[name] for name in Review.__slots__})


def undecidable(row: Record, deciders: AbstractSet[str]) -> bool:
    """Say whether none of `deciders`, ids, may decide what a row is about: they hold it, or granted it."""
    barred = {str(row["person_id"] or row["id"]), row["granted_by"]}
    return row["outcome"] is None and not deciders - barred


def item_of(row: Record, *, stuck: bool) -> Item:
    """Return an item of its row."""
    return Item(
        id=row["id"],
        kind=row["kind"],
        person=row["person_id"],
        name=row["name"],
        email=row["email"],
        state=row["state"],
        roles=tuple(row["roles"]),
        granted_by=row["granted_by"],
        granted_at=row["granted_at"],
        last_used_at=row["last_used_at"],
        last_seen_at=row["last_seen_at"],
        expires_at=row["expires_at"],
        outcome=row["outcome"],
        decided_by=row["decided_by"],
        decided_at=row["decided_at"],
        stuck=stuck,
    )
