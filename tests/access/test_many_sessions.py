"""Ten thousand sessions: what each request, a list, an end and a logout look at does not grow with them."""

from __future__ import annotations

import json
from typing import Any, Final
from uuid import UUID

import pytest

from access.conftest import Door
from access.signed_in import joined
from wellkeep.access import oidc, session_door, sessions
from wellkeep.base.ids import uuid7
from wellkeep.db.connection import Connection

_FILL = """
INSERT INTO access.session (tenant_id, id, person_id, digest, method, provider_id, provider_session, mfa, created_at,
  expires_at, idle, idle_until)
SELECT $1, gen_random_uuid(), ($2::uuid[])[1 + n % 2], sha256(n::text::bytea), 'provider', $3, n::text, false, now(),
  now() + interval '12 hours', interval '30 minutes', now() + interval '30 minutes'
FROM generate_series($4::integer, $5::integer) AS n
"""
_PROVIDER = """
INSERT INTO access.provider (tenant_id, id, name, issuer, discovery, client_id, places, created_at, created_by)
VALUES ($1, $2, 'one', 'https://a.example', 'https://a.example/x', 'x', '{identity}', now(), 'x')
"""
_EXPLAIN: Final = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "
_STANDS = """
SELECT EXISTS (SELECT FROM access.session AS s WHERE s.id = $1 AND s.ended_at IS NULL AND NOT s.tenant_closed
  AND s.expires_at > clock_timestamp() AND s.idle_until > clock_timestamp())
"""
"""As `access.stands` asks."""


async def looked_at(connection: Connection, query: str, *arguments: object) -> int:
    """Return how many pages a statement looks at. Fails where it goes through all of the sessions."""
    (found,) = json.loads(await connection.fetchval(_EXPLAIN + query, *arguments))
    plan = found["Plan"]
    assert ("Seq Scan", "session") not in {(one["Node Type"], one.get("Relation Name")) for one in _nodes(plan)}, query
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for below in plan.get("Plans", []) for node in _nodes(below))]


async def pages(door: Door, tenant: UUID, who: UUID, provider: UUID) -> dict[str, int]:
    """Return what each of the statements looks at; what they change is rolled back by none: there is little of it."""
    async with door.home.database.connect() as connection:
        await connection.execute("ANALYZE access.session")
        rows = await connection.fetch("SELECT id FROM access.session WHERE person_id = $1 ORDER BY id LIMIT 3", who)
    one, other, third = (row["id"] for row in rows)
    found = {}
    async with door.home.auth_pool.connection() as connection:
        found["each request"] = await looked_at(connection, session_door._LOOK_UP, one)
    async with door.home.pool.tenant_transaction(tenant=tenant) as connection:
        found["each act"] = await looked_at(connection, _STANDS, one)
        found["a list"] = await looked_at(connection, sessions._LIST, who, sessions._LISTED)
        found["an end"] = await looked_at(connection, sessions._END, who, one, "signed-out")
        found["a renewal"] = await looked_at(connection, sessions._ROTATE, other, who)
        found["moved"] = await looked_at(connection, session_door._END, third, "moved")
        found["a logout there"] = await looked_at(connection, oidc._HOLDER, provider, "17")
        found["its end"] = await looked_at(connection, oidc._END, who, provider, "17")
    return found


async def flat(door: Door, tenant: UUID, few: int, many: int) -> None:
    """Have `few` sessions, then `many`: nothing looks at three times as much."""
    people = [await joined(door.home, tenant, "coach") for _ in range(2)]
    provider = uuid7()
    async with door.home.database.connect() as connection:
        await connection.execute(_PROVIDER, tenant, provider)
        await connection.execute(_FILL, tenant, people, provider, 1, few)
    before = await pages(door, tenant, people[0], provider)
    async with door.home.database.connect() as connection:
        await connection.execute(_FILL, tenant, people, provider, few + 1, many)
    after = await pages(door, tenant, people[0], provider)
    grown = {name: (before[name], after[name]) for name in before if after[name] > 3 * before[name] + 12}
    assert not grown


async def test_two_thousand_sessions(door: Door, tenant: UUID) -> None:
    await flat(door, tenant, 500, 2_000)


@pytest.mark.soak
async def test_ten_thousand_sessions(door: Door, tenant: UUID) -> None:
    await flat(door, tenant, 1_000, 10_000)
