"""Resealing: every state under the newest key, every value as it was, and the old key opens nothing."""

from __future__ import annotations

from uuid import UUID

import pytest

from vault.stack import Stack
from wellkeep.findings.grammar import Kind
from wellkeep.keys.ring import KeyRing
from wellkeep.vault.outcomes import Written
from wellkeep.vault.replay import Replay
from wellkeep.vault.resealing import Resealing, Rotation, Tier
from wellkeep.vault.services import build_vault

KIDS = """
SELECT DISTINCT substr(e.field, 5, 16) AS kid FROM (
  SELECT sealed FROM vault.record WHERE tenant_id = $1 AND (sealed_for IS NULL) = $2
  UNION ALL SELECT sealed FROM vault.revision WHERE tenant_id = $1 AND (sealed_for IS NULL) = $2
) s, unnest(s.sealed) AS e(field)
"""
PERSON = {
    "ssn": "999-12-3456",
    "family": "Kovács Ödön",
    "phone": "+12025550143",
    "birth_date": "1980-02-29",
    "note": "x" * 200,
}


def engine(stack: Stack, **more: object) -> Resealing:
    return Resealing(stack.vault.context, settle_seconds=0.0, **more)  # type: ignore[arg-type]


async def rotate(stack: Stack, tier: Tier) -> Rotation:
    """Run a whole rotation."""
    resealing = engine(stack)
    begun = await resealing.start(stack.administrator, tier)
    return await resealing.run(stack.tenant, begun.id)


async def replayed(stack: Stack) -> list[str]:
    """Return what a replay finds."""
    result = await Replay(stack.vault.context, pool=stack.pool).run(stack.tenant)
    return [difference.what for difference in result.differences]


async def kids(stack: Stack, *, of_nobody: bool = False) -> set[bytes]:
    return {row["kid"] for row in await stack.as_superuser(KIDS, stack.tenant, of_nobody)}


async def patient(stack: Stack, **fields: object) -> Written:
    return await stack.vault.records.create(stack.integration, "patients", {**PERSON, **fields})  # type: ignore[dict-item]


async def read(stack: Stack, record: UUID, collection: str = "patients") -> dict[str, object]:
    view = await stack.vault.records.read(stack.integration, collection, record)
    return dict(view.fields)


async def test_a_patients_keys_are_replaced_and_the_old_ones_open_nothing(stack: Stack) -> None:
    made = await patient(stack)
    note = await stack.vault.records.create(stack.integration, "notes", {"text": "first"}, subject=made.subject)
    changed = await stack.vault.records.change(stack.integration, "notes", note.id, {"text": "second"}, expected=1)
    before, values = await kids(stack), await read(stack, made.id)
    ended = await rotate(stack, Tier.SUBJECT)
    assert (ended.state, ended.conflicts, ended.done) == ("done", 0, 3)
    assert not await kids(stack) & before
    assert await read(stack, made.id) == values
    assert await read(stack, note.id, "notes") == {"text": "second"}
    old = await stack.vault.records.read(stack.integration, "notes", note.id, revision=1)
    assert old.fields == {"text": "first"}
    again = await stack.vault.records.read(stack.integration, "notes", note.id)
    assert (again.revision, again.updated_at) == (2, changed.updated_at)
    rows = await stack.as_superuser("SELECT state, wrapped FROM keys.subject_key ORDER BY generation")
    assert [(row["state"], row["wrapped"] == b"") for row in rows] == [("destroyed", True), ("active", False)]
    assert await replayed(stack) == []
    (first, *_) = await stack.entries("record.resealed")
    assert first["outcome"] == "authorised"


async def test_a_second_rotation_goes_on_from_the_first(stack: Stack) -> None:
    made = await patient(stack)
    for _ in range(2):
        assert (await rotate(stack, Tier.SUBJECT)).state == "done"
    assert (await read(stack, made.id))["ssn"] == PERSON["ssn"]
    assert await replayed(stack) == []


