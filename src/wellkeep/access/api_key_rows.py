"""The rows of API keys: what is stored of a key, and each statement that touches it.

Rule: all of them run under the tenant's context, so another tenant's key is not there; none reads a digest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from wellkeep.access.key_bounds import Bounds
from wellkeep.base.errors import NotFound
from wellkeep.db.connection import Connection, Record

_LISTED = 1_000

_INSERT = """
INSERT INTO access.api_key (tenant_id, id, name, prefix, digest, roles, scopes, created_at, expires_at, created_by,
  networks, requests, records, lineage)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
"""
_LIST = """
SELECT id, tenant_id, name, prefix, roles, scopes, created_at, expires_at, last_used_at, revoked_at, networks, requests,
  records, replaced_by, lineage
FROM access.api_key ORDER BY id DESC LIMIT $1
"""
_ONE = """
SELECT id, tenant_id, name, prefix, roles, scopes, created_at, expires_at, last_used_at, revoked_at, networks, requests,
  records, replaced_by, lineage
FROM access.api_key WHERE id = $1
"""
_HELD = """
SELECT id, tenant_id, name, prefix, roles, scopes, created_at, expires_at, last_used_at, revoked_at, networks, requests,
  records, replaced_by, lineage
FROM access.api_key WHERE id = $1 FOR UPDATE
"""
_REVOKE = "UPDATE access.api_key SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL RETURNING id"
_RETIRE = "UPDATE access.api_key SET expires_at = $2, replaced_by = $3 WHERE id = $1"
_BIND = "UPDATE access.api_key SET networks = $2, requests = $3, records = $4 WHERE id = $1"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What may be known of a key; times are aware UTC. `scopes` None: all that the roles permit.

    `replaced_by` is the key that a rotation made in its place, `lineage` the one that rotations began with (None:
    itself).
    """

    id: UUID
    tenant: UUID
    name: str
    prefix: str
    roles: tuple[str, ...]
    scopes: tuple[str, ...] | None
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    bounds: Bounds = field(default_factory=Bounds)
    replaced_by: UUID | None = None
    lineage: UUID | None = None


async def insert(connection: Connection, about: ApiKey, *, digest: bytes, by: str) -> None:
    """Store a new key, made by `by`."""
    bounds = about.bounds
    await connection.execute(
        _INSERT,
        *(about.tenant, about.id, about.name, about.prefix, digest, about.roles, about.scopes),
        *(about.created_at, about.expires_at, by, bounds.networks or None, bounds.requests, bounds.records),
        about.lineage,
    )


async def newest(connection: Connection) -> list[ApiKey]:
    """Return the tenant's keys, newest first, at most 1,000."""
    return [_about(row) for row in await connection.fetch(_LIST, _LISTED)]


async def by_id(connection: Connection, key: UUID) -> ApiKey:
    """Return one key. Raises NotFound."""
    return _found(await connection.fetchrow(_ONE, key))


async def held(connection: Connection, key: UUID) -> ApiKey:
    """Return one key, which nobody else changes until the transaction ends. Raises NotFound."""
    return _found(await connection.fetchrow(_HELD, key))


async def revoke(connection: Connection, key: UUID, *, at: datetime) -> bool:
    """Revoke a key; False where there is none, or it was revoked before."""
    return await connection.fetchval(_REVOKE, key, at) is not None


async def retire(connection: Connection, key: UUID, *, ends: datetime, by: UUID) -> None:
    """Let a key end at `ends`, replaced by another."""
    await connection.execute(_RETIRE, key, ends, by)


async def bind(connection: Connection, key: UUID, bounds: Bounds) -> None:
    """Give a key other bounds."""
    await connection.execute(_BIND, key, bounds.networks or None, bounds.requests, bounds.records)


def _found(row: Record | None) -> ApiKey:
    if row is None:
        raise NotFound("There is no such key")
    return _about(row)


def _about(row: Record) -> ApiKey:
    return ApiKey(
        id=row["id"],
        tenant=row["tenant_id"],
        name=row["name"],
        prefix=row["prefix"],
        roles=tuple(row["roles"]),
        scopes=None if row["scopes"] is None else tuple(row["scopes"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
        revoked_at=row["revoked_at"],
        bounds=Bounds(tuple(row["networks"] or ()), row["requests"], row["records"]),
        replaced_by=row["replaced_by"],
        lineage=row["lineage"],
    )
