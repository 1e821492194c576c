"""The ring: walls between tenants, commitments, lifetimes, and a KMS in every mood."""

from __future__ import annotations

import asyncio
import os
import traceback
from uuid import UUID, uuid4

import pytest

from database import Database
from keys.rig import Bench, impatient, new_ring, under_way
from local_keys import a_root, epoch_keys
from wellkeep.base.errors import DatabaseUnavailable, IntegrityBroken, KeysRevoked, KeysUnavailable
from wellkeep.crypto import envelope
from wellkeep.crypto.errors import CryptoError
from wellkeep.crypto.keys import commitment
from wellkeep.db.pool import Limits
from wellkeep.keys import ring as ring_module
from wellkeep.keys.kms import TENANT_PURPOSES, KeyPurpose, OneRoot, key_context
from wellkeep.keys.ring import KeyRing
from wellkeep.keys.ring_states import TenantState
from wellkeep.keys.rows import new_row, store_rows

SOFT = 331.0
HARD = 3_601.0


async def kinds(bench: Bench, tenant: UUID) -> set[str]:
    await bench.findings.flush()
    return {finding.kind for finding in await bench.findings.list(tenant)}


async def test_provisioning_again_or_twice_at_once_makes_one_set_of_keys(bench: Bench, tenant: UUID) -> None:
    rings = [new_ring(bench) for _ in range(4)]
    made = await asyncio.gather(*(ring.provision(tenant) for ring in rings))
    again = await bench.ring.provision(tenant)
    assert {keys.rows for keys in made} == {again.rows}
    assert [row.purpose for row in again.rows] == sorted(TENANT_PURPOSES)


async def test_the_key_table_holds_wrapped_keys_alone(bench: Bench, database: Database, tenant: UUID) -> None:
    """Each secret is recovered the legitimate way and then looked for in the whole table."""
    keys = await bench.ring.provision(tenant)
    new = await keys.new_subject_key(uuid4())
    async with database.connect() as administrator:
        stored = b"".join(
            [
                bytes(row["raw"])
                for row in await administrator.fetch("SELECT wrapped || commit_hash AS raw FROM keys.tenant_key")
            ]
        )
    for row in keys.rows:
        context = key_context(tenant, row.purpose, row.epoch)
        share = await bench.kms.unwrap(row.wrapped[2:65], context=context)
        other = await bench.epochs.unwrap(row.wrapped[65:], epoch=1, context=context)
        secret = bytes(a ^ b for a, b in zip(share, other, strict=True))
        assert commitment(secret) == row.commit
        assert secret not in stored
        assert secret[:8] not in stored
    assert len(new.wrapped) == 63 + 16


async def test_two_tenants_open_only_under_their_own_keys(bench: Bench, tenant: UUID, other_tenant: UUID) -> None:
    mine, theirs = await bench.ring.provision(tenant), await bench.ring.provision(other_tenant)
    subject, record = uuid4(), uuid4()
    my_key = (await mine.new_subject_key(subject)).key
    their_key = (await theirs.new_subject_key(subject)).key
    sealed = envelope.seal_one(my_key, (1, 1, b"x", False), tenant=tenant.bytes, collection=1, record=record.bytes)
    with pytest.raises(CryptoError):
        envelope.open_one(their_key, (1, sealed), tenant=tenant.bytes, collection=1, record=record.bytes)
    with pytest.raises(IntegrityBroken):
        theirs.subject_key(kid=my_key.kid, wrapped=my_key.wrapped, wrap_epoch=1, subject=subject, generation=1)
    assert mine.data_keys.keys().isdisjoint(theirs.data_keys)
    place = {"collection": 1, "field": 1, "index": 1, "normaliser": "text/1"}
    assert mine.index_key(**place).tag("a") != theirs.index_key(**place).tag("a")  # type: ignore[arg-type]