async def test_the_data_key_is_replaced(stack: Stack) -> None:
    ward = await stack.vault.records.create(
        stack.integration, "wards", {"title": "North", "beds": 3}, idempotency_key="one"
    )
    await stack.vault.records.change(stack.integration, "wards", ward.id, {"beds": 4}, expected=1)
    before = await kids(stack, of_nobody=True)
    ended = await rotate(stack, Tier.DATA)
    assert ended.state == "done"
    assert not await kids(stack, of_nobody=True) & before
    assert await read(stack, ward.id, "wards") == {"title": "North", "beds": 4}
    repeated = await stack.vault.records.create(
        stack.integration, "wards", {"title": "North", "beds": 3}, idempotency_key="one"
    )
    assert repeated.id == ward.id
    assert await replayed(stack) == []


async def test_the_index_key_is_replaced_and_search_never_stops(stack: Stack) -> None:
    made = [await patient(stack, ssn=f"999-12-{number:04}") for number in range(3)]
    put = await stack.vault.upserts.put(stack.integration, "patients", "ext-1", {"family": "Nagy"})
    resealing = engine(stack)
    begun = await resealing.start(stack.administrator, Tier.INDEX)
    late = await patient(stack, ssn="999-12-9999")
    current, steps = begun, 0
    while current.running:
        found = await stack.vault.search.search(stack.integration, "patients", {"ssn": "999-12-0001"})
        assert [one.id for one in found.records] == [made[1].id]
        everyone = await stack.vault.search.search(
            stack.integration, "patients", {"family": "kov", "birth_date": "1980-02-29"}
        )
        assert [one.id for one in everyone.records] == [*(one.id for one in made), late.id]
        current, _ = await resealing.step(stack.tenant, current)
        steps += 1
    assert (current.state, current.conflicts) == ("done", 0)
    tags = await stack.as_superuser("SELECT DISTINCT get_byte(tag, 0) AS epoch FROM vault.tag")
    assert [row["epoch"] for row in tags] == [2]
    found = await stack.vault.search.search(stack.integration, "patients", {"ssn": "999-12-9999"})
    assert [one.id for one in found.records] == [late.id]
    same = await stack.vault.upserts.put(stack.integration, "patients", "ext-1", {"family": "Nagy"})
    assert (same.outcome, same.written.id) == ("unchanged", put.written.id)
    assert await replayed(stack) == []


@pytest.mark.parametrize("tier", [Tier.SUBJECT, Tier.DATA, Tier.INDEX])
async def test_a_tenant_without_records_is_rotated_in_no_time(stack: Stack, tier: Tier) -> None:
    assert (await rotate(stack, tier)).state == "done"


async def test_another_process_opens_what_is_sealed_under_a_key_it_has_not_met(stack: Stack) -> None:
    ring = KeyRing(stack.pool, stack.keyring._roots, stack.keyring._epochs, stack.findings, clock=stack.clock)
    other = build_vault(
        gate=stack.gate,
        keyring=ring,
        cursors=stack.vault.context.cursors,
        findings=stack.findings,
        clock=stack.clock,
    )
    first = await other.records.create(stack.integration, "wards", {"title": "North"}, idempotency_key="a")
    await rotate(stack, Tier.DATA)
    second = await stack.vault.records.create(stack.integration, "wards", {"title": "South"}, idempotency_key="b")
    for record, title in ((first, "North"), (second, "South")):
        view = await other.records.read(stack.integration, "wards", record.id)
        assert view.fields == {"title": title}
    found = await other.search.search(stack.integration, "wards", {"title": "South"})
    assert [one.id for one in found.records] == [second.id]
    again = await other.records.create(stack.integration, "wards", {"title": "South"}, idempotency_key="b")
    assert again.id == second.id
    assert [one.kind for one in await stack.found()] == []
    await ring.stop()


async def test_the_finding_of_a_failed_rotation_ends_with_the_next_one_that_succeeds(stack: Stack) -> None:
    await patient(stack)
    resealing = engine(stack)
    begun = await resealing.start(stack.administrator, Tier.SUBJECT)
    await resealing.give_up(stack.tenant, begun.id, "internal")
    await stack.findings.flush()
    assert Kind.KEYS_ROTATION_FAILED in [found.kind for found in await stack.findings.list(stack.tenant)]
    await rotate(stack, Tier.SUBJECT)
    assert Kind.KEYS_ROTATION_FAILED not in [found.kind for found in await stack.findings.list(stack.tenant)]
