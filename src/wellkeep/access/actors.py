"""What actors are called, for those who may read about them: keys, the tenant's persons, and staff who stepped in.

Rules: a key's name is chosen by an administrator of the tenant and says what the key is for; a revoked key keeps its
own. Of the deployment's staff a tenant knows those alone who were in an account of its own, by the name that they had
then. An entry holds ids; a name is looked up where it is shown.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from wellkeep.db.connection import Connection

_NAMES = """
SELECT k.id, k.name FROM access.api_key AS k WHERE k.id = ANY ($1::uuid[])
UNION ALL SELECT p.id, p.name FROM access.person AS p WHERE p.id = ANY ($1::uuid[])
UNION ALL (SELECT DISTINCT ON (i.staff_id) i.staff_id, i.staff_name FROM access.impersonation AS i
  WHERE i.staff_id = ANY ($1::uuid[]) ORDER BY i.staff_id, i.id DESC)
"""


async def actor_names(connection: Connection, ids: Collection[UUID]) -> dict[str, str]:
    """Return what each of `ids` is called in the tenant of `connection`'s context, by the id's text."""
    return {str(row["id"]): row["name"] for row in await connection.fetch(_NAMES, list(ids))}
