"""Which collections a rotation goes over."""

from __future__ import annotations

from wellkeep.base.errors import Internal
from wellkeep.db.connection import Connection
from wellkeep.keys.rotation import Tier
from wellkeep.vault.context import collection_of
from wellkeep.vault.definition import Collection, SubjectMode

_COLLECTIONS = """
SELECT c.id, c.name, c.version, c.definition, c.created_at, c.updated_at, vault.index_epochs() AS index_epochs,
       vault.data_epoch() AS data_epoch
FROM vault.collection c WHERE $1::integer IS NULL OR c.id = $1 ORDER BY c.id
"""
_HELD = """
SELECT c.id, c.name, c.version, c.definition, c.created_at, c.updated_at, vault.index_epochs() AS index_epochs,
       vault.data_epoch() AS data_epoch
FROM vault.collection c WHERE c.id = $1 FOR UPDATE OF c
"""


async def collections_of(connection: Connection, tier: Tier, collection: int | None) -> list[Collection]:
    """Return the collections that a rotation of `tier` goes over, by their numbers."""
    found = [collection_of(row) for row in await connection.fetch(_COLLECTIONS, collection)]
    if tier in (Tier.SUBJECT, Tier.DATA):
        return [one for one in found if (one.subject is SubjectMode.NONE) is (tier is Tier.DATA)]
    return found


async def held_collection(connection: Connection, collection: int | None) -> Collection:
    """Return the collection, held alone until the transaction ends."""
    row = await connection.fetchrow(_HELD, collection)
    if row is None:
        raise Internal("A rotation of a field names its collection")
    return collection_of(row)
