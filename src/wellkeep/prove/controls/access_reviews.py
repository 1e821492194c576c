"""access.reviews: what is overdue is reported, and what is revoked in a review ends sessions and keys at once.

On a scratch deployment, which two workers serve, so that a revocation that one of them learns of holds on the other.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final
from uuid import UUID

import httpx

from wellkeep.access.operators import this_operator
from wellkeep.base.ids import uuid7
from wellkeep.findings.grammar import Kind
from wellkeep.prove.deployment import Unseen, created
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.people import signed_in
from wellkeep.prove.probe import Probe
from wellkeep.prove.review_places import end_open
from wellkeep.prove.scratch import Scratch
from wellkeep.prove.world import World

_LATE: Final = (
    "UPDATE access.review SET opened_at = opened_at - interval '30 days', due_at = opened_at - interval '1 day' "
    "WHERE id = $1"
)
_ENQUEUE: Final = "SELECT queue.enqueue_periodic($1, $2)"
_OVERDUE: Final = "reviews.overdue"
_TRIES, _PAUSE = 100, 0.2
_AT_ONCE: Final = 1.0
_AGAIN: Final = 12


async def run(world: World, notes: Notes) -> None:
    """Open a review of everybody's access, revoke a grant and a key in it, and leave the rest undecided."""
    scratch = await world.scratch()
    administrator = await scratch.client(scratch.a.keys["administrator"])
    operator = this_operator()
    made = await scratch.operator.api_keys.create(
        operator, tenant=scratch.a.id, name="prove-reviewed", roles=("auditor",), days=1
    )
    async with signed_in(scratch, "auditor") as (auditor, desk):
        await end_open(scratch, scratch.a.id)
        opened = await created(administrator, "/v1/reviews", {"days": 7})
        try:
            await _frozen(scratch, notes, opened["id"], auditor, made.about.id)
            await _revoked(scratch, notes, opened["id"], desk=desk, person=auditor, key=made)
            await _late(scratch, notes, opened["id"])
        finally:
            await end_open(scratch, scratch.a.id)


async def _items(scratch: Scratch, review: str) -> list[dict[str, Any]]:
    client = await scratch.client(scratch.a.keys["administrator"])
    answer = await client.get(f"/v1/reviews/{review}")
    if not answer.is_success:
        raise Unseen(f"the review can't be seen (HTTP {answer.status_code})")
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


async def _frozen(scratch: Scratch, notes: Notes, review: str, person: UUID, key: UUID) -> None:
    items = await _items(scratch, review)
    has = any(one["person"] == str(person) for one in items) and any(one["id"] == str(key) for one in items)
    notes.check(
        "opened a review of who has access",
        held=has,
        seen=f"{len(items)} grants and keys to decide, the probe's among them" if has else "the probe's are not in it",
    )


async def _revoked(
    scratch: Scratch, notes: Notes, review: str, *, desk: httpx.AsyncClient, person: UUID, key: Any
) -> None:
    holder = await scratch.client(key.key)
    before = [(await one.get("/v1/ledger/checkpoint")).is_success for one in (desk, holder)]
    officer = await scratch.client(scratch.a.keys["privacy_officer"])
    items = [
        one for one in await _items(scratch, review) if one["person"] == str(person) or one["id"] == str(key.about.id)
    ]
    loop = asyncio.get_running_loop()
    decided = [
        await officer.post(f"/v1/reviews/{review}/items/{one['id']}", json={"decision": "revoke"}) for one in items
    ]
    started = loop.time()
    after = [await one.get("/v1/ledger/checkpoint") for _ in range(_AGAIN) for one in (desk, holder)]
    seconds = loop.time() - started
    refused = all(one.status_code == httpx.codes.UNAUTHORIZED for one in after)
    notes.check(
        f"revoked a grant and a key in it, then sent {len(after)} requests to two workers",
        held=all(before) and all(one.is_success for one in decided) and len(decided) > 1 and refused,
        seen=f"each refused, from the first on ({seconds:.1f} s for all)"
        if refused
        else f"HTTP {sorted({one.status_code for one in after})}; decided: {[one.status_code for one in decided]}",
    )


async def _late(scratch: Scratch, notes: Notes, review: str) -> None:
    """Put the review's day into the past, and have the deployment look, as it does each day."""
    async with scratch.as_superuser() as connection:
        await connection.execute(_LATE, UUID(review))
    async with scratch.as_role("wk_jobs") as connection:
        await connection.fetchval(_ENQUEUE, uuid7(), _OVERDUE)
    found = False
    for _ in range(_TRIES):
        listed = await scratch.operator.findings.list(scratch.a.id)
        found = any(one.kind == Kind.REVIEW_OVERDUE for one in listed)
        if found:
            break
        await asyncio.sleep(_PAUSE)
    notes.check(
        "let the rest wait past its day",
        held=found,
        seen="an open finding: the review is overdue" if found else "nobody was told",
    )


PROBE = Probe(claim="access.reviews", where=Where.SCRATCH, run=run)
