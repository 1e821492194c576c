"""Whose hands decide upon an item of a review: nobody's own, and not those that gave the access away.

Rules: a key acts for who made it, or made the one that it took over from, and for who made that one, back to a person;
so whoever holds the access, or granted it, does not decide by a key of theirs either. Who came after the review was
opened, person or key, decides nothing in it: nobody makes the second pair of hands for the occasion. An operator at the
machine issues keys for others, as their work is, so they are not taken for the hands behind those keys; upon what they
granted themselves they do not decide.
The threat is the administrator who keeps the access that nobody else would have let them keep.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

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


class Hands(NamedTuple):
    """Whoever is behind a caller: its own id, those of the keys and the person it was made by; and since when."""

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
    return Hands(await hands_behind(connection, principal.id), since)


async def must_be_another(connection: Connection, hands: Hands, item: Record, *, opened_at: datetime) -> None:
    """Refuse who decides about their own access, about what they granted, or came after `opened_at`.

    `connection` has entered the tenant of the review, `item` is its row. Raises Forbidden.
    """
    if hands.since is not None and hands.since > opened_at:
        raise Forbidden("You, or your key, came after this review was opened: somebody who was there decides in it")
    holds = {str(item["person_id"] or item["id"])}
    if holds & hands.ids:
        raise Forbidden("Nobody decides about their own access: another person must, or the platform's operator")
    if item["granted_by"] is not None and await hands_behind(connection, item["granted_by"]) & hands.ids:
        raise Forbidden("You granted this yourself: another person must decide about it, or the platform's operator")
