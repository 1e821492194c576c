"""The bodies about API keys: what is taken and what is given back. No shape but one holds a key."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from wellkeep.access import key_bounds
from wellkeep.access.api_keys import DEFAULT_DAYS, LONGEST_DAYS, LONGEST_OVERLAP, ApiKey, Bounds
from wellkeep.api.shapes import Input, Name

Scope = Annotated[
    str, Meta(max_length=100, description="a permission (record:read), or SMART: system/patients.rs, system/*.read")
]
Networks = Annotated[
    tuple[Annotated[str, Meta(max_length=50, description="CIDR")], ...],
    Meta(max_length=key_bounds.MOST_NETWORKS, description="where the key may come from; empty: anywhere"),
]
Requests = Annotated[int, Meta(ge=1, le=key_bounds.MOST_REQUESTS, description="weighted requests a minute")]
Records = Annotated[int, Meta(ge=1, le=key_bounds.MOST_RECORDS, description="records an hour")]
_HOURS = int(LONGEST_OVERLAP.total_seconds()) // 3600


class KeyInput(Input, frozen=True, kw_only=True):
    """A new API key. `scopes` narrow what the roles permit; they never add to it."""

    name: Annotated[str, Meta(max_length=100)]
    roles: Annotated[list[Name], Meta(min_length=1, max_length=8)]
    scopes: Annotated[list[Scope], Meta(max_length=64)] | None = None
    days: Annotated[int, Meta(ge=1, le=LONGEST_DAYS, description="until it expires")] = DEFAULT_DAYS
    networks: Networks = ()
    requests: Requests | None = None
    records: Records | None = None


class KeyBounds(Input, frozen=True, kw_only=True):
    """The bounds of a key, as a whole: what is left out is what the settings say."""

    networks: Networks = ()
    requests: Requests | None = None
    records: Records | None = None


class KeyRotation(Input, frozen=True, kw_only=True):
    """How long the old key goes on working, and how many days the new one does: else as long as the old."""

    overlap_hours: Annotated[int, Meta(ge=0, le=_HOURS)] = 24
    days: Annotated[int, Meta(ge=1, le=LONGEST_DAYS)] | None = None


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """An API key, without its secret; `requests` and `records` null: what the settings say."""

    id: UUID
    tenant: UUID
    name: str
    prefix: str
    roles: tuple[str, ...]
    scopes: tuple[str, ...] | None
    networks: tuple[str, ...]
    requests: int | None
    records: int | None
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None
    replaced_by: UUID | None


class Keys(msgspec.Struct, frozen=True):
    """The API keys of a tenant, newest first."""

    apikeys: list[Key]


class KeyIssued(msgspec.Struct, frozen=True, kw_only=True):
    """A new key and, this once, the key itself; `old_ends` is when the one that it replaces does."""

    about: Key
    key: str
    old_ends: datetime | None = None


def bounds(given: KeyInput | KeyBounds) -> Bounds:
    """Return the bounds that a body asks for."""
    return Bounds(given.networks, given.requests, given.records)


def key(about: ApiKey) -> Key:
    """Return what may be told of a key."""
    return Key(
        id=about.id,
        tenant=about.tenant,
        name=about.name,
        prefix=about.prefix,
        roles=about.roles,
        scopes=about.scopes,
        networks=about.bounds.networks,
        requests=about.bounds.requests,
        records=about.bounds.records,
        created_at=about.created_at,
        expires_at=about.expires_at,
        last_used_at=about.last_used_at,
        revoked_at=about.revoked_at,
        replaced_by=about.replaced_by,
    )
