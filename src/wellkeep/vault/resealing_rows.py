"""The rows of `keys.rotation` that this room works off: where a walk stands, how much is done, what stood in its way.

Rules: a row holds ids and numbers alone. A page moves the row in its own transaction, and only from the place that it
began at: of two workers on one walk the second one's page is not stored. One rotation of a tier runs at a time.
"""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple
from uuid import UUID

from wellkeep.base.ids import uuid7
from wellkeep.db.connection import Connection, Record
from wellkeep.keys.rotation import Tier
from wellkeep.vault.calls import NIL

_INSERT = """
INSERT INTO keys.rotation (tenant_id, id, tier, target, collection_id, field_id, total, requested_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING
"""
_BY_ID = """
SELECT id, tier, state, target, collection_id, field_id, place, done, total, conflicts, error, requested_by, started_at,
       updated_at, finished_at
FROM keys.rotation WHERE id = $1
"""
_LATEST = """
SELECT DISTINCT ON (tier) id, tier, state, target, collection_id, field_id, place, done, total, conflicts, error,
       requested_by, started_at, updated_at, finished_at
FROM keys.rotation WHERE tier = ANY($1::text[]) ORDER BY tier, started_at DESC, id DESC
"""
_ADVANCE = """
UPDATE keys.rotation SET place = $3, done = done + $4, conflicts = conflicts + $5, updated_at = clock_timestamp()
WHERE id = $1 AND state = 'running' AND place IS NOT DISTINCT FROM $2
"""
_END = """
UPDATE keys.rotation SET state = $3, error = $4, updated_at = clock_timestamp(), finished_at = clock_timestamp()
WHERE id = $1 AND state = 'running' AND ($2::bytea IS NULL OR place = $2)
"""
_place = Struct(">BIIi16si")


class Phase(IntEnum):
    """What a walk goes over, or does in one go."""

    RECORDS = 1
    HISTORY = 2
    NARROW = 3
    STRIP = 4
    ANSWERS = 5
    RETIRE = 6
    PEOPLE = 7


PHASES: Final = {
    Tier.SUBJECT: (Phase.PEOPLE, Phase.RECORDS, Phase.HISTORY, Phase.RETIRE),
    Tier.DATA: (Phase.RECORDS, Phase.HISTORY, Phase.ANSWERS, Phase.RETIRE),
    Tier.INDEX: (Phase.RECORDS, Phase.NARROW, Phase.STRIP, Phase.RETIRE),
    Tier.FIELD: (Phase.RECORDS, Phase.HISTORY, Phase.RETIRE),
}
"""What is walked for each tier that is this room's; the tiers that wrap keys are the room `keys`'."""


class Place(NamedTuple):
    """Where a walk stands: behind this state, in the how-manieth turn, `left` states passed over in it."""

    phase: Phase
    turn: int = 1
    left: int = 0
    collection: int = 0
    record: UUID = NIL
    revision: int = 0

    def packed(self) -> bytes:
        """Return the place as it is stored."""
        return _place.pack(self.phase, self.turn, self.left, self.collection, self.record.bytes, self.revision)

    @classmethod
    def unpacked(cls, stored: bytes) -> Place:
        """Return the place that `packed` wrote."""
        phase, turn, left, collection, record, revision = _place.unpack(stored)
        return cls(Phase(phase), turn, left, collection, UUID(bytes=record), revision)


class Rotation(NamedTuple):
    """One rotation of a tenant: `target` is the epoch that it leads to, where there is one."""

    id: UUID
    tier: Tier
    state: str
    target: int | None
    collection: int | None
    field: int | None
    place: Place
    done: int
    total: int | None
    conflicts: int
    error: str | None
    requested_by: str
    started_at: datetime
    updated_at: datetime
    finished_at: datetime | None

    @property
    def running(self) -> bool:
        """Whether there is something left to do."""
        return self.state == "running"


class Superseded(Exception):
    """Another worker has moved the rotation on: what this one did for its page is not stored."""


async def insert(
    connection: Connection,
    *,
    tenant: UUID,
    tier: Tier,
    target: int | None,
    collection: int | None,
    field: int | None,
    total: int,
    requested_by: str,
) -> UUID | None:
    """Store a new rotation and return its id; None where one of this tier is running."""
    rotation = uuid7()
    done = await connection.execute(
        _INSERT, tenant, rotation, tier.value, target, collection, field, total, requested_by
    )
    return rotation if done.endswith(" 1") else None


async def by_id(connection: Connection, rotation: UUID) -> Rotation | None:
    """Return the rotation of that id; None where there is none, or it is of a tier of another room."""
    row = await connection.fetchrow(_BY_ID, rotation)
    return None if row is None or row["tier"] not in tuple(Tier) else _rotation(row)


async def latest(connection: Connection) -> list[Rotation]:
    """Return the newest rotation of each tier."""
    return [_rotation(row) for row in await connection.fetch(_LATEST, [tier.value for tier in Tier])]


async def advance(connection: Connection, rotation: Rotation, to: Place, *, done: int = 0, conflicts: int = 0) -> None:
    """Move the rotation on. Raises Superseded where another worker has, or where it was stopped."""
    before = rotation.place.packed() if rotation.place != first_place(rotation.tier) else None
    moved = await connection.execute(_ADVANCE, rotation.id, before, to.packed(), done, conflicts)
    if not moved.endswith(" 1"):
        raise Superseded


async def end(connection: Connection, rotation: Rotation, state: str, *, error: str | None = None) -> bool:
    """End the rotation, wherever it stands; False where it has ended already."""
    ended = await connection.execute(_END, rotation.id, None, state, error)
    return ended.endswith(" 1")


def first_place(tier: Tier) -> Place:
    """Return where the walk of a tier begins."""
    return Place(PHASES[tier][0])


def _rotation(row: Record) -> Rotation:
    tier = Tier(row["tier"])
    return Rotation(
        id=row["id"],
        tier=tier,
        state=row["state"],
        target=row["target"],
        collection=row["collection_id"],
        field=row["field_id"],
        place=first_place(tier) if row["place"] is None else Place.unpacked(row["place"]),
        done=row["done"],
        total=row["total"],
        conflicts=row["conflicts"],
        error=row["error"],
        requested_by=row["requested_by"],
        started_at=row["started_at"],
        updated_at=row["updated_at"],
        finished_at=row["finished_at"],
    )
