"""Whoever writes while keys are replaced is not told of it, not even by a process that has not heard of it yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

import msgspec
import pytest

from jobs.transfer import Transfer, ndjson, spec
from keys.rotation.rig import QUICK, Rolling, never
from wellkeep.base.errors import KeysUnavailable, WellkeepError
from wellkeep.base.ids import uuid7
from wellkeep.db.queue import QueuedJob
from wellkeep.gate.acts import Caller
from wellkeep.keys.rewrap_pages import Pace
from wellkeep.keys.ring import KeyRing
from wellkeep.keys.signals import Signals
from wellkeep.vault import imports_run
from wellkeep.vault.batch import NewRecord
from wellkeep.vault.imports import Imports
from wellkeep.vault.imports_run import ImportRunner
from wellkeep.vault.services import Vault, build_vault

PEOPLE = "practitioners"
_RUNS = 20


@dataclass
class Elsewhere:
    """Another worker over the same database, with caches of its own; nobody tells it anything."""

    roller: Rolling
    ring: KeyRing
    vault: Vault
    target: int = 1
    failures: list[str] = field(default_factory=list)

    @property
    def caller(self) -> Caller:
        """Return who writes."""
        return self.roller.stack.integration

    async def roll(self, pace: Pace = QUICK) -> None:
        """Roll the epoch once, without waiting until anybody has learnt of it."""
        self.target += 1
        roll = await self.roller.begun(self.target)
        for _ in range(_RUNS):
            with suppress(KeysUnavailable):  # keys came under the old epoch all the time: the job runs it again
                return await self.roller.engine(pace=pace).run(roll, never)
        pytest.fail("the roll did not end")

    async def rolled(self) -> None:
        """Roll the epoch and have the first worker alone know it."""
        await self.roll()
        self.roller.stack.keyring.expire(self.roller.stack.tenant)

    async def warm(self) -> UUID:
        """Have this worker hold the keys, and know a patient of its own; return whom."""
        made = await self.vault.records.create(self.caller, "patients", {"family": "Warm", "note": "a"})
        assert made.subject is not None
        return made.subject

    async def counted(self, work: Awaitable[object]) -> None:
        """Await `work` and count it where it fails."""
        try:
            await work
        except WellkeepError as refused:
            self.failures.append(f"{type(refused).__name__}: {refused}")


@pytest.fixture
async def elsewhere(roller: Rolling) -> AsyncIterator[Elsewhere]:
    stack = roller.stack
    await stack.declare(spec(PEOPLE))
    ring = KeyRing(stack.pool, roller.roots, roller.epochs, stack.findings, clock=stack.clock)
    vault = build_vault(
        gate=stack.gate,
        keyring=ring,
        cursors=stack.vault.context.cursors,
        findings=stack.findings,
        clock=stack.clock,
    )
    yield Elsewhere(roller, ring, vault)
    await ring.stop()


def practitioners(count: int, first: int = 0) -> bytes:
    """Return lines that each make a subject of their own."""
    return ndjson(
        msgspec.json.encode({"resourceType": "Practitioner", "id": f"p{n}", "name": [{"family": f"Doe{n}"}]})
        for n in range(first, first + count)
    )


async def test_patients_are_made_by_a_worker_that_has_not_heard_of_the_new_key(elsewhere: Elsewhere) -> None:
    await elsewhere.warm()
    await elsewhere.rolled()
    made = await elsewhere.vault.records.create(elsewhere.caller, "patients", {"family": "New", "note": "a"})
    await elsewhere.rolled()
    await elsewhere.vault.subjects.create(elsewhere.caller)
    await elsewhere.rolled()
    rows = [NewRecord({"family": f"B{n}", "note": "a"}) for n in range(3)]
    batch = await elsewhere.vault.batches.create(elsewhere.caller, "patients", rows)
    assert [one.error for one in batch] == [None] * 3
    await elsewhere.rolled()
    put = await elsewhere.vault.upserts.put(elsewhere.caller, "patients", "ext-1", {"family": "Put", "note": "a"})
    await elsewhere.roller.readable([made.id, put.written.id, *(one.id for one in batch if one.id)])
    assert not await elsewhere.roller.stack.found()


async def test_what_another_worker_made_under_the_new_key_is_written_for_at_once(elsewhere: Elsewhere) -> None:
    stack, caller, vault = elsewhere.roller.stack, elsewhere.caller, elsewhere.vault

    async def new() -> tuple[UUID, UUID]:
        await elsewhere.rolled()
        made = await stack.vault.records.create(caller, "patients", {"family": "Theirs", "note": "a"})
        assert made.subject is not None
        return made.id, made.subject

    await elsewhere.warm()
    _, subject = await new()
    await vault.records.create(caller, "notes", {"text": "a"}, subject=subject)
    _, subject = await new()
    (outcome,) = await vault.batches.create(caller, "notes", [NewRecord({"text": "a"}, subject)])
    assert outcome.error is None
    record, _ = await new()
    await vault.records.change(caller, "patients", record, {"note": "b"}, expected=1)
    record, _ = await new()
    assert (await vault.records.read(caller, "patients", record)).fields["note"] == "a"
    record, subject = await new()
    page = await vault.search.search(caller, "patients", subject=subject)
    assert [one.id for one in page.records] == [record]


async def test_a_patient_known_from_before_the_roll_is_looked_up_again(elsewhere: Elsewhere) -> None:
    """What is remembered of a patient names a key that went; the keys themselves are as new as can be."""
    subject = await elsewhere.warm()
    await elsewhere.rolled()
    elsewhere.ring._subjects.purge(elsewhere.roller.stack.tenant.bytes)
    elsewhere.ring.expire(elsewhere.roller.stack.tenant)
    await elsewhere.vault.records.create(elsewhere.caller, "notes", {"text": "a"}, subject=subject)


async def test_a_file_is_taken_and_imported_while_the_epoch_rolls_between_all_steps(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports_run, "BATCH", 4)
    stack, context = elsewhere.roller.stack, elsewhere.vault.context
    imports, runner = Imports(context=context), ImportRunner(context=context, pool=stack.pool)
    await elsewhere.warm()
    await elsewhere.rolled()
    made = await imports.create(elsewhere.caller, collection=PEOPLE, format="fhir")
    await elsewhere.rolled()
    await imports.put_part(elsewhere.caller, made.id, 0, practitioners(12))
    await elsewhere.rolled()
    await imports.start(elsewhere.caller, made.id)
    await elsewhere.rolled()
    plan = runner.planner
    rolls = 0

    def rolling_planner(*arguments: object) -> object:
        planner = plan(*arguments)  # type: ignore[arg-type]
        before = planner.plan

        async def planned(*rows: object, **more: object) -> object:
            nonlocal rolls
            found = await before(*rows, **more)  # type: ignore[arg-type]
            if rolls < 2:
                rolls += 1
                await elsewhere.rolled()  # what was planned lies under a key that is gone now
            return found

        planner.plan = planned  # type: ignore[method-assign, assignment]
        return planner

    monkeypatch.setattr(runner, "planner", rolling_planner)
    await runner(QueuedJob(stack.tenant, uuid7(), "import", made.id, 1), never)
    ended = await imports.read(elsewhere.caller, made.id)
    assert (ended.state, ended.created, ended.failed) == ("done", 12, 0)
    assert rolls == 2


async def test_no_request_of_two_workers_fails_while_the_epoch_rolls_again_and_again(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports_run, "BATCH", 50)
    stack = elsewhere.roller.stack
    known = await elsewhere.warm()
    ears = [
        Signals(stack.pool, ring, clock=stack.clock, period=period)
        for ring, period in ((stack.keyring, 0.05), (elsewhere.ring, 0.4))
    ]
    for ear in ears:
        await ear.start()
    over = asyncio.Event()
    transfer = Transfer(stack)
    started = await transfer.upload(practitioners(800), PEOPLE)

    async def writing(vault: Vault) -> None:
        number = 0
        while not over.is_set():
            number += 1
            await elsewhere.counted(
                vault.records.create(elsewhere.caller, "patients", {"family": f"F{number}", "note": "a"})
            )
            await elsewhere.counted(vault.subjects.create(elsewhere.caller))
            await elsewhere.counted(vault.records.create(elsewhere.caller, "notes", {"text": "a"}, subject=known))
            rows = [NewRecord({"family": f"B{n}", "note": "a"}) for n in range(5)]
            await elsewhere.counted(vault.batches.create(elsewhere.caller, "patients", rows))

    writers = [asyncio.create_task(writing(one)) for one in (stack.vault, elsewhere.vault) for _ in range(2)]
    importing = asyncio.create_task(transfer.run(started.id))
    try:
        for _ in range(4):
            await elsewhere.roll(Pace(page=500, share=1.0, settle=0.0))
    finally:
        over.set()
        await asyncio.gather(*writers)
        for ear in ears:
            await ear.stop()
    ended = await importing
    assert elsewhere.failures == []
    assert (ended.state, ended.created, ended.failed) == ("done", 800, 0)
