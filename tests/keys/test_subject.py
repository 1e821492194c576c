"""The cache of subject keys: the newest used, never more than its limit, and only together with the row."""

from __future__ import annotations

import gc
import os
import timeit
import tracemalloc
from collections import OrderedDict
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from keys.rig import Bench, new_ring
from wellkeep.base.errors import IntegrityBroken, KeysUnavailable
from wellkeep.crypto.keys import SubjectKey
from wellkeep.keys.kms import KeyPurpose
from wellkeep.keys.rows import new_row, store_rows
from wellkeep.keys.subject import CACHED_SUBJECTS, HeldSubjectKey, SubjectCache

TENANTS = tuple(uuid4().bytes for _ in range(2))
SUBJECTS = tuple(uuid4() for _ in range(6))
SECRETS = {(tenant, subject): os.urandom(32) for tenant in TENANTS for subject in SUBJECTS}


def held(tenant: bytes, subject: UUID, wrapped: bytes, *, secret: bytes | None = None) -> HeldSubjectKey:
    return HeldSubjectKey(
        secret or SECRETS[tenant, subject],
        tenant=tenant,
        subject=subject,
        generation=1,
        wrapped=wrapped,
        wrap_epoch=1,
        left=0,
    )


KIDS = {place: SubjectKey(secret).kid for place, secret in SECRETS.items()}


