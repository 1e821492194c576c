"""Promise: an erasure that is killed anywhere was done or was not, and needs no key service to be done."""

from __future__ import annotations

import asyncio
import errno
import os
import random
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest

from jobs.killing import dying_house, in_a_fork, kill_myself
from keys.rig import CompanyKms
from vault.stack import Stack
from vault.test_erasure import lived, replayed
from wellkeep.access.approvals import Approval, Approvals
from wellkeep.access.operators import operator
from wellkeep.assembly.tombstones import Tombstones
from wellkeep.base.errors import ApprovalNeeded, LegalHold, SubjectErased, Unavailable
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.secrets import Secret
from wellkeep.db.pool import Limits
from wellkeep.gate.acts import Caller
from wellkeep.keys.kms import OneRoot
from wellkeep.ledger.event import Action, system_event
from wellkeep.ledger.seal import SealKey
from wellkeep.vault.calls import NIL
from wellkeep.vault.erasure import Erasures
from wellkeep.vault.erasure_tenant import TenantErasures

_HOW_MANY = """
SELECT (SELECT count(*) FROM keys.subject_key WHERE subject_id = $1) AS keys,
       (SELECT count(*) FROM vault.record WHERE subject_id = $1) AS records,
       (SELECT count(*) FROM vault.tombstone WHERE subject_id = $1) AS stones,
       (SELECT count(*) FROM vault.erased_state) AS states
"""
_SLOW = (
    "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1.2); RETURN NEW; END'",
    "CREATE TRIGGER slow BEFORE INSERT ON vault.erased_state FOR EACH ROW EXECUTE FUNCTION slow()",
    "CREATE TRIGGER slow AFTER INSERT ON vault.tombstone FOR EACH ROW EXECUTE FUNCTION slow()",
    "CREATE TRIGGER slow AFTER UPDATE ON vault.subject FOR EACH ROW EXECUTE FUNCTION slow()",
)
_UNDOING = """
CREATE SEQUENCE times;
CREATE FUNCTION undo() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  IF nextval('public.times') <= {times} THEN RAISE EXCEPTION 'undone' USING ERRCODE = '{code}'; END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER undo AFTER INSERT ON vault.tombstone FOR EACH STATEMENT EXECUTE FUNCTION undo();
"""
_STEP_DOWN = "UPDATE keys.tenant_key SET state = 'decrypt_only' WHERE tenant_id = $1 AND purpose = 'DATA'"
_NEXT_KEY = """
INSERT INTO keys.tenant_key (tenant_id, purpose, epoch, kid, commit_hash, wrapped, kms_epoch, root, state)
SELECT tenant_id, purpose, 2, decode(repeat('ab', 16), 'hex'), decode(repeat('ab', 32), 'hex'), wrapped,
  kms_epoch, root, 'active'
FROM keys.tenant_key WHERE tenant_id = $1 AND purpose = 'DATA' AND epoch = 1
"""
_WAITING = """
SELECT EXISTS (SELECT FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%erase_keys%')
"""
_KEYS_LEFT = "SELECT purpose, epoch FROM keys.tenant_key WHERE tenant_id = $1"
_WHOLE, _GONE = (1, 2, 0, 0), (0, 0, 1, 5)


@pytest.fixture
def officer(stack: Stack) -> Caller:
    return stack.caller("privacy_officer")


@pytest.fixture
def stones(tmp_path: Path) -> Tombstones:
    return Tombstones(tmp_path / "erased", keys=(SealKey("test", Secret(os.urandom(32))),))


async def erase_and_die(
    stack: Stack, officer: Caller, subject: UUID, stones: Tombstones, *, after: float | None
) -> None:
    """Erase in this process, and die so many seconds later, or between the commit and the file."""
    async with dying_house(stack, die_at="committed" if after is None else "", after=-1) as (context, _):
        if after is not None:
            asyncio.get_running_loop().call_later(after, kill_myself)
        await Erasures(context, remember=stones.note).erase(officer, subject)
        await asyncio.sleep(1)


async def stored(stack: Stack, subject: UUID) -> tuple[int, ...]:
    """Return how many keys, records, tombstones and digests there are."""
    return tuple((await stack.as_superuser(_HOW_MANY, subject))[0])


