"""Whose hands somebody's are: what nobody does for themselves they do not do by a key of theirs either.

Rules: a key acts for who made it, or made the one that it took over from, and for who made that one, back to a person;
so whoever holds the access that a review is about, or granted it, does not decide by a key of theirs either. Who came
after the review was opened, person or key, decides nothing in it, nor who was given a new password since: nobody makes
the second pair of hands for the occasion. An operator at the machine issues keys for others, as their work is, so they
are not taken for the hands behind those keys; upon what they granted themselves they do not decide.
The threat is the administrator who gives themselves, or keeps, the access that nobody else would have let them have,
and the operator who keeps a key that they issued for somebody else: that one is on record, and not prevented.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from wellkeep.base.errors import Forbidden
from wellkeep.base.ids import parse_uuid
from wellkeep.base.principal import ActorType, Principal
from wellkeep.db.connection import Connection, Record

_BEHIND: Final = """
WITH RECURSIVE hand (id) AS (
  SELECT $1::uuid
  UNION
  SELECT behind.id FROM hand JOIN access.api_key AS k ON hand.id IN (k.id, k.replaced_by),
    LATERAL (VALUES (k.id), (CASE WHEN k.created_by ~ '^[0-9a-f]{8}-' THEN k.created_by::uuid END)) AS behind (id)
  WHERE behind.id IS NOT NULL
)
SELECT id::text AS id FROM hand
"""
_KEY_SINCE = "SELECT created_at FROM access.api_key WHERE id = $1"
_PERSON_SINCE = """
SELECT greatest(coalesce(p.joined_at, p.created_at),
  (SELECT max(i.used_at) FROM access.invitation AS i WHERE i.person_id = p.id AND i.kind = 'reset'))
FROM access.person AS p WHERE p.id = $1
"""

_SHARED = "SELECT access.share_hands($1, 'api_key:' || $2)"
_HELD = """
SELECT EXISTS (SELECT FROM access.role_grant AS g WHERE g.person_id = ANY ($1::uuid[]) AND g.role = ANY ($2::text[])
    AND g.revoked_at IS NULL AND (g.expires_at IS NULL OR g.expires_at > clock_timestamp()))
  OR EXISTS (SELECT FROM access.api_key AS k WHERE k.id = ANY ($1::uuid[]) AND k.roles && $2::text[]
    AND k.revoked_at IS NULL AND k.expires_at > clock_timestamp())
"""


class Hands(NamedTuple):
    """Whoever is behind a caller, `type:id`: its id, those of the keys and the person that made it; since when."""

    name: str
    ids: frozenset[str]
    since: datetime | None


async def hands_behind(connection: Connection, who: str) -> frozenset[str]:
    """Return `who`, an id, and whoever made it where it is a key of the entered tenant, back to a person."""
    identifier = parse_uuid(who)
    if identifier is None:
        return frozenset({who})
    return frozenset(row["id"] for row in await connection.fetch(_BEHIND, identifier))


async def hands_of(connection: Connection, principal: Principal) -> Hands:
    """Return whose hands a caller's are; `connection` has entered the caller's own tenant."""
    since: datetime | None = None
    if principal.type is ActorType.API_KEY:
        since = await connection.fetchval(_KEY_SINCE, principal.credential)
    elif principal.type is ActorType.PERSON:
        since = await connection.fetchval(_PERSON_SINCE, parse_uuid(principal.id))
    return Hands(f"{principal.type.value}:{principal.id}", await hands_behind(connection, principal.id), since)


async def is_behind(connection: Connection, principal: Principal, person: UUID) -> bool:
    """Say whether `person`, of the entered tenant, acts here: in person, by a key, or in somebody's account."""
    acting = await hands_behind(connection, principal.id)
    return str(person) in acting or str(person) == principal.on_behalf_of


async def must_not_hold(connection: Connection, principal: Principal, roles: Collection[str], *, why: str) -> None:
    """Refuse, in the words of `why`, who holds one of `roles`, or acts for whoever does.

    `connection` has entered the principal's own tenant. Raises Forbidden.
    """
    hands = [known for one in await hands_behind(connection, principal.id) if (known := parse_uuid(one)) is not None]
    if not set(principal.roles).isdisjoint(roles) or await connection.fetchval(_HELD, hands, list(roles)):
        raise Forbidden(why)


async def must_be_another(connection: Connection, hands: Hands, item: Record, *, opened_at: datetime) -> None:
    """Refuse who decides about their own access, about what they granted, or came after `opened_at`.

    `connection` has entered the tenant of the review, `item` is its row. Raises Forbidden.
    """
    if hands.since is not None and hands.since > opened_at:
        raise Forbidden("You, or your key, came after this review was opened: somebody who was there decides in it")
    holds = {str(item["person_id"] or item["id"])}
    if holds & hands.ids:
        raise Forbidden("Nobody decides about their own access: another person must, or the platform's operator")
    if item["granted_by"] is not None and await _granted(connection, hands, item["granted_by"]):
        raise Forbidden("You granted this yourself: another person must decide about it, or the platform's operator")


async def _granted(connection: Connection, hands: Hands, granted_by: str) -> bool:
    """Say whether these hands, or whoever is behind them too, are `granted_by`: of whatever tenants."""
    if parse_uuid(granted_by) is None:
        return granted_by in hands.ids
    return granted_by in hands.ids or await connection.fetchval(_SHARED, hands.name, granted_by)