@pytest.mark.parametrize("change", ["tenant", "purpose", "epoch"])
async def test_an_unwrap_in_another_context_is_refused(bench: Bench, tenant: UUID, change: str) -> None:
    context = key_context(tenant, KeyPurpose.DATA, 1)
    secret = os.urandom(32)
    blob = await bench.kms.wrap(secret, context=context)
    assert await bench.kms.unwrap(blob, context=context) == secret
    other = {"tenant": uuid4().hex, "purpose": "INDEX", "epoch": "2"}
    with pytest.raises(IntegrityBroken):
        await bench.kms.unwrap(blob, context=context | {change: other[change]})


ANOTHER_ROWS = """
UPDATE keys.tenant_key a SET wrapped = b.wrapped FROM keys.tenant_key b
WHERE a.tenant_id = $1 AND a.purpose = 'DATA' AND b.tenant_id = $2 AND b.purpose = $3
"""
ANOTHER_EPOCH = "UPDATE keys.tenant_key SET epoch = 2 WHERE tenant_id = $1 AND purpose = 'FILE'"
ALTERED = """
UPDATE keys.tenant_key SET wrapped = set_byte(wrapped, 40, get_byte(wrapped, 40) # 1)
WHERE tenant_id = $1 AND purpose = 'WRAP'
"""
CUT = "UPDATE keys.tenant_key SET wrapped = substring(wrapped FROM 1 FOR 62) WHERE tenant_id = $1 AND purpose = 'WRAP'"
COMMITMENT = """
UPDATE keys.tenant_key SET commit_hash = set_byte(commit_hash, 31, get_byte(commit_hash, 31) # 1)
WHERE tenant_id = $1 AND purpose = 'INDEX'
"""


async def tamper(database: Database, how: str, tenant: UUID, other_tenant: UUID) -> None:
    async with database.connect() as administrator:
        if how == "another-tenant":
            await administrator.execute(ANOTHER_ROWS, tenant, other_tenant, "DATA")
        elif how == "another-purpose":
            await administrator.execute(ANOTHER_ROWS, tenant, tenant, "INDEX")
        else:
            statement = {"another-epoch": ANOTHER_EPOCH, "altered": ALTERED, "cut": CUT, "commitment": COMMITMENT}[how]
            await administrator.execute(statement, tenant)


@pytest.mark.parametrize("how", ["another-tenant", "another-purpose", "another-epoch", "altered", "cut", "commitment"])
async def test_a_row_that_was_exchanged_or_altered_is_refused_and_reported(
    bench: Bench, database: Database, tenant: UUID, other_tenant: UUID, how: str
) -> None:
    await bench.ring.provision(tenant)
    await bench.ring.provision(other_tenant)
    await tamper(database, how, tenant, other_tenant)
    fresh = new_ring(bench)
    with pytest.raises(IntegrityBroken):
        await fresh.load(tenant)
    assert fresh.cached(tenant) is None
    assert "keys.tampered" in await kinds(bench, tenant)


@pytest.mark.parametrize("wrong", ["root", "epoch"])
async def test_with_another_root_or_epoch_key_nothing_loads(bench: Bench, tenant: UUID, wrong: str) -> None:
    await bench.ring.provision(tenant)
    kms, epochs = bench.kms.inner, bench.epochs
    if wrong == "root":
        kms = a_root()
    else:
        epochs = epoch_keys(1)
    other = KeyRing(bench.pool, OneRoot(kms), epochs, bench.findings)
    with pytest.raises(KeysUnavailable if wrong == "root" else IntegrityBroken) as refusal:
        await other.load(tenant)
    assert "root key" in refusal.value.message or wrong == "epoch"


async def test_without_its_epoch_key_no_key_of_a_tenant_opens(bench: Bench, tenant: UUID) -> None:
    """This is what makes erasure reach old backups: root key and database together open nothing."""
    await bench.ring.provision(tenant)
    later = epoch_keys(2)
    with pytest.raises(KeysUnavailable, match="epoch key"):
        await KeyRing(bench.pool, OneRoot(bench.kms), later, bench.findings).load(tenant)


async def test_a_tenant_without_keys_is_told_so(bench: Bench, tenant: UUID) -> None:
    with pytest.raises(KeysUnavailable, match="no keys yet"):
        await bench.ring.load(tenant)


