"""States and lifetimes under every trouble of a key service: nobody waits, nothing opens too long, calls stay few."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from uuid import UUID, uuid4

import pytest

from database import Database
from keys.rig import Bench, CompanyKms, OwnRoots, impatient, new_ring, under_way
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import IntegrityBroken, KeysRevoked, KeysUnavailable
from wellkeep.keys.kms import TENANT_PURPOSES, KeyPurpose
from wellkeep.keys.ring import KeyRing
from wellkeep.keys.ring_states import Lifetimes, TenantState
from wellkeep.keys.rows import new_row, store_rows
from wellkeep.keys.seals import BLOCK

SOFT = 300.0
LATEST = 0.96 * SOFT
HOUR = 3_600.0
DECRYPT_ONLY = "UPDATE keys.tenant_key SET state = 'decrypt_only' WHERE purpose = $1 AND epoch = 1"
PLACE = {"collection": 1, "field": 1, "index": 1, "normaliser": "text/1"}


async def found(bench: Bench, tenant: UUID) -> set[str]:
    await bench.findings.flush()
    return {finding.kind for finding in await bench.findings.list(tenant)}


def asked(ring: KeyRing) -> int:
    return sum(ring.calls.counts.values())


async def test_keys_in_use_are_asked_for_again_before_their_time_is_up(bench: Bench, tenant: UUID) -> None:
    keys = await bench.ring.provision(tenant)
    before = asked(bench.ring)
    bench.clock.passed += LATEST
    assert bench.ring.cached(tenant) is keys, "nobody waits"
    await under_way(bench.ring)
    assert asked(bench.ring) == before + 2, "one row: its share of the root, its share of the epoch"
    bench.clock.passed += LATEST - 1
    assert bench.ring.cached(tenant) is keys
    assert bench.ring.state(tenant) is TenantState.OK


async def test_a_no_bites_within_the_soft_lifetime_although_nobody_waited(bench: Bench, tenant: UUID) -> None:
    keys = await bench.ring.provision(tenant)
    bench.kms.mood = "denied"
    bench.clock.passed += LATEST
    assert bench.ring.cached(tenant) is keys
    await under_way(bench.ring)
    assert bench.ring.cached(tenant) is None
    with pytest.raises(KeysRevoked):
        keys.index_key(**PLACE)  # type: ignore[arg-type]


async def test_the_pulse_asks_for_keys_in_use_and_for_no_others(bench: Bench, tenant: UUID, other_tenant: UUID) -> None:
    await bench.ring.provision(tenant)
    await bench.ring.provision(other_tenant)
    for _ in range(3):
        bench.clock.passed += LATEST
        bench.ring.tend()
        await under_way(bench.ring)
        bench.ring.cached(tenant)
    assert bench.ring.cached(tenant) is not None
    assert bench.ring.cached(other_tenant) is None, "nobody asked for it since the last time"


async def test_an_hour_of_use_costs_no_more_calls_than_the_bar(bench: Bench, tenant: UUID) -> None:
    """Calls per process and hour against tenants x purposes x 12; root and epoch both counted, the first load too."""
    await bench.ring.provision(tenant)
    fresh = new_ring(bench)
    await fresh.load(tenant)
    for _ in range(720):
        bench.clock.passed += 5
        assert fresh.cached(tenant) is not None
        if fresh._loads:
            await under_way(fresh)
    calls = asked(fresh)
    assert calls <= 5 * 12, "not even with the five purposes of the beginning"
    assert calls >= 2 * len(TENANT_PURPOSES) * 2, "all rows were opened a second time within the hour"


async def test_unchanged_rows_are_proved_by_one_and_opened_all_again_within_the_hard_lifetime(
    bench: Bench, tenant: UUID
) -> None:
    await bench.ring.provision(tenant)
    opened_all = []
    for _ in range(30):
        before = bench.kms.calls
        bench.clock.passed += LATEST
        await bench.ring.load(tenant)
        await under_way(bench.ring)
        calls = bench.kms.calls - before
        assert calls in {1, len(TENANT_PURPOSES)}
        if calls > 1:
            opened_all.append(bench.clock.passed)
    assert opened_all
    assert all(later - earlier <= HOUR for earlier, later in zip([0.0, *opened_all], opened_all, strict=False))


async def test_each_root_and_epoch_that_rows_name_is_asked(bench: Bench, tenant: UUID) -> None:
    """After half of a root's rotation, a no of either root must be heard."""
    own = CompanyKms()
    await bench.ring.provision(tenant)
    row = await new_row(own, bench.epochs, tenant=tenant, purpose=KeyPurpose.DATA, epoch=2, kms_epoch=1)
    async with bench.pool.tenant_transaction(tenant=tenant) as connection:
        await store_rows(connection, [row], tenant=tenant)

    class Both(OwnRoots):
        def named(self, tenant: UUID, root: str) -> CompanyKms:  # noqa: ARG002 -- whoever it is
            return own if root == own.describe().root else bench.kms

    ring = new_ring(bench, roots=Both(bench.kms, {}))
    await ring.load(tenant)
    own.mood = "denied"
    bench.clock.passed += LATEST
    ring.cached(tenant)
    await under_way(ring)
    assert ring.state(tenant) is TenantState.REVOKED


