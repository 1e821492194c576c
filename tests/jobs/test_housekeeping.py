"""The deployment's own jobs, over a vault with something in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from database import Database
from vault.stack import PATIENTS, WARDS, Stack, open_stack
from wellkeep.base.errors import WellkeepError
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.db.pool import Pool
from wellkeep.db.queue import QueueBook, QueuedJob
from wellkeep.findings.grammar import Kind
from wellkeep.jobs.housekeeping import PERIODIC, REPLAY, Housekeeping
from wellkeep.vault.replay import Replay, never


@pytest.fixture
async def stack(database: Database, tenant: UUID, other_tenant: UUID) -> AsyncIterator[Stack]:
    async with open_stack(database, tenant, other_tenant) as opened:
        await opened.declare(PATIENTS, WARDS)
        yield opened


def housekeeping(stack: Stack, jobs: Pool) -> Housekeeping:
    return Housekeeping(
        app=stack.pool,
        jobs=jobs,
        book=QueueBook(jobs),
        drain_outbox=stack.writer.drain_outbox,
        replay=Replay(stack.vault.context, pool=stack.pool),
    )


def replay_job() -> QueuedJob:
    return QueuedJob(PLATFORM_TENANT, uuid7(), REPLAY, None, 1)


async def test_the_replay_runs_every_day_for_every_tenant_and_reports(stack: Stack, database: Database) -> None:
    await stack.declare(WARDS, tenant=stack.other)
    for tenant in (stack.tenant, stack.other):
        caller = stack.caller("integration", tenant=tenant)
        await stack.vault.records.create(caller, "wards", {"title": "a"})
    await stack.as_superuser("UPDATE vault.record SET deleted_at = now()")
    async with database.pool("wk_jobs") as jobs:
        house = housekeeping(stack, jobs)
        assert [one.expression.split()[2:] for one in PERIODIC if one.kind == REPLAY] == [["*", "*", "*"]]
        await house.handlers()[REPLAY](replay_job(), never)
    await stack.findings.flush()
    for tenant in (stack.tenant, stack.other):
        assert [finding.kind for finding in await stack.findings.list(tenant)] == [Kind.REVISION_REPLAYED]


async def test_a_tenant_whose_replay_breaks_keeps_no_other_from_being_replayed(
    stack: Stack, database: Database
) -> None:
    await stack.declare(WARDS, tenant=stack.other)
    first, last = sorted((stack.tenant, stack.other))
    for tenant in (first, last):
        await stack.vault.records.create(stack.caller("integration", tenant=tenant), "wards", {"title": "a"})
    await stack.as_superuser("UPDATE vault.record SET deleted_at = now() WHERE tenant_id = $1", last)
    await stack.as_superuser(
        f"CREATE POLICY broken ON vault.tag AS RESTRICTIVE USING (1 / (tenant_id <> '{first}')::integer = 1)"
    )
    async with database.pool("wk_jobs") as jobs:
        house = housekeeping(stack, jobs)
        with pytest.raises(WellkeepError):
            await house.handlers()[REPLAY](replay_job(), never)
    await stack.findings.flush()
    assert [finding.kind for finding in await stack.findings.list(first)] == [Kind.JOB_FAILED]
    assert [finding.kind for finding in await stack.findings.list(last)] == [Kind.REVISION_REPLAYED]


async def test_a_tenant_with_many_differences_leaves_room_for_the_findings_of_others(
    stack: Stack, database: Database
) -> None:
    await stack.declare(WARDS, tenant=stack.other)
    first, last = sorted((stack.tenant, stack.other))
    await stack.vault.records.create(stack.caller("integration", tenant=last), "wards", {"title": "a"})
    await stack.as_superuser("UPDATE vault.record SET deleted_at = now() WHERE tenant_id = $1", last)
    await stack.as_superuser(
        "INSERT INTO vault.tag SELECT $1, 1, 1, substr(sha256(n::text::bytea), 1, 17), id, id "
        "FROM (SELECT n, gen_random_uuid() AS id FROM generate_series(1, 1100) n) strays",
        first,
    )
    async with database.pool("wk_jobs") as jobs:
        await housekeeping(stack, jobs).handlers()[REPLAY](replay_job(), never)
    await stack.findings.flush()
    assert stack.findings.lost == 0
    assert [finding.detail["what"] for finding in await stack.findings.list(last)] == ["hidden"]
    assert await stack.as_superuser("SELECT 1 FROM findings.finding WHERE detail ->> 'count' = '1100'")