@pytest.mark.fault
async def test_killed_between_the_commit_and_the_file_it_is_remembered_by_who_asks_again(
    stack: Stack, officer: Caller, stones: Tombstones
) -> None:
    made = await lived(stack)
    assert made.subject is not None
    assert in_a_fork(partial(erase_and_die, stack, officer, made.subject, stones, after=None)) == -9
    assert stones.load() == []
    assert await stored(stack, made.subject) == _GONE
    with pytest.raises(SubjectErased):
        await stack.vault.records.read(stack.integration, "patients", made.id)
    await Erasures(stack.vault.context, remember=stones.note).erase(officer, made.subject)
    assert [one.subject for one in stones.load()] == [made.subject]
    await stack.writer.drain_outbox(older_than=0.0)
    assert len(await stack.entries("subject.erased")) == 1
    assert await replayed(stack) == []


@pytest.mark.fault
async def test_killed_at_any_moment_it_is_done_or_it_is_not(stack: Stack, officer: Caller, stones: Tombstones) -> None:
    made = await lived(stack)
    assert made.subject is not None
    moments = random.Random(4)  # noqa: S311 - no secret
    seen = []
    for _ in range(12):
        ended = in_a_fork(
            partial(erase_and_die, stack, officer, made.subject, stones, after=moments.uniform(0.001, 0.06))
        )
        assert ended == -9
        seen.append(await stored(stack, made.subject))
        assert seen[-1] in {_WHOLE, _GONE}
    assert seen == sorted(seen, key=lambda state: state == _GONE)  # what is gone stays gone
    await Erasures(stack.vault.context, remember=stones.note).erase(officer, made.subject)
    assert await stored(stack, made.subject) == _GONE
    assert [one.subject for one in stones.load()] == [made.subject]
    await stack.writer.drain_outbox(older_than=0.0)
    assert len(await stack.entries("subject.erased")) == 1
    assert await replayed(stack) == []


@pytest.mark.parametrize("mood", ["gone", "denied"])
async def test_an_erasure_waits_for_no_key_service(
    stack: Stack, officer: Caller, stones: Tombstones, mood: str
) -> None:
    """The customer's key service is away, or says no: whoever asked to be forgotten is, all the same."""
    made = await lived(stack)
    assert made.subject is not None
    stack.keyring._roots = OneRoot(CompanyKms(mood=mood))
    stack.keyring.expire(stack.tenant)
    await Erasures(stack.vault.context, remember=stones.note).erase(officer, made.subject)
    assert await stored(stack, made.subject) == _GONE
    assert [one.subject for one in stones.load()] == [made.subject]
    assert await replayed(stack) == []


async def test_a_patient_of_many_records_is_given_more_time_than_the_pool_gives(
    stack: Stack, officer: Caller, stones: Tombstones
) -> None:
    """150,000 states took 17 s on the build machine; here each row that is kept is slow."""
    made = await lived(stack)
    assert made.subject is not None
    for statement in _SLOW:
        await stack.as_superuser(statement)
    hurried = Limits(min_size=0, max_size=2, command_seconds=2.0)
    async with stack.database.pool("wk_app", limits=hurried) as pool:
        stack.gate._pool = pool
        await Erasures(stack.vault.context, remember=stones.note).erase(officer, made.subject)
    assert await stored(stack, made.subject) == _GONE


async def undoing(stack: Stack, code: str, times: int) -> None:
    """Have the database undo so many erasures in their last step, as it undoes whoever it picks of two that wait."""
    async with stack.database.connect() as connection:
        await connection.execute(_UNDOING.format(code=code, times=times))


def erasing(stack: Stack, stones: Tombstones, *, whole: bool) -> Callable[[UUID, Caller], Awaitable[None]]:
    """Return what erases a patient, or the patient's whole tenant, closed and approved before."""
    if not whole:
        return lambda subject, officer: Erasures(stack.vault.context, remember=stones.note).erase(officer, subject)
    approvals = Approvals(gate=stack.gate, clock=stack.clock)
    tenants = TenantErasures(gate=stack.gate, approvals=approvals, clock=stack.clock, remember=stones.note)

    async def erase(_subject: UUID, _officer: Caller) -> None:
        ada, grace = (Caller(operator(name), None, uuid7()) for name in ("ada", "grace"))
        await stack.as_superuser("UPDATE wk.tenants SET state = 'closed' WHERE id = $1", stack.tenant)
        stack.gate.tenants.forget(stack.tenant)
        with pytest.raises(ApprovalNeeded) as waiting:
            await tenants.erase(ada, stack.tenant)
        assert waiting.value.resource is not None
        await approvals.decide(grace, waiting.value.resource, give=True)
        await tenants.erase(ada, stack.tenant)

    return erase