@pytest.mark.parametrize("mood", ["slow by 30 s", "gone", "faulty-driver"])
async def test_a_service_that_is_away_keeps_nobody_waiting(bench: Bench, tenant: UUID, mood: str) -> None:
    """The promise: readers of keys that are held do not feel it. In real time, past the soft lifetime."""
    await bench.ring.provision(tenant)
    ring = new_ring(bench, clock=SystemClock(), lifetimes=Lifetimes(soft=1.0, hard=60.0, retry=0.2))
    await ring.load(tenant)
    impatient(ring, seconds=0.03)
    bench.kms.mood = mood
    waited = 0
    end = time.monotonic() + 1.8
    while time.monotonic() < end or ring.state(tenant) is not TenantState.STALE:
        assert time.monotonic() < end + 60
        keys = ring.cached(tenant)
        waited += keys is None
        assert (keys or await ring.load(tenant)).tenant == tenant
        await asyncio.sleep(0.002)
    assert waited <= 1, "what is held is given at once; who finds nothing waits a moment, and nobody after that"
    assert "keys.stale" in await found(bench, tenant)
    await ring.stop()


async def test_who_comes_late_waits_a_second_at_most_and_once(bench: Bench, tenant: UUID) -> None:
    keys = await bench.ring.provision(tenant)
    bench.clock.passed += 2 * SOFT
    bench.kms.mood = "hanging"
    ring = bench.ring
    ring._lifetimes = Lifetimes(grace=0.1)
    impatient(ring, seconds=4.0)
    began = time.monotonic()
    assert await ring.load(tenant) is keys
    assert time.monotonic() - began < 2.0
    assert ring.cached(tenant) is keys, "one load is under way, nobody else waits for it"
    await under_way(ring)
    assert ring.state(tenant) is TenantState.STALE


async def test_writing_goes_on_while_keys_are_stale_and_stops_when_they_are_locked(bench: Bench, tenant: UUID) -> None:
    keys = await bench.ring.provision(tenant)
    bench.kms.mood = "gone"
    bench.clock.passed += SOFT
    assert await bench.ring.load(tenant) is keys
    subject = uuid4()
    new = await keys.new_subject_key(subject)
    again = keys.subject_key(kid=new.kid, wrapped=new.wrapped, wrap_epoch=1, subject=subject, generation=1)
    assert again.kid == new.kid
    assert (await keys.data_key(seals=5)).kid in keys.data_keys
    bench.clock.passed += HOUR
    bench.ring.tend()
    for way in (keys.new_subject_key(subject), keys.data_key(seals=1), keys.file_wrap()):
        with pytest.raises(KeysUnavailable):
            await way


async def test_fifty_tenants_under_a_root_that_hangs_and_one_that_is_not(
    bench: Bench, database: Database, tenant: UUID
) -> None:
    crowd = [await database.create_tenant() for _ in range(50)]
    for one in crowd:
        await bench.ring.provision(one)
    own = CompanyKms()
    ring = new_ring(bench, roots=OwnRoots(bench.kms, {tenant: own}))
    await ring.provision(tenant)
    impatient(ring)
    bench.kms.mood, bench.kms.calls = "hanging", 0
    began = time.monotonic()
    results = await asyncio.gather(*(ring.load(one) for one in crowd), return_exceptions=True)
    took = time.monotonic() - began
    assert all(isinstance(result, KeysUnavailable) for result in results)
    assert bench.kms.calls <= 16, "not one call for each of 50 tenants x 6 purposes"
    assert took < 10
    assert ring.locked_by(bench.kms.describe().root) == 50
    assert ring.locked_by(own.describe().root) == 0
    bench.clock.passed += 1
    bench.kms.calls = 0
    await asyncio.gather(*(ring.load(one) for one in crowd), return_exceptions=True)
    assert bench.kms.calls <= 1, "while one call tries, the others fail at once"
    assert ring.cached(tenant) is not None
    bench.kms.mood = "well"
    impatient(ring, seconds=60.0)
    bench.clock.passed += 60
    await asyncio.gather(*(ring.load(one) for one in crowd), return_exceptions=True)
    bench.clock.passed += 60
    assert len({(await ring.load(one)).tenant for one in crowd}) == 50


