"""Findings: counted, behind the wall, never silent, never in the caller's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest
import structlog

from database import Database
from wellkeep.db.pool import Limits, Pool
from wellkeep.findings import findings as module
from wellkeep.findings.findings import Findings, platform_findings
from wellkeep.findings.grammar import FindingRefused, Kind, Severity, finding_key


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    async with database.pool("wk_app") as opened:
        yield opened


@pytest.fixture
async def findings(pool: Pool) -> AsyncIterator[Findings]:
    room = Findings(pool)
    yield room
    await room.stop()


async def report(findings: Findings, tenant: UUID, record: UUID, severity: Severity = Severity.HIGH) -> None:
    await findings.report(
        tenant,
        kind=Kind.INTEGRITY_BROKEN,
        severity=severity,
        key=finding_key(Kind.INTEGRITY_BROKEN, record),
        detail={"record": str(record), "collection": 3, "error": "seal-broken"},
    )


async def test_the_same_finding_is_one_row_that_counts(findings: Findings, tenant: UUID) -> None:
    record = uuid4()
    for _ in range(3):
        await report(findings, tenant, record)
    await report(findings, tenant, uuid4(), Severity.LOW)
    found = {item.key: item for item in await findings.list(tenant)}
    assert len(found) == 2
    repeated = found[f"integrity.broken:{record}"]
    assert repeated.count == 3
    assert repeated.first_seen <= repeated.last_seen
    assert repeated.detail == {"record": str(record), "collection": 3, "error": "seal-broken"}
    assert findings.backlog == 0


async def test_reports_at_once_lose_no_count(findings: Findings, tenant: UUID) -> None:
    record = uuid4()
    await asyncio.gather(*(report(findings, tenant, record) for _ in range(40)))
    await findings.flush()
    (found,) = await findings.list(tenant)
    assert found.count == 40


async def test_what_ended_by_itself_is_closed_and_what_was_seen_since_is_not(findings: Findings, tenant: UUID) -> None:
    ended, other = finding_key(Kind.KEYS_STALE), finding_key(Kind.KEYS_LOCKED)
    for key, kind in ((ended, Kind.KEYS_STALE), (other, Kind.KEYS_LOCKED)):
        findings.note(tenant, kind=kind, severity=Severity.HIGH, key=key, detail={})
    assert await findings.settle(tenant, keys=(ended,)) == 1, "what waits to be stored is closed as well"
    assert [one.kind for one in await findings.list(tenant)] == [Kind.KEYS_LOCKED]
    settling = findings.settle(tenant, keys=(ended, other))
    findings.note(tenant, kind=Kind.KEYS_STALE, severity=Severity.HIGH, key=ended, detail={})
    assert await settling == 1
    assert [one.kind for one in await findings.list(tenant)] == [Kind.KEYS_STALE]
    assert await findings.settle(tenant, keys=(other,)) == 0


async def test_a_resolved_finding_leaves_the_list_and_comes_back_when_seen_again(
    findings: Findings, tenant: UUID
) -> None:
    record = uuid4()
    await report(findings, tenant, record)
    (found,) = await findings.list(tenant)
    assert await findings.resolve(tenant, found.id)
    assert not await findings.resolve(tenant, found.id)
    assert await findings.list(tenant) == []
    assert len(await findings.list(tenant, open_only=False)) == 1
    await report(findings, tenant, record)
    (again,) = await findings.list(tenant)
    assert (again.id, again.count, again.resolved_at) == (found.id, 2, None)


async def test_a_tenant_sees_its_own_alone_and_the_operator_all(
    findings: Findings, database: Database, tenant: UUID, other_tenant: UUID
) -> None:
    await report(findings, tenant, uuid4())
    await report(findings, other_tenant, uuid4())
    (mine,) = await findings.list(tenant)
    assert mine.tenant == tenant
    assert not await findings.resolve(other_tenant, mine.id)
    async with database.connect("wk_migrate") as connection:
        everything = await platform_findings(connection, open_only=True, limit=100)
    assert {item.tenant for item in everything} == {tenant, other_tenant}
    assert await findings.open_counts() == {"high": 2}


async def test_without_a_context_the_table_refuses_and_the_overview_is_the_operators(database: Database) -> None:
    async with database.connect("wk_app") as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT * FROM findings.finding")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT * FROM findings.platform_list(true, 10)")


async def test_nobody_rewrites_or_deletes_a_finding(findings: Findings, database: Database, tenant: UUID) -> None:
    await report(findings, tenant, uuid4())
    for statement in (
        "DELETE FROM findings.finding",
        "UPDATE findings.finding SET key = 'job.failed'",
        "UPDATE findings.finding SET first_seen = now()",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with database.entered(tenant) as connection:
                await connection.execute(statement)


async def test_what_the_database_does_not_take_waits_is_counted_and_is_stored_later(
    database: Database, tenant: UUID
) -> None:
    """The gap is made by taking the right to insert away and giving it back."""
    async with database.pool("wk_app") as pool, database.connect() as administrator:
        findings = Findings(pool)
        await administrator.execute("ALTER TABLE findings.finding RENAME TO elsewhere")
        record = uuid4()
        with structlog.testing.capture_logs() as logs:
            await report(findings, tenant, record)
            await report(findings, tenant, record)
        assert findings.backlog == 1
        assert {frozenset(entry) for entry in logs} == {frozenset({"event", "kind", "log_level"})}
        await administrator.execute("ALTER TABLE findings.elsewhere RENAME TO finding")
        await findings.flush()
        assert findings.backlog == 0
        (found,) = await findings.list(tenant)
        assert found.count == 2
        await findings.stop()


async def test_a_database_that_is_gone_neither_fails_nor_holds_the_caller(database: Database, tenant: UUID) -> None:
    async with database.pool("wk_app", limits=Limits(min_size=0, acquire_seconds=30)) as pool:
        findings = Findings(pool)
        async with database.connect() as administrator, administrator.transaction():
            await administrator.execute("LOCK TABLE findings.finding IN ACCESS EXCLUSIVE MODE")
            async with asyncio.timeout(5):
                await report(findings, tenant, uuid4())
            assert findings.backlog == 1
        await findings.flush()
        assert findings.backlog == 0
        await findings.stop()


async def test_the_backlog_is_bounded_and_says_what_it_lost(
    database: Database, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BACKLOG_LIMIT", 5)
    findings = Findings(database.pool("wk_app"))  # never opened
    for _ in range(8):
        findings.note(
            tenant, kind=Kind.JOB_FAILED, severity=Severity.LOW, key=finding_key(Kind.JOB_FAILED, uuid4()), detail={}
        )
    assert findings.backlog == 5
    assert findings.lost == 3
    await findings.stop()


async def test_what_does_not_fit_the_grammar_is_refused_without_its_value(findings: Findings, tenant: UUID) -> None:
    with pytest.raises(FindingRefused) as refusal:
        await findings.report(
            tenant, kind=Kind.JOB_FAILED, severity=Severity.LOW, key="job.failed", detail={"error": "Jane Doe"}
        )
    assert "Jane" not in str(refusal.value)
    assert findings.backlog == 0


async def test_a_note_from_a_thread_without_a_loop_waits_for_the_next_flush(findings: Findings, tenant: UUID) -> None:
    def work() -> None:
        findings.note(tenant, kind=Kind.JOB_FAILED, severity=Severity.LOW, key="job.failed", detail={})

    await asyncio.to_thread(work)
    assert findings.backlog == 1
    assert await findings.flush()
    assert [finding.kind for finding in await findings.list(tenant)] == ["job.failed"]


async def test_one_that_can_never_be_stored_holds_up_no_other(findings: Findings, database: Database) -> None:
    """A finding of a tenant whose rows the database refuses (here: by a constraint) stays and is seen to stay."""
    tenant, refused = await database.create_tenant(), await database.create_tenant()
    async with database.connect() as administrator:
        await administrator.execute(f"ALTER TABLE findings.finding ADD CHECK (tenant_id <> '{refused}')")
    for one in (refused, tenant, refused):
        await report(findings, one, uuid4())
    assert findings.backlog == 2
    assert len(await findings.list(tenant)) == 1