@pytest.mark.parametrize("whole", [False, True], ids=["patient", "tenant"])
@pytest.mark.parametrize("code", ["40P01", "40001"], ids=["deadlock", "serialisation"])
async def test_what_the_database_undid_for_somebody_elses_sake_is_done_again(
    stack: Stack, officer: Caller, stones: Tombstones, code: str, *, whole: bool
) -> None:
    made = await lived(stack)
    assert made.subject is not None
    await undoing(stack, code, 3)
    await erasing(stack, stones, whole=whole)(made.subject, officer)
    assert (await stored(stack, made.subject))[0] == 0
    assert len(stones.load()) == 1
    await stack.writer.drain_outbox(older_than=0.0)
    entries = await stack.entries("tenant.erased" if whole else "subject.erased")
    assert [row["outcome"] for row in entries].count("done") == 1


@pytest.mark.parametrize("whole", [False, True], ids=["patient", "tenant"])
async def test_what_is_undone_every_time_says_when_to_come_back(
    stack: Stack, officer: Caller, stones: Tombstones, *, whole: bool
) -> None:
    made = await lived(stack)
    assert made.subject is not None
    await undoing(stack, "40P01", 1_000)
    with pytest.raises(Unavailable) as refused:
        await erasing(stack, stones, whole=whole)(made.subject, officer)
    assert refused.value.retry_after
    assert (await stored(stack, made.subject))[0] == 1
    assert stones.load() == []


async def test_a_key_that_a_rotation_brought_meanwhile_goes_with_the_others(
    stack: Stack, officer: Caller, stones: Tombstones
) -> None:
    """The erasure waits for the old key's row; the new one came after the statement that waits had begun."""
    made = await lived(stack)
    assert made.subject is not None
    async with stack.database.connect() as rotation, stack.database.connect() as watch:
        transaction = rotation.transaction()
        await transaction.start()
        await rotation.execute(_STEP_DOWN, stack.tenant)
        await rotation.execute(_NEXT_KEY, stack.tenant)
        erasure = asyncio.ensure_future(erasing(stack, stones, whole=True)(made.subject, officer))
        for _ in range(600):
            if erasure.done() or await watch.fetchval(_WAITING):
                break
            await asyncio.sleep(0.05)
        assert not erasure.done()
        await transaction.commit()
    await erasure
    assert await stack.as_superuser(_KEYS_LEFT, stack.tenant) == []


async def test_a_hold_placed_after_the_approval_still_blocks_and_uses_nothing_up(
    stack: Stack, officer: Caller, stones: Tombstones
) -> None:
    made = await lived(stack)
    assert made.subject is not None
    decide = Approvals.decide

    async def decide_and_hold(self: Approvals, caller: Caller, approval: UUID, *, give: bool) -> Approval:
        decided = await decide(self, caller, approval, give=give)
        entry = system_event(
            uuid7(), Action.HOLD_PLACED, actor="test", resource_type="hold", resource_id=str(stack.tenant)
        )
        await stack.gate.enter(entry, tenant=PLATFORM_TENANT)
        return decided

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Approvals, "decide", decide_and_hold)
        with pytest.raises(LegalHold):
            await erasing(stack, stones, whole=True)(made.subject, officer)
    assert (await stored(stack, made.subject))[0] == 1
    assert [row["state"] for row in await stack.as_superuser("SELECT state FROM access.approval")] == ["given"]
    assert stones.load() == []


async def test_a_full_disk_keeps_a_customers_erasure_from_being_answered_and_asked_again_it_is(
    stack: Stack, officer: Caller, stones: Tombstones, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await lived(stack)
    assert made.subject is not None

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(stones, "note", full)
        with pytest.raises(Unavailable) as refused:
            await erasing(stack, stones, whole=True)(made.subject, officer)
    assert refused.value.retry_after
    assert stones.load() == []
    approvals = Approvals(gate=stack.gate, clock=stack.clock)
    again = TenantErasures(gate=stack.gate, approvals=approvals, clock=stack.clock, remember=stones.note)
    await again.erase(Caller(operator("ada"), None, uuid7()), stack.tenant)
    assert [(one.tenant, one.subject) for one in stones.load()] == [(stack.tenant, NIL)]
    done = [row for row in await stack.entries("tenant.erased") if row["outcome"] == "done"]
    assert len(done) == 1
