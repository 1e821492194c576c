"""Resealing beside everything else: writes at any moment, a kill at any step, two workers, old ciphertext put back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from vault.stack import Stack
from vault.test_resealing import PERSON, engine, kids, patient, read, replayed
from wellkeep.base.errors import WellkeepError
from wellkeep.vault import resealing_keys, resealing_pace, resealing_rows, resealing_states
from wellkeep.vault.batch import NewRecord
from wellkeep.vault.resealing import Rotation, Superseded, Tier
from wellkeep.vault.resealing_rows import Phase

TIERS = [Tier.SUBJECT, Tier.DATA, Tier.INDEX]


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a walk have many pages."""
    monkeypatch.setattr(resealing_pace, "MOST", 2)
    monkeypatch.setattr(resealing_pace, "LEAST", 2)
    monkeypatch.setattr(resealing_keys, "PEOPLE_PAGE", 2)


async def finished(stack: Stack, current: Rotation) -> Rotation:
    return await engine(stack).run(stack.tenant, current.id)


async def whole(stack: Stack, tier: Tier, before: dict[str, set[bytes]]) -> None:
    """Check that nothing of before is named any more, and that the ledger knows all of it."""
    if tier is Tier.SUBJECT:
        assert not await kids(stack) & before["people"]
    elif tier is Tier.DATA:
        assert not await kids(stack, of_nobody=True) & before["nobody"]
    else:
        rows = await stack.as_superuser("SELECT DISTINCT get_byte(tag, 0) AS epoch FROM vault.tag")
        assert [row["epoch"] for row in rows] == [2]
    assert await replayed(stack) == []


async def now_named(stack: Stack) -> dict[str, set[bytes]]:
    return {"people": await kids(stack), "nobody": await kids(stack, of_nobody=True)}


async def filled(stack: Stack) -> tuple[list[UUID], list[UUID], UUID]:
    """Store patients, wards, and a note that was changed; returns their ids."""
    people = [(await patient(stack, ssn=f"999-12-{number:04}")) for number in range(5)]
    wards = [
        (await stack.vault.records.create(stack.integration, "wards", {"title": f"W{number}", "beds": number})).id
        for number in range(5)
    ]
    note = await stack.vault.records.create(stack.integration, "notes", {"text": "1"}, subject=people[0].subject)
    await stack.vault.records.change(stack.integration, "notes", note.id, {"text": "2"}, expected=1)
    return [one.id for one in people], wards, note.id


@pytest.mark.parametrize("tier", TIERS)
async def test_writes_between_all_pages(stack: Stack, tier: Tier) -> None:
    people, wards, note = await filled(stack)
    before = await now_named(stack)
    current = await engine(stack).start(stack.administrator, tier)
    step, revision = 0, 2
    resealing = engine(stack)
    while current.running:
        step += 1
        for record in people[step % 5 : step % 5 + 1]:
            view = await stack.vault.records.read(stack.integration, "patients", record)
            await stack.vault.records.change(
                stack.integration, "patients", record, {"family": f"F{step}"}, expected=view.revision
            )
        if step % 4 == 0:
            await patient(stack, ssn=f"888-12-{step:04}")
            await stack.vault.records.create(stack.integration, "wards", {"title": f"X{step}"})
            done = await stack.vault.records.change(
                stack.integration, "notes", note, {"text": str(step)}, expected=revision
            )
            revision = done.revision
        found = await stack.vault.search.search(stack.integration, "patients", {"ssn": "999-12-0003"})
        assert [one.id for one in found.records] == [people[3]]
        current, _ = await resealing.step(stack.tenant, current)
        assert step < 150
    assert (current.state, current.conflicts) == ("done", 0)
    assert (await read(stack, people[step % 5]))["family"] == f"F{step}"
    assert await read(stack, wards[1], "wards") == {"title": "W1", "beds": 1}
    await whole(stack, tier, before)


class _KilledError(BaseException):
    """What a kill -9 is to what runs: nothing after it happens."""


def _killing(after: int) -> Any:
    """Break off after so many calls that change anything, before or after they were done."""
    left = [after]

    def count() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise _KilledError

    return count