async def test_one_load_a_tenant_at_a_time(bench: Bench, tenant: UUID) -> None:
    await bench.ring.provision(tenant)
    fresh = new_ring(bench)
    bench.kms.mood, bench.kms.calls = "slow", 0
    loaded = await asyncio.gather(*(fresh.load(tenant) for _ in range(50)))
    assert len({id(keys) for keys in loaded}) == 1
    assert bench.kms.calls == len(TENANT_PURPOSES)
    assert await fresh.load(tenant) is fresh.cached(tenant)
    assert bench.kms.calls == len(TENANT_PURPOSES)


async def test_a_caller_who_leaves_does_not_end_the_load_of_the_others(bench: Bench, tenant: UUID) -> None:
    await bench.ring.provision(tenant)
    fresh = new_ring(bench)
    bench.kms.mood = "slow"
    leaving, staying = asyncio.create_task(fresh.load(tenant)), asyncio.create_task(fresh.load(tenant))
    await asyncio.sleep(0.01)
    leaving.cancel()
    assert (await staying).tenant == tenant


async def test_a_renewal_keeps_object_and_counts(bench: Bench, tenant: UUID) -> None:
    keys = await bench.ring.provision(tenant)
    await keys.data_key(seals=1)
    bench.clock.passed += SOFT
    assert bench.ring.cached(tenant) is None
    assert await bench.ring.load(tenant) is keys


@pytest.mark.parametrize("mood", ["gone", "hanging", "faulty-driver"])
async def test_stale_keys_serve_until_the_hard_lifetime_and_then_nothing_opens(
    bench: Bench, tenant: UUID, mood: str
) -> None:
    keys = await bench.ring.provision(tenant)
    subject = uuid4()
    impatient(bench.ring)
    bench.kms.mood = mood
    bench.clock.passed += SOFT
    assert await bench.ring.load(tenant) is keys
    assert bench.ring.cached(tenant) is keys
    assert bench.ring.state(tenant) is TenantState.STALE
    await keys.new_subject_key(subject)  # writing goes on: new patients' keys are wrapped here
    assert "keys.stale" in await kinds(bench, tenant)
    bench.clock.passed = HARD
    with pytest.raises(KeysUnavailable):
        await bench.ring.load(tenant)
    assert bench.ring.state(tenant) is TenantState.LOCKED
    with pytest.raises(KeysUnavailable):
        await keys.new_subject_key(subject)
    assert "keys.locked" in await kinds(bench, tenant)


async def test_a_stale_tenant_recovers_by_itself(bench: Bench, tenant: UUID) -> None:
    keys = await bench.ring.provision(tenant)
    bench.kms.mood = "gone"
    bench.clock.passed += SOFT
    await bench.ring.load(tenant)
    bench.kms.mood = "well"
    bench.clock.passed += 11
    assert await bench.ring.load(tenant) is keys
    await under_way(bench.ring)
    assert bench.ring.states() == {TenantState.OK: 1}
    assert "keys.stale" not in await kinds(bench, tenant)


async def test_a_refusal_purges_at_once_also_in_hands_that_hold_the_keys(bench: Bench, tenant: UUID) -> None:
    keys = await bench.ring.provision(tenant)
    subject = uuid4()
    new = await keys.new_subject_key(subject)
    bench.kms.mood = "denied"
    bench.clock.passed += SOFT
    with pytest.raises(KeysRevoked):
        await bench.ring.load(tenant)
    with pytest.raises(KeysRevoked):
        keys.subject_key(kid=new.kid, wrapped=new.wrapped, wrap_epoch=1, subject=subject, generation=1)
    with pytest.raises(KeysRevoked):
        keys.index_key(collection=1, field=1, index=1, normaliser="text/1")
    assert len(bench.ring._subjects) == 0
    assert bench.ring.state(tenant) is TenantState.REVOKED
    calls = bench.kms.calls
    with pytest.raises(KeysRevoked):
        await bench.ring.load(tenant)
    assert bench.kms.calls == calls  # a KMS that says no is not asked once a request
    assert "keys.revoked" in await kinds(bench, tenant)
    bench.kms.mood = "well"
    bench.clock.passed += 2
    assert (await bench.ring.load(tenant)).tenant == tenant


