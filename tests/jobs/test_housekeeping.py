"""The deployment's own jobs, over a vault with something in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from database import Database
from vault.stack import PATIENTS, WARDS, Stack, open_stack
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.db.queue import QueueBook, QueuedJob
from wellkeep.findings.grammar import Kind
from wellkeep.jobs.housekeeping import PERIODIC, REPLAY, Housekeeping
from wellkeep.vault.replay import Replay, never


@pytest.fixture
async def stack(database: Database, tenant: UUID, other_tenant: UUID) -> AsyncIterator[Stack]:
    async with open_stack(database, tenant, other_tenant) as opened:
        await opened.declare(PATIENTS, WARDS)
        yield opened


async def test_the_replay_runs_every_day_for_every_tenant_and_reports(stack: Stack, database: Database) -> None:
    await stack.declare(WARDS, tenant=stack.other)
    for tenant in (stack.tenant, stack.other):
        caller = stack.caller("integration", tenant=tenant)
        await stack.vault.records.create(caller, "wards", {"title": "a"})
    await stack.as_superuser("UPDATE vault.record SET deleted_at = now()")
    async with database.pool("wk_jobs") as jobs:
        house = Housekeeping(
            app=stack.pool,
            jobs=jobs,
            book=QueueBook(jobs),
            drain_outbox=stack.writer.drain_outbox,
            replay=Replay(stack.vault.context, pool=stack.pool),
        )
        assert [one.expression.split()[2:] for one in PERIODIC if one.kind == REPLAY] == [["*", "*", "*"]]
        await house.handlers()[REPLAY](QueuedJob(PLATFORM_TENANT, uuid7(), REPLAY, None, 1), never)
    await stack.findings.flush()
    for tenant in (stack.tenant, stack.other):
        assert [finding.kind for finding in await stack.findings.list(tenant)] == [Kind.REVISION_REPLAYED]
