"""Promise: whatever is stored of a log that has no head is found, however little is left of it."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from database import Database
from ledger.making import HOST, change, prepared, verified, writing
from wellkeep.ledger.report import Bad, What
from wellkeep.ledger.seal import origin

_ENTRY = """
INSERT INTO ledger.entry (tenant_id, epoch, seq, event_id, "time", actor, action, outcome, request, leaf, entry)
  VALUES ($1, 3, 7, gen_random_uuid(), now(), 'a', 'record.read', 'done', gen_random_uuid(), sha256(''), '{}')
"""
LEFT = {
    "entry": _ENTRY,
    "subject": "INSERT INTO ledger.entry_subject VALUES ($1, gen_random_uuid(), 3, 7, now())",
    "seal": "INSERT INTO ledger.seal VALUES ($1, 3, 8, 'k', sha256(''), sha256(''), sha256(''))",
    "checkpoint": "INSERT INTO ledger.checkpoint VALUES ($1, 3, 8, sha256(''), now(), decode(repeat('00', 68), 'hex'))",
    "pair": "INSERT INTO ledger.covered VALUES ($1, 3, 8, sha256(''), gen_random_uuid(), 0)",
    "tile": "INSERT INTO ledger.tile VALUES ($1, 3, 0, 9, sha256(''), NULL)",
}


@pytest.mark.parametrize("what", LEFT)
async def test_what_is_left_of_a_log_without_a_head(
    database: Database, tenant: UUID, other_tenant: UUID, what: str
) -> None:
    async with writing(database) as writer:
        for one in (tenant, other_tenant):
            await writer.append(one, prepared(3))
    assert (await verified(database)).ok
    await change(database, LEFT[what], tenant)
    expected = (Bad(origin(HOST, tenant, 3), 0 if what == "tile" else 7, What.ORPHAN),)
    assert (await verified(database)).bad == expected
    assert (await verified(database, tenant=tenant)).bad == expected
    assert (await verified(database, since=datetime.now(UTC))).bad == expected
    assert (await verified(database, tenant=other_tenant)).ok