@pytest.mark.parametrize("mood", ["another-key", "rubbish"])
async def test_a_kms_that_answers_with_another_key_is_found_out(bench: Bench, tenant: UUID, mood: str) -> None:
    await bench.ring.provision(tenant)
    bench.kms.mood = mood
    bench.clock.passed += SOFT
    with pytest.raises(IntegrityBroken):
        await bench.ring.load(tenant)
    assert bench.ring.cached(tenant) is None
    assert "keys.tampered" in await kinds(bench, tenant)


async def test_a_tenant_that_is_locked_does_not_lock_another(bench: Bench, tenant: UUID, other_tenant: UUID) -> None:
    await bench.ring.provision(tenant)
    await bench.ring.provision(other_tenant)
    fresh = new_ring(bench)
    await fresh.load(other_tenant)
    bench.kms.mood = "gone"
    with pytest.raises(KeysUnavailable):
        await fresh.load(tenant)
    assert fresh.cached(other_tenant) is not None


async def test_nothing_secret_shows(bench: Bench, tenant: UUID) -> None:
    keys = await bench.ring.provision(tenant)
    new = await keys.new_subject_key(uuid4())
    shown = " ".join(
        repr(thing) + str(thing)
        for thing in (keys, new, new.key, keys.rows, bench.kms.inner, bench.epochs, keys.data_keys)
    )
    assert "wrapped" not in shown
    assert new.wrapped.hex() not in shown
    assert not any(row.wrapped.hex() in shown or repr(row.wrapped) in shown for row in keys.rows)


@pytest.mark.parametrize("mood", ["gone", "hanging"])
async def test_without_the_kms_no_tenant_gets_keys_and_nothing_is_stored(
    bench: Bench, database: Database, tenant: UUID, mood: str
) -> None:
    """No derived key, no key in clear: provisioning fails, and works later."""
    bench.kms.mood = mood
    impatient(bench.ring)
    with pytest.raises(KeysUnavailable):
        await bench.ring.provision(tenant)
    async with database.connect() as administrator:
        assert await administrator.fetchval("SELECT count(*) FROM keys.tenant_key") == 0
    bench.kms.mood = "well"
    impatient(bench.ring, seconds=60.0)
    await bench.ring.provision(tenant)


async def test_a_database_that_does_not_answer_makes_keys_stale_and_not_lost(
    bench: Bench, database: Database, tenant: UUID
) -> None:
    async with database.pool("wk_app", limits=Limits(lock_seconds=0.2)) as pool:
        ring = new_ring(bench, pool=pool)
        keys = await ring.provision(tenant)
        bench.clock.passed += SOFT
        async with database.connect() as administrator, administrator.transaction():
            await administrator.execute("LOCK TABLE keys.tenant_key IN ACCESS EXCLUSIVE MODE")
            assert await ring.load(tenant) is keys
            assert ring.state(tenant) is TenantState.STALE
            bench.clock.passed += HARD
            with pytest.raises(DatabaseUnavailable):
                await ring.load(tenant)
        await ring.stop()


async def test_keys_destroyed_elsewhere_are_revoked_here(bench: Bench, database: Database, tenant: UUID) -> None:
    await bench.ring.provision(tenant)
    async with database.connect() as administrator:
        await administrator.execute(
            "UPDATE keys.tenant_key SET state = 'destroyed', wrapped = '' WHERE tenant_id = $1", tenant
        )
    bench.clock.passed += SOFT
    with pytest.raises(KeysRevoked):
        await bench.ring.load(tenant)
    await under_way(bench.ring)
    assert "keys.revoked" in await kinds(bench, tenant)


