"""Promise: elements of one call that share a context are answered as if each had entered its own."""

from __future__ import annotations

from uuid import UUID

import asyncpg
import pytest

from vault.stack import PATIENTS, Stack
from wellkeep.base.ids import uuid7
from wellkeep.vault.calls import NIL

_KEY = """
INSERT INTO access.api_key (tenant_id, id, name, prefix, digest, roles, created_at, expires_at, revoked_at)
VALUES ($1, $2::uuid, 'key-' || right($2::uuid::text, 12), 'wk_live_' || replace($2::uuid::text, '-', ''),
        sha256('x'::bytea), '{clinician}', now() - interval '1 day', now() + interval '1 day',
        CASE WHEN $3::boolean THEN now() END)
"""
_READ = "SELECT i, status, id FROM vault.read_batch($1::vault.read_in[]) ORDER BY i"


async def test_one_context_after_another_whoever_comes_first(stack: Stack) -> None:
    await stack.declare(PATIENTS, tenant=stack.other)
    mine = (await stack.vault.records.create(stack.integration, "patients", {"family": "Ada"})).id
    caller = stack.caller("integration", tenant=stack.other)
    theirs = (await stack.vault.records.create(caller, "patients", {"family": "Bo"})).id
    good, gone, foreign = [uuid7() for _ in range(3)]
    await stack.as_superuser(_KEY, stack.tenant, good, False)
    await stack.as_superuser(_KEY, stack.tenant, gone, True)
    await stack.as_superuser(_KEY, stack.other, foreign, False)
    async with stack.pool.connection() as connection:
        here, there = (stack.pool.token(connection, tenant=one) for one in (stack.tenant, stack.other))

        def wanted(token: str, credential: UUID | None, record: UUID) -> tuple[object, ...]:
            return token, credential, 1, record, 0, False

        asked = [
            (wanted(here, good, mine), "ok"),
            (wanted(here, good, theirs), None),
            (wanted(here, gone, mine), "revoked"),
            (wanted(here, gone, mine), "revoked"),
            (wanted(here, good, mine), "ok"),
            (wanted(here, foreign, mine), "revoked"),
            (wanted(there, foreign, theirs), "ok"),
            (wanted(there, foreign, mine), None),
            (wanted(there, None, theirs), "ok"),
            (wanted(here, None, mine), "ok"),
        ]
        answers = {row["i"]: row["status"] for row in await connection.fetch(_READ, [element for element, _ in asked])}
    assert [answers.get(place) for place in range(1, len(asked) + 1)] == [status for _, status in asked]


async def test_an_element_without_a_token_has_no_context_to_share(stack: Stack) -> None:
    made = await stack.vault.records.create(stack.integration, "patients", {"family": "Ada"})
    element = (None, None, 1, made.id, 0, False)
    async with stack.database.connect("wk_app") as connection:
        token = stack.database.token(connection, stack.tenant)
        for batch in ([element], [(token, *element[1:]), element]):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(_READ, batch)


@pytest.mark.parametrize("token", [None, "", "wkt1", "wkt1.00.1.1.00", f"wkt1.{'z' * 32}.1.1.{'0' * 64}", "x" * 300])
@pytest.mark.parametrize("credential", [None, NIL])
async def test_whatever_is_no_token_is_an_alarm(stack: Stack, token: str | None, credential: UUID | None) -> None:
    made = await stack.vault.records.create(stack.integration, "patients", {"family": "Ada"})
    async with stack.database.connect("wk_app") as connection:
        for query, element in (
            (_READ, (token, credential, 1, made.id, 0, False)),
            ("SELECT * FROM vault.subject_batch($1::vault.subject_in[])", (token, credential, made.subject)),
            ("SELECT * FROM vault.collection_batch($1::vault.collection_in[])", (token, credential, None)),
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(query, [element])
