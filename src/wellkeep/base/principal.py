"""Who acts: a principal as it was authenticated, immutable for the length of one request."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from wellkeep.base.permissions import Permission


class ActorType(StrEnum):
    """What kind of actor stands behind an entry."""

    API_KEY = "api_key"
    PERSON = "person"
    OPERATOR = "operator"
    SYSTEM = "system"
    ANONYMOUS = "anonymous"


class AuthMethod(StrEnum):
    """How the actor showed who it is."""

    API_KEY = "api_key"
    SESSION = "session"
    LOCAL = "local"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated actor.

    `id` is the API key's or the person's id; an operator's `id` is their OS user name. `scopes`, where not None, narrow
    what the roles permit, and `within` adds to them what they permit in one collection each (its name, the permission).
    `networks`, `requests` (a minute) and `records` (an hour) are a key's own bounds, where it has some; `lineage`
    is the key that rotations began with, as which all that took its place are counted. `credential` is the id whose
    standing the database checks again in each call. `mfa`: a second factor was shown in this session;
    `fresh`: within the last ten minutes. `impersonation` is the id of the stepping-in by which staff act as
    `on_behalf_of`; `masked`: they see no field then.
    """

    type: ActorType
    id: str
    tenant: UUID
    roles: tuple[str, ...]
    method: AuthMethod
    credential: UUID | None = None
    scopes: frozenset[Permission] | None = None
    within: frozenset[tuple[str, Permission]] = frozenset()
    networks: tuple[str, ...] = ()
    requests: int | None = None
    records: int | None = None
    lineage: UUID | None = None
    on_behalf_of: str | None = None
    mfa: bool = False
    fresh: bool = False
    impersonation: UUID | None = None
    masked: bool = False