async def test_a_setting_of_the_wall_clock_changes_nothing_and_a_sleep_of_the_machine_is_time(
    bench: Bench, tenant: UUID
) -> None:
    keys = await bench.ring.provision(tenant)
    calls = bench.kms.calls
    for years in (10, -20):
        bench.clock.set_on += years * 365 * 86_400
        assert bench.ring.cached(tenant) is keys
    assert bench.kms.calls == calls
    bench.kms.mood = "gone"
    bench.clock.passed += 8 * HOUR
    assert bench.ring.cached(tenant) is None
    with pytest.raises(KeysUnavailable):
        await bench.ring.load(tenant)


async def test_refusals_are_asked_about_after_growing_pauses_and_with_one_call(bench: Bench, tenant: UUID) -> None:
    await bench.ring.provision(tenant)
    ring = new_ring(bench)
    bench.kms.mood = "denied"
    with pytest.raises(KeysRevoked):
        await ring.load(tenant)
    bench.kms.calls = 0
    for _ in range(3_600):
        bench.clock.passed += 1
        with pytest.raises(KeysRevoked):
            await ring.load(tenant)
    assert bench.kms.calls <= len(TENANT_PURPOSES) * 12
    bench.kms.mood = "gone"
    bench.clock.passed += 61
    with pytest.raises(KeysUnavailable):
        await ring.load(tenant)
    assert ring.state(tenant) is TenantState.REVOKED, "silence is no answer"
    bench.kms.mood = "well"
    bench.clock.passed += 61
    assert (await ring.load(tenant)).tenant == tenant
    await under_way(ring)
    assert "keys.revoked" not in await found(bench, tenant)


async def test_a_tenant_that_was_locked_by_silence_opens_soon_after_it_ends(bench: Bench, tenant: UUID) -> None:
    await bench.ring.provision(tenant)
    ring = new_ring(bench)
    bench.kms.mood = "gone"
    for _ in range(1_200):
        bench.clock.passed += 1
        with pytest.raises(KeysUnavailable):
            await ring.load(tenant)
    bench.kms.mood = "well"
    waited = 0
    while ring.state(tenant) is not TenantState.OK:
        bench.clock.passed += 1
        waited += 1
        assert waited <= 60
        with suppress(KeysUnavailable):
            await ring.load(tenant)


async def test_a_tenant_that_nobody_asks_for_any_more_is_not_shown_as_locked_for_ever(
    bench: Bench, tenant: UUID
) -> None:
    await bench.ring.provision(tenant)
    ring = new_ring(bench)
    bench.kms.mood = "gone"
    with pytest.raises(KeysUnavailable):
        await ring.load(tenant)
    assert ring.states() == {TenantState.LOCKED: 1}
    bench.clock.passed += SOFT + 1
    ring.tend()
    assert ring.states() == {}


async def test_a_purge_reaches_hands_that_hold_keys_of_before_a_rotation(
    bench: Bench, database: Database, tenant: UUID
) -> None:
    old = await bench.ring.provision(tenant)
    row = await new_row(bench.kms, bench.epochs, tenant=tenant, purpose=KeyPurpose.INDEX, epoch=2, kms_epoch=1)
    async with database.entered(tenant) as connection:
        await store_rows(connection, [row], tenant=tenant)
    bench.ring.expire(tenant)
    new = await bench.ring.load(tenant)
    assert new is not old
    old.index_key(**PLACE)  # type: ignore[arg-type]
    bench.ring.purge(tenant)
    for keys in (old, new):
        with pytest.raises(KeysRevoked):
            keys.index_key(**PLACE)  # type: ignore[arg-type]


async def test_news_during_a_load_has_it_begin_again(bench: Bench, tenant: UUID) -> None:
    """What was asked before the news may be the yes of before the no."""
    await bench.ring.provision(tenant)
    ring = new_ring(bench)
    bench.kms.mood = "held"
    loading = asyncio.create_task(ring.load(tenant))
    await bench.kms.met.wait()
    ring.revoke(tenant)
    bench.kms.mood = "denied"
    bench.kms.let_go.set()
    with pytest.raises(KeysRevoked):
        await loading
    assert ring.cached(tenant) is None


async def test_news_without_end_is_a_refusal_and_not_a_circle(bench: Bench, tenant: UUID) -> None:
    await bench.ring.provision(tenant)
    ring = new_ring(bench)
    bench.kms.mood = "slow"
    loading = asyncio.create_task(ring.load(tenant))
    while not loading.done():
        ring.expire(tenant)
        await asyncio.sleep(0.005)
    with pytest.raises(KeysUnavailable, match="being changed"):
        await loading