@pytest.mark.parametrize("tier", TIERS)
async def test_a_kill_at_any_step_loses_nothing(stack: Stack, tier: Tier, monkeypatch: pytest.MonkeyPatch) -> None:
    people, wards, note = await filled(stack)
    before = await now_named(stack)
    current = await engine(stack).start(stack.administrator, tier)
    kills = 0
    write, advance = resealing_states.write, resealing_rows.advance
    for after in range(200):
        count = _killing(after % 7)

        async def killed_write(*arguments: Any, count: Any = count) -> Any:
            count()
            done = await write(*arguments)
            count()
            return done

        async def killed_advance(*arguments: Any, count: Any = count, **named: Any) -> None:
            count()
            await advance(*arguments, **named)
            count()

        monkeypatch.setattr(resealing_states, "write", killed_write)
        monkeypatch.setattr(resealing_rows, "advance", killed_advance)
        try:
            current = await finished(stack, current)
        except _KilledError:
            kills += 1
        if not current.running:
            break
    assert (current.state, current.conflicts) == ("done", 0)
    assert kills >= 3
    assert (await read(stack, people[2]))["ssn"] == "999-12-0002"
    assert await read(stack, wards[2], "wards") == {"title": "W2", "beds": 2}
    assert await read(stack, note, "notes") == {"text": "2"}
    await whole(stack, tier, before)


@pytest.mark.parametrize("tier", TIERS)
async def test_two_workers_at_one_rotation(stack: Stack, tier: Tier) -> None:
    people, _, _ = await filled(stack)
    before = await now_named(stack)
    current = await engine(stack).start(stack.administrator, tier)

    async def worker() -> None:
        for _ in range(200):
            try:
                if not (await finished(stack, current)).running:
                    return
            except Superseded:
                await asyncio.sleep(0)

    await asyncio.gather(worker(), worker())
    (ended,) = [one for one in await engine(stack).status(stack.tenant) if one.tier is tier]
    assert (ended.state, ended.conflicts) == ("done", 0)
    assert (await read(stack, people[4]))["ssn"] == "999-12-0004"
    await whole(stack, tier, before)


async def test_all_tiers_at_once_beside_writers(stack: Stack) -> None:
    people, wards, note = await filled(stack)
    before = await now_named(stack)
    begun = [await engine(stack).start(stack.administrator, tier) for tier in TIERS]
    going = True
    written = 0

    async def writer() -> None:
        nonlocal written
        while going:
            view = await stack.vault.records.read(stack.integration, "patients", people[written % 5])
            await stack.vault.records.change(
                stack.integration, "patients", view.id, {"phone": "+12025550199"}, expected=view.revision
            )
            await stack.vault.upserts.put(stack.integration, "patients", "ext", {"family": f"U{written}"})
            written += 1

    async def rotating(rotation: Rotation) -> Rotation:
        return await finished(stack, rotation)

    beside = asyncio.create_task(writer())
    ended = await asyncio.gather(*(rotating(one) for one in begun))
    going = False
    await beside
    assert [(one.state, one.conflicts) for one in ended] == [("done", 0)] * 3
    assert written > 0
    for tier in TIERS:
        await whole(stack, tier, before)
    assert await read(stack, wards[0], "wards") == {"title": "W0", "beds": 0}
    assert await read(stack, note, "notes") == {"text": "2"}


async def test_a_merged_patients_records_are_sealed_anew_as_well(stack: Stack) -> None:
    first, second = await patient(stack), await patient(stack, ssn="999-12-0001")
    note = await stack.vault.records.create(stack.integration, "notes", {"text": "n"}, subject=first.subject)
    before = await now_named(stack)
    current = await engine(stack).start(stack.administrator, Tier.SUBJECT)
    assert first.subject is not None
    assert second.subject is not None
    officer = stack.caller("privacy_officer")
    await stack.vault.subjects.merge(officer, first.subject, into=second.subject)
    ended = await finished(stack, current)
    assert ended.state == "done"
    assert await read(stack, note.id, "notes") == {"text": "n"}
    await whole(stack, Tier.SUBJECT, before)


async def test_an_older_ciphertext_that_is_put_back_is_found(stack: Stack) -> None:
    made = await patient(stack)
    await stack.as_superuser("CREATE TABLE public.kept AS SELECT * FROM vault.record")
    for _ in range(2):
        await finished(stack, await engine(stack).start(stack.administrator, Tier.SUBJECT))
        assert await replayed(stack) == []
    await stack.as_superuser(
        "UPDATE vault.record r SET sealed = k.sealed, resealed_by = k.resealed_by, first_digest = k.first_digest "
        "FROM public.kept k WHERE k.id = r.id"
    )
    assert set(await replayed(stack)) == {"replayed"}
    assert made.id is not None


async def test_what_was_put_back_is_not_sealed_anew(stack: Stack) -> None:
    made = await patient(stack)
    await finished(stack, await engine(stack).start(stack.administrator, Tier.INDEX))
    await stack.as_superuser("CREATE TABLE public.kept AS SELECT * FROM vault.record")
    await finished(stack, await engine(stack).start(stack.administrator, Tier.INDEX))
    await stack.as_superuser(
        "UPDATE vault.record r SET tags = k.tags, tags_digest = k.tags_digest FROM public.kept k WHERE k.id = r.id"
    )
    ended = await finished(stack, await engine(stack).start(stack.administrator, Tier.SUBJECT))
    assert (ended.state, ended.error) == ("failed", "still-carried")
    assert "revision.replayed" in [one.kind for one in await stack.found()]
    assert (await read(stack, made.id))["ssn"] == PERSON["ssn"]


