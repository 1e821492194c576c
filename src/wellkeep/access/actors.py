"""What actors are called, for those who may read about them: the names that were given to API keys.

Rule: a name is chosen by an administrator of the tenant and says what the key is for; a revoked key keeps its own.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from wellkeep.db.connection import Connection

_NAMES = "SELECT k.id, k.name FROM access.api_key AS k WHERE k.id = ANY ($1::uuid[])"


async def key_names(connection: Connection, ids: Collection[UUID]) -> dict[str, str]:
    """Return the name of each API key of `ids` that the tenant of `connection`'s context has, by its id's text."""
    return {str(row["id"]): row["name"] for row in await connection.fetch(_NAMES, list(ids))}