class CacheMachine(RuleBasedStateMachine):
    """Compares the cache with the plainest model of it: a dictionary in order of use."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = SubjectCache(limit=4)
        self.model: OrderedDict[tuple[bytes, UUID], bytes] = OrderedDict()

    @rule(tenant=st.sampled_from(TENANTS), subject=st.sampled_from(SUBJECTS), wrapped=st.sampled_from([b"a", b"b"]))
    def put(self, tenant: bytes, subject: UUID, wrapped: bytes) -> None:
        self.cache.put(held(tenant, subject, wrapped))
        self.model[tenant, subject] = wrapped
        self.model.move_to_end((tenant, subject))
        if len(self.model) > 4:
            self.model.popitem(last=False)

    @rule(tenant=st.sampled_from(TENANTS), subject=st.sampled_from(SUBJECTS), wrapped=st.sampled_from([b"a", b"b"]))
    def get(self, tenant: bytes, subject: UUID, wrapped: bytes) -> None:
        found = self.cache.get(
            tenant=tenant, kid=KIDS[tenant, subject], wrapped=wrapped, wrap_epoch=1, subject=subject, generation=1
        )
        if self.model.get((tenant, subject)) == wrapped:
            assert found is not None
            assert (found.tenant, found.subject, found.wrapped) == (tenant, subject.int, wrapped)
            self.model.move_to_end((tenant, subject))
        else:
            assert found is None

    @rule(tenant=st.sampled_from(TENANTS))
    def purge(self, tenant: bytes) -> None:
        self.cache.purge(tenant)
        for place in [place for place in self.model if place[0] == tenant]:
            del self.model[place]

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        assert [(key.tenant, key.subject) for key in self.cache._keys.values()] == [
            (tenant, subject.int) for tenant, subject in self.model
        ]


TestCache = CacheMachine.TestCase
TestCache.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


@given(st.sampled_from(["wrapped", "wrap_epoch", "subject", "generation", "tenant", "kid"]))
def test_a_row_that_differs_anywhere_finds_nothing(change: str) -> None:
    cache = SubjectCache()
    cache.put(held(TENANTS[0], SUBJECTS[0], b"w"))
    row = {
        "tenant": TENANTS[0],
        "kid": KIDS[TENANTS[0], SUBJECTS[0]],
        "wrapped": b"w",
        "wrap_epoch": 1,
        "subject": SUBJECTS[0],
        "generation": 1,
    }
    assert cache.get(**row) is not None  # type: ignore[arg-type]
    other = {
        "tenant": TENANTS[1],
        "kid": KIDS[TENANTS[1], SUBJECTS[1]],
        "wrapped": b"v",
        "wrap_epoch": 2,
        "subject": SUBJECTS[1],
        "generation": 2,
    }
    assert cache.get(**(row | {change: other[change]})) is None  # type: ignore[arg-type]


def test_a_key_wrapped_anew_keeps_its_count_of_seals() -> None:
    cache = SubjectCache()
    first = held(TENANTS[0], SUBJECTS[0], b"old")
    cache.put(first)
    first.meter.take(100)
    again = held(TENANTS[0], SUBJECTS[0], b"new")
    cache.put(again)
    assert again.meter is first.meter


async def test_a_key_made_here_and_one_read_from_its_row_are_the_same(bench: Bench, tenant: UUID) -> None:
    keys = await bench.ring.provision(tenant)
    subject = uuid4()
    new = await keys.new_subject_key(subject)
    row = {"kid": new.kid, "wrapped": new.wrapped, "wrap_epoch": new.wrap_epoch, "subject": subject, "generation": 1}
    assert keys.subject_key(**row) is new.key  # type: ignore[arg-type]
    bench.ring._subjects.purge(tenant.bytes)
    read = keys.subject_key(**row)  # type: ignore[arg-type]
    assert read is not new.key
    assert read.commit == new.key.commit
    assert (new.key.meter.left, read.meter.left) == (4096, 0)


@pytest.mark.parametrize("change", ["kid", "wrapped", "subject", "generation", "commitment"])
async def test_a_row_that_was_moved_or_put_back_does_not_open(bench: Bench, tenant: UUID, change: str) -> None:
    keys = await bench.ring.provision(tenant)
    subject, other_subject = uuid4(), uuid4()
    new, other = await keys.new_subject_key(subject), await keys.new_subject_key(other_subject)
    row = {"kid": new.kid, "wrapped": new.wrapped, "wrap_epoch": 1, "subject": subject, "generation": 1}
    moved = {"kid": other.kid, "wrapped": other.wrapped, "subject": other_subject, "generation": 2}
    if change == "commitment":
        change, moved["wrapped"] = "wrapped", new.wrapped[:-1] + bytes((new.wrapped[-1] ^ 1,))
    with pytest.raises(IntegrityBroken):
        keys.subject_key(**(row | {change: moved[change]}))  # type: ignore[arg-type]
    with pytest.raises(KeysUnavailable):
        keys.subject_key(**(row | {"wrap_epoch": 2}))  # type: ignore[arg-type]
    await bench.findings.flush()
    (finding,) = await bench.findings.list(tenant)
    assert finding.kind == "keys.tampered"


async def test_a_hit_costs_microseconds(bench: Bench, tenant: UUID) -> None:
    """The bar is 2 µs on a quiet machine; the bound here is loose, against an accident of ten times."""
    keys = await bench.ring.provision(tenant)
    subject = uuid4()
    new = await keys.new_subject_key(subject)
    row = {"kid": new.kid, "wrapped": new.wrapped, "wrap_epoch": 1, "subject": UUID(int=subject.int), "generation": 1}
    best = min(timeit.repeat(lambda: keys.subject_key(**row), number=2_000, repeat=5)) / 2_000  # type: ignore[arg-type]
    assert best < 20e-6


def test_a_full_cache_takes_about_sixty_megabytes() -> None:
    """Python's own share is traced; OpenSSL's contexts are the 2.6 KB a key that the limit was chosen by."""
    sample = 2_000
    gc.collect()
    tracemalloc.start()
    cache = SubjectCache()
    for _ in range(sample):
        cache.put(held(TENANTS[0], uuid4(), os.urandom(63), secret=os.urandom(32)))
    traced, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(cache) == sample
    assert traced / sample * CACHED_SUBJECTS < 40e6


async def test_keyed_hashes_and_indexes_share_no_key(bench: Bench, tenant: UUID, other_tenant: UUID) -> None:
    keys, theirs = await bench.ring.provision(tenant), await bench.ring.provision(other_tenant)
    labels = [keys.mac_key("request/1"), keys.mac_key("content/1"), theirs.mac_key("request/1")]
    assert len(set(labels)) == 3
    assert keys.mac_key("request/1") == labels[0]
    first = keys.index_key(collection=1, field=2, index=1, normaliser="text/1")
    assert keys.index_key(collection=1, field=2, index=1, normaliser="text/1") is first
    places = [(2, 2, 1, "text/1"), (1, 3, 1, "text/1"), (1, 2, 2, "text/1"), (1, 2, 1, "text/2")]
    tags = {
        keys.index_key(collection=collection, field=number, index=index, normaliser=normaliser).tag("ada")
        for collection, number, index, normaliser in places
    }
    assert len(tags | {first.tag("ada")}) == 5


async def test_a_search_uses_every_live_epoch_and_a_write_the_newest(bench: Bench, tenant: UUID) -> None:
    await bench.ring.provision(tenant)
    row = await new_row(bench.kms, bench.epochs, tenant=tenant, purpose=KeyPurpose.INDEX, epoch=2, kms_epoch=1)
    async with bench.pool.tenant_transaction(tenant=tenant) as connection:
        await store_rows(connection, [row], tenant=tenant)
    keys = await new_ring(bench).load(tenant)
    newest, older = keys.index_keys(collection=1, field=1, index=1, normaliser="text/1")
    assert (newest.tag("ada")[0], older.tag("ada")[0]) == (2, 1)
    assert keys.index_key(collection=1, field=1, index=1, normaliser="text/1") is newest