async def test_one_rotation_of_a_tier_at_a_time(stack: Stack) -> None:
    await patient(stack)
    begun = await engine(stack).start(stack.administrator, Tier.INDEX)
    with pytest.raises(WellkeepError, match="running"):
        await engine(stack).start(stack.administrator, Tier.INDEX)
    stopped = await engine(stack).stop(stack.administrator, begun.id)
    assert stopped.state == "stopped"
    again = await engine(stack).start(stack.administrator, Tier.INDEX)
    assert again.target == begun.target
    assert (await finished(stack, again)).state == "done"
    assert await replayed(stack) == []


_TURN = """
WITH gone AS (UPDATE keys.subject_key SET state = 'destroyed', wrapped = '' WHERE subject_id = $2 AND generation = 1)
INSERT INTO keys.subject_key (tenant_id, subject_id, generation, kid, wrapped, wrap_epoch)
SELECT tenant_id, subject_id, 2, $3, $4, wrap_epoch FROM keys.subject_key WHERE tenant_id = $1 AND subject_id = $2
"""


_NOTES_UNDER = """
SELECT substr(e.field, 5, 16) AS kid FROM vault.record r, unnest(r.sealed) AS e(field)
WHERE r.id = ANY ($1::uuid[])
"""
_LOCKED = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


async def notes_under(stack: Stack, notes: list[UUID]) -> list[bytes]:
    """Return the keys that the fields of these records are sealed under."""
    return [row["kid"] for row in await stack.as_superuser(_NOTES_UNDER, notes)]


async def one_note(stack: Stack, subject: UUID) -> list[UUID]:
    made = await stack.vault.records.create(stack.integration, "notes", {"text": "late"}, subject=subject)
    return [made.id]


async def notes_together(stack: Stack, subject: UUID) -> list[UUID]:
    return [note for (note,) in await asyncio.gather(*(one_note(stack, subject) for _ in range(4)))]


async def some_notes(stack: Stack, subject: UUID) -> list[UUID]:
    rows = [NewRecord({"text": "late"}, subject=subject) for _ in range(3)]
    return [one.id for one in await stack.vault.batches.create(stack.integration, "notes", rows) if one.id is not None]


@pytest.mark.parametrize("write", [one_note, notes_together, some_notes])
async def test_who_waits_for_a_patient_does_not_go_on_with_a_key_that_ended_meanwhile(
    stack: Stack, write: Callable[[Stack, UUID], Awaitable[list[UUID]]]
) -> None:
    """The patient is only locked, not changed, by who replaces and destroys the key: no row says so to who waits."""
    made = await patient(stack)
    assert made.subject is not None
    keys = await stack.vault.context.keys(stack.tenant)
    next_one = await keys.new_subject_key(made.subject, generation=2)
    await one_note(stack, made.subject)
    async with stack.pool.tenant_transaction(tenant=stack.tenant) as connection:
        await connection.execute("SELECT FROM vault.subject WHERE id = $1 FOR UPDATE", made.subject)
        writing = asyncio.ensure_future(write(stack, made.subject))
        await _waiting(stack)
        await connection.execute(_TURN, stack.tenant, made.subject, next_one.kid, next_one.wrapped)
    written = await writing
    assert await notes_under(stack, written) == [next_one.kid] * len(written)
    assert [await read(stack, one, "notes") for one in written] == [{"text": "late"}] * len(written)


async def test_new_writes_use_the_next_key_before_anything_is_sealed_anew(stack: Stack) -> None:
    people = [await patient(stack, ssn=f"{n:09}") for n in range(5)]
    before = await kids(stack)
    resealing = engine(stack)
    current = await resealing.start(stack.administrator, Tier.SUBJECT)
    while current.place.phase is Phase.PEOPLE:
        current, _ = await resealing.step(stack.tenant, current)
    assert (current.done, await kids(stack)) == (0, before)
    notes = [note for one in people if one.subject is not None for note in await one_note(stack, one.subject)]
    under = await notes_under(stack, notes)
    assert (len(under), set(under) & before) == (len(people), set())
    assert (await finished(stack, current)).state == "done"
    assert await replayed(stack) == []


async def _waiting(stack: Stack) -> None:
    """Wait until a write waits for a lock."""
    for _ in range(1500):
        if await stack.as_superuser(_LOCKED):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("nothing waits")
