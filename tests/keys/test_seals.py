"""Counts of seals: paid for before they are used, never past the budget, whoever else counts."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from database import Database
from keys.rig import Bench, new_ring
from wellkeep.base.errors import KeysUnavailable
from wellkeep.keys.seals import BLOCK, SUBJECT_BUDGET, SealBudgetExhausted, SubjectMeter, TenantMeter
from wellkeep.keys.tenant import TenantKeys

INSERT = (
    "INSERT INTO keys.subject_key (tenant_id, subject_id, generation, kid, wrapped, wrap_epoch) "
    "VALUES ($1, $2, 1, $3, $4, 1)"
)


@given(st.lists(st.tuples(st.integers(1, BLOCK), st.booleans()), max_size=60), st.booleans())
def test_a_process_never_stores_more_seals_than_it_leased(writes: list[tuple[int, bool]], fresh: bool) -> None:  # noqa: FBT001
    """Each write takes, and is stored together with its lease or fails together with it."""
    meter = SubjectMeter(BLOCK if fresh else 0)
    leased = BLOCK if fresh else 0
    stored = 0
    for seals, succeeds in writes:
        lease = meter.take(seals)
        if succeeds:
            stored += seals
            leased += BLOCK if lease else 0
        else:
            meter.refund(seals, leased=lease)
        assert stored <= leased
        assert meter.left == leased - stored


@pytest.mark.parametrize("seals", [0, -1, BLOCK + 1])
def test_a_write_of_no_or_too_many_fields_is_a_fault(seals: int) -> None:
    with pytest.raises(ValueError, match="1 to 4096"):
        SubjectMeter().take(seals)


async def test_a_tenants_meter_leases_before_it_counts_and_stops_at_the_budget() -> None:
    granted = 0

    async def lease(block: int) -> bool:
        nonlocal granted
        await asyncio.sleep(0)
        if granted + block > 3 * BLOCK:
            return False
        granted += block
        return True

    meter = TenantMeter(lease)
    taken = 0
    with suppress(SealBudgetExhausted):
        while True:
            await meter.reserve(100)
            taken += 100
            assert taken <= granted
    with pytest.raises(KeysUnavailable, match="stays readable"):
        await meter.reserve(100)
    assert granted == 3 * BLOCK
    assert taken > granted - 100


async def counted(database: Database, purpose: str) -> int:
    async with database.connect() as administrator:
        return int(await administrator.fetchval("SELECT sum(seals) FROM keys.tenant_key WHERE purpose = $1", purpose))


async def test_two_processes_together_never_pass_the_budget(bench: Bench, database: Database, tenant: UUID) -> None:
    await bench.ring.provision(tenant)
    async with database.connect() as administrator:
        await administrator.execute(
            "UPDATE keys.tenant_key SET seals = $1 WHERE purpose = 'FILE'", SUBJECT_BUDGET - 5 * BLOCK - 7
        )
    async with database.pool("wk_app") as second_pool:
        second = new_ring(bench, pool=second_pool)
        processes = [await bench.ring.load(tenant), await second.load(tenant)]

        async def use_up(keys: TenantKeys) -> int:
            (row,) = [row for row in keys.rows if row.purpose == "FILE"]
            taken = 0
            with suppress(SealBudgetExhausted):
                while True:
                    await keys.meters[row.kid].reserve(512)
                    taken += 512
            return taken

        taken = sum(await asyncio.gather(*(use_up(keys) for keys in processes for _ in range(3))))
        await second.stop()
    assert taken == 5 * BLOCK
    assert await counted(database, "FILE") == SUBJECT_BUDGET - 7
    await bench.findings.flush()
    assert "keys.budget" in {finding.kind for finding in await bench.findings.list(tenant)}


async def test_a_block_is_written_once_and_another_process_begins_behind_it(
    bench: Bench, database: Database, tenant: UUID
) -> None:
    keys = await bench.ring.provision(tenant)
    for _ in range(100):
        await keys.data_key(seals=20)
    assert await counted(database, "DATA") == BLOCK
    other = await new_ring(bench).load(tenant)
    await other.data_key(seals=1)
    assert await counted(database, "DATA") == 2 * BLOCK


async def test_a_subjects_lease_is_refused_at_its_budget(bench: Bench, database: Database, tenant: UUID) -> None:
    keys = await bench.ring.provision(tenant)
    subject = uuid4()
    new = await keys.new_subject_key(subject)
    async with database.entered(tenant) as connection:
        await connection.execute(INSERT, tenant, subject, new.kid, new.wrapped)
        assert await connection.fetchval("SELECT keys.lease_subject($1)", new.kid)
        assert await connection.fetchval("SELECT leased FROM keys.subject_key") == 2 * BLOCK
    async with database.connect() as administrator:
        await administrator.execute("UPDATE keys.subject_key SET leased = $1", SUBJECT_BUDGET - BLOCK)
    grants = await asyncio.gather(*(lease(database, tenant, new.kid) for _ in range(4)))
    assert sorted(grants) == [False, False, False, True]


async def lease(database: Database, tenant: UUID, kid: bytes) -> bool:
    async with database.entered(tenant) as connection:
        return bool(await connection.fetchval("SELECT keys.lease_subject($1)", kid))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE keys.subject_key SET leased = 4096",
        "UPDATE keys.tenant_key SET seals = 0",
        "UPDATE keys.subject_key SET leased = 4294967297",
    ],
)
async def test_no_count_goes_back_or_past_the_budget(
    bench: Bench, database: Database, tenant: UUID, statement: str
) -> None:
    keys = await bench.ring.provision(tenant)
    subject = uuid4()
    new = await keys.new_subject_key(subject)
    async with database.entered(tenant) as connection:
        await connection.execute(INSERT, tenant, subject, new.kid, new.wrapped)
        await connection.fetchval("SELECT keys.lease_subject($1)", new.kid)
    with pytest.raises(asyncpg.CheckViolationError):
        async with database.entered(tenant) as connection:
            await connection.execute(statement)
