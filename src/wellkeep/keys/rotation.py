"""Rotations as the database knows them: which tier, how far, what stopped it.

Rules: one rotation a tenant and tier runs at a time; those of the whole deployment (root, epoch) are the platform
tenant's. Whoever works on one holds its row while it moves a page, so any number of workers share the work and none of
it is counted twice. `place` holds ids alone and is an aid, never the truth: what is still to be done is asked of the
keys themselves, so a rotation that was killed anywhere goes on. The threat is a rotation that says "done" and is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from wellkeep.base.errors import Conflict, Unavailable, WellkeepError
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.principal import ActorType, AuthMethod, Principal
from wellkeep.db.connection import Connection, Record
from wellkeep.db.pool import Pool
from wellkeep.gate.acts import Caller

_COLUMNS = """
SELECT tenant_id, id, tier, state, target, collection_id, field_id, done, total, conflicts, error, requested_by,
       started_at, updated_at, finished_at
"""
_LIST = _COLUMNS + "FROM keys.rotations($1)"
_OWN = _COLUMNS + "FROM keys.rotation ORDER BY state = 'running' DESC, started_at DESC LIMIT $1"
_RUNNING = _COLUMNS + "FROM keys.rotation WHERE tier = $1 AND state = 'running'"
_INSERT = """
INSERT INTO keys.rotation (tenant_id, id, tier, target, requested_by) VALUES ($1, $2, $3, $4, $5)
"""
_HOLD = """
SELECT place, pg_catalog.set_config('synchronous_commit', 'off', true) FROM keys.rotation
WHERE id = $1 AND state = 'running' FOR UPDATE
"""
_ADVANCE = """
UPDATE keys.rotation SET place = $2, done = done + $3, conflicts = conflicts + $4, error = NULL,
  updated_at = pg_catalog.clock_timestamp()
WHERE id = $1
"""
_TOTAL = "UPDATE keys.rotation SET total = done + $2, updated_at = pg_catalog.clock_timestamp() WHERE id = $1"
_TROUBLE = "UPDATE keys.rotation SET error = $2, updated_at = pg_catalog.clock_timestamp() WHERE id = $1"
_END = """
UPDATE keys.rotation SET state = $2, error = $3, updated_at = pg_catalog.clock_timestamp(),
  finished_at = pg_catalog.clock_timestamp()
WHERE id = $1 AND state = 'running' RETURNING done
"""


class Tier(StrEnum):
    """What is rotated: what wraps the keys (root, epoch), or what seals and tags the data."""

    ROOT = "root"
    EPOCH = "epoch"
    SUBJECT = "subject"
    DATA = "data"
    INDEX = "index"
    FIELD = "field"


class StillUsed(Conflict):
    """A key or an epoch can't be retired yet: something is wrapped under it."""

    title = "Something is still wrapped under this key, so it is not retired"


class RotationOver(Conflict):
    """The rotation was stopped, or another worker brought it to its end."""

    title = "This rotation does not run any more"


@dataclass(frozen=True, slots=True)
class Rotation:
    """One rotation; `done` and `total` count rows, `error` is the code of what keeps it from going on now."""

    tenant: UUID
    id: UUID
    tier: Tier
    state: str
    target: int | None
    collection: int | None
    field: int | None
    done: int
    total: int | None
    conflicts: int
    error: str | None
    requested_by: str
    started_at: datetime
    updated_at: datetime
    finished_at: datetime | None


def rotator(rotation: UUID) -> Caller:
    """Return the caller of what a rotation does of its own accord; its entries carry the rotation's id as request."""
    principal = Principal(
        type=ActorType.SYSTEM, id="rotation", tenant=PLATFORM_TENANT, roles=("operator",), method=AuthMethod.LOCAL
    )
    return Caller(principal, None, rotation)


def epoch_name(epoch: int) -> str:
    """Return what an entry calls an epoch of the deployment."""
    return f"epoch_{epoch}"


def key_name(kid: bytes) -> str:
    """Return what an entry calls a key: its kid, 16 bytes, in the form of an id."""
    return str(UUID(bytes=kid))


def understand(pool: Pool) -> None:
    """Have `pool` tell what the database refuses about keys that are rotated."""
    pool.understand({"WK031": StillUsed, "WK033": StillUsed})


async def all_rotations(connection: Connection, *, most: int) -> list[Rotation]:
    """Return the rotations of all tenants, those under way first, under the platform's context; `most` up to 1,000."""
    return [_rotation(row) for row in await connection.fetch(_LIST, most)]


async def own_rotations(connection: Connection, *, most: int) -> list[Rotation]:
    """Return the rotations of the tenant whose context was entered, those under way first, then the newest."""
    return [_rotation(row) for row in await connection.fetch(_OWN, most)]


async def running(connection: Connection, tier: Tier) -> Rotation | None:
    """Return the rotation of this tier that is under way for the tenant whose context was entered."""
    row = await connection.fetchrow(_RUNNING, tier.value)
    return None if row is None else _rotation(row)


async def begin(connection: Connection, *, tenant: UUID, tier: Tier, target: int | None, requested_by: str) -> UUID:
    """Write down that a rotation begins, under `tenant`'s context; Conflict where one of its tier runs already."""
    made = uuid7()
    await connection.execute(_INSERT, tenant, made, tier.value, target, requested_by)
    return made


async def hold(connection: Connection, rotation: UUID) -> bytes | None:
    """Hold the rotation's row until the transaction ends, and return its place; raises RotationOver.

    A commit of this transaction need not be flushed: what is lost with the machine is found undone and done again.
    """
    row = await connection.fetchrow(_HOLD, rotation)
    if row is None:
        raise RotationOver
    place: bytes | None = row["place"]
    return place


async def advance(connection: Connection, rotation: UUID, *, place: bytes, done: int, conflicts: int) -> None:
    """Note where the walk goes on, and how many rows more are done or were changed by somebody else meanwhile."""
    await connection.execute(_ADVANCE, rotation, place, done, conflicts)


async def set_total(connection: Connection, rotation: UUID, *, left: int) -> None:
    """Note how many rows there will be, from how many are left."""
    await connection.execute(_TOTAL, rotation, left)


async def note_trouble(connection: Connection, rotation: UUID, code: str) -> None:
    """Note what keeps the rotation from going on; it stays under way."""
    await connection.execute(_TROUBLE, rotation, code)


async def end(connection: Connection, rotation: UUID, *, state: str, error: str | None = None) -> int:
    """Note that the rotation ended, and return how many rows it changed; raises RotationOver where it had."""
    done: int | None = await connection.fetchval(_END, rotation, state, error)
    if done is None:
        raise RotationOver
    return done


def worst(failures: list[WellkeepError]) -> WellkeepError:
    """Return what is raised where several tenants failed: before all else what may succeed when tried again."""
    return next((one for one in failures if isinstance(one, Unavailable)), failures[0])


def _rotation(row: Record) -> Rotation:
    return Rotation(
        tenant=row["tenant_id"],
        id=row["id"],
        tier=Tier(row["tier"]),
        state=row["state"],
        target=row["target"],
        collection=row["collection_id"],
        field=row["field_id"],
        done=row["done"],
        total=row["total"],
        conflicts=row["conflicts"],
        error=row["error"],
        requested_by=row["requested_by"],
        started_at=row["started_at"],
        updated_at=row["updated_at"],
        finished_at=row["finished_at"],
    )