async def test_keys_of_a_tenant_that_was_closed_and_erased_leave_memory_and_make_no_alarm(
    bench: Bench, database: Database, tenant: UUID
) -> None:
    keys = await bench.ring.provision(tenant)
    new = await keys.new_subject_key(uuid4())
    async with database.connect() as administrator:
        await administrator.execute("UPDATE wk.tenants SET state = 'closed' WHERE id = $1", tenant)
        await administrator.execute("DELETE FROM keys.tenant_key WHERE tenant_id = $1", tenant)
    bench.ring.expire(tenant)  # what the signal does in every process
    bench.ring.tend()
    await under_way(bench.ring)
    assert bench.ring.state(tenant) is TenantState.REVOKED
    assert len(bench.ring._subjects) == 0
    assert await kinds(bench, tenant) == set()
    with pytest.raises(KeysRevoked):
        keys.subject_key(kid=new.kid, wrapped=new.wrapped, wrap_epoch=1, subject=uuid4(), generation=1)


async def test_an_epoch_that_another_process_began_is_read_without_waiting_for_the_soft_lifetime(
    bench: Bench, database: Database, tenant: UUID
) -> None:
    keys = await bench.ring.provision(tenant)
    row = await new_row(bench.kms, bench.epochs, tenant=tenant, purpose=KeyPurpose.WRAP, epoch=2, kms_epoch=1)
    async with database.entered(tenant) as connection:
        await store_rows(connection, [row], tenant=tenant)
    unknown = {"kid": bytes(16), "wrapped": bytes(63), "wrap_epoch": 2, "subject": uuid4(), "generation": 1}
    bench.clock.passed += 60
    with pytest.raises(KeysUnavailable):
        keys.subject_key(**unknown)  # type: ignore[arg-type]
    newer = await bench.ring.load(tenant)
    assert newer is not keys
    assert (await newer.new_subject_key(uuid4())).wrap_epoch == 2
    assert newer.meters[keys.rows[0].kid] is keys.meters[keys.rows[0].kid]


async def test_keys_nobody_asks_for_any_more_are_let_go(bench: Bench, tenant: UUID, other_tenant: UUID) -> None:
    idle = await bench.ring.provision(tenant)
    bench.clock.passed += HARD
    await bench.ring.provision(other_tenant)
    assert bench.ring.state(tenant) is None
    with pytest.raises(KeysUnavailable):
        idle.index_key(collection=1, field=1, index=1, normaliser="text/1")


async def test_the_ring_stops_in_the_middle_of_a_load(bench: Bench, tenant: UUID) -> None:
    await bench.ring.provision(tenant)
    fresh = new_ring(bench)
    bench.kms.mood = "hanging"
    waiting = asyncio.create_task(fresh.load(tenant))
    await asyncio.sleep(0.05)
    await fresh.stop()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_the_ring_holds_so_many_tenants_and_no_more(
    bench: Bench, tenant: UUID, other_tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring_module, "_MOST_TENANTS", 1)
    await bench.ring.provision(tenant)
    await bench.ring.provision(other_tenant)
    assert bench.ring.cached(tenant) is None
    assert bench.ring.cached(other_tenant) is not None
    bench.kms.mood = "gone"
    for one in (tenant, uuid4()):
        with pytest.raises(KeysUnavailable):
            await bench.ring.load(one)
    assert len(bench.ring._refused) <= 1


async def test_no_error_of_the_keys_shows_a_key(bench: Bench, tenant: UUID) -> None:
    """What is raised is printed with its whole chain, as a careless log would."""
    keys = await bench.ring.provision(tenant)
    new = await keys.new_subject_key(uuid4())
    context = key_context(tenant, KeyPurpose.DATA, 1)
    secret = os.urandom(32)
    blob = await bench.kms.wrap(secret, context=context)
    shown = []
    with pytest.raises(IntegrityBroken) as broken:
        keys.subject_key(kid=new.kid, wrapped=new.wrapped, wrap_epoch=1, subject=uuid4(), generation=1)
    shown.append("".join(traceback.format_exception(broken.value)))
    with pytest.raises(IntegrityBroken) as broken:
        await bench.kms.unwrap(blob, context=context | {"epoch": "2"})
    shown.append("".join(traceback.format_exception(broken.value)))
    for text in shown:
        for value in (secret, blob, new.wrapped):
            assert value.hex() not in text
            assert repr(value) not in text