@pytest.mark.parametrize("purpose", [KeyPurpose.DATA, KeyPurpose.WRAP, KeyPurpose.FILE])
async def test_a_key_that_was_replaced_elsewhere_gives_way_to_the_next_without_an_error(
    bench: Bench, tenant: UUID, purpose: KeyPurpose
) -> None:
    """Another process rotates; what this one has leased runs out before it hears of it."""
    keys = await bench.ring.provision(tenant)
    row = await new_row(bench.kms, bench.epochs, tenant=tenant, purpose=purpose, epoch=2, kms_epoch=1)
    async with bench.pool.tenant_transaction(tenant=tenant) as connection:
        await connection.execute(DECRYPT_ONLY, purpose.value)
        await store_rows(connection, [row], tenant=tenant)

    async def used() -> int:
        if purpose is KeyPurpose.DATA:
            return 2 if (await keys.data_key(seals=BLOCK)).kid == row.kid else 1
        if purpose is KeyPurpose.WRAP:
            return (await keys.new_subject_key(uuid4())).wrap_epoch
        return (await keys.file_wrap())[0]

    assert await asyncio.gather(*(used() for _ in range(5))) == [2] * 5
    assert "keys.budget" not in await found(bench, tenant)
    third = await new_row(bench.kms, bench.epochs, tenant=tenant, purpose=purpose, epoch=3, kms_epoch=1)
    bench.kms.mood = "gone"
    async with bench.pool.tenant_transaction(tenant=tenant) as connection:
        await connection.execute("UPDATE keys.tenant_key SET state = 'decrypt_only' WHERE kid = $1", row.kid)
        await store_rows(connection, [third], tenant=tenant)
    newest = await bench.ring.load(tenant)
    newest.meters[row.kid]._left = 0
    with pytest.raises(KeysUnavailable):
        await used()


async def test_a_finding_says_in_time_that_a_budget_is_nearly_used(
    bench: Bench, database: Database, tenant: UUID
) -> None:
    keys = await bench.ring.provision(tenant)
    await keys.file_wrap()
    assert "keys.budget" not in await found(bench, tenant)
    keys.meters[next(row.kid for row in keys.rows if row.purpose is KeyPurpose.FILE)]._left = 0
    async with database.connect() as administrator:
        await administrator.execute(
            "UPDATE keys.tenant_key SET seals = $1 WHERE purpose = 'FILE' AND tenant_id = $2", int(0.8 * 2**32), tenant
        )
    await keys.file_wrap()
    await bench.findings.flush()
    (finding,) = [one for one in await bench.findings.list(tenant) if one.kind == "keys.budget"]
    assert (finding.severity, finding.detail) == ("medium", {"purpose": "file", "epoch": 1, "state": "near"})
    row = await new_row(bench.kms, bench.epochs, tenant=tenant, purpose=KeyPurpose.FILE, epoch=2, kms_epoch=1)
    async with bench.pool.tenant_transaction(tenant=tenant) as connection:
        await connection.execute(DECRYPT_ONLY, "FILE")
        await store_rows(connection, [row], tenant=tenant)
    bench.ring.expire(tenant)
    await bench.ring.load(tenant)
    await under_way(bench.ring)
    assert "keys.budget" not in await found(bench, tenant), "the next key seals"


@pytest.mark.parametrize(
    ("mood", "error", "state"),
    [
        ("throttled", KeysUnavailable, TenantState.LOCKED),
        ("disabled", KeysRevoked, TenantState.REVOKED),
        ("pending deletion", KeysRevoked, TenantState.REVOKED),
        ("in another context", IntegrityBroken, TenantState.LOCKED),
        ("another-key", IntegrityBroken, TenantState.LOCKED),
        ("rubbish", IntegrityBroken, TenantState.LOCKED),
    ],
)
async def test_what_each_trouble_comes_to_and_that_it_ends(
    bench: Bench, tenant: UUID, mood: str, error: type[Exception], state: TenantState
) -> None:
    await bench.ring.provision(tenant)
    ring = new_ring(bench)
    bench.kms.mood = mood
    with pytest.raises(error):
        await ring.load(tenant)
    assert ring.state(tenant) is state
    assert ring.cached(tenant) is None
    bench.kms.mood = "well"
    bench.clock.passed += 61
    assert (await ring.load(tenant)).tenant == tenant
    await under_way(ring)
    assert ring.states() == {TenantState.OK: 1}
