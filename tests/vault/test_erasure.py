"""Promise: what is erased is gone in one transaction, everywhere, at once, and the ledger still checks to the end."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import msgspec
import pytest

from vault.stack import Stack
from wellkeep.base.errors import (
    Conflict,
    Forbidden,
    LedgerUnavailable,
    LegalHold,
    NotFound,
    SubjectErased,
    Unavailable,
    WellkeepError,
)
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.principal import ActorType
from wellkeep.gate.acts import Caller
from wellkeep.gate.transaction import GateTransaction
from wellkeep.ledger.event import Action, system_event
from wellkeep.vault.erasure import Erased, Erasures
from wellkeep.vault.erasure_certificate import Certificates
from wellkeep.vault.outcomes import Written
from wellkeep.vault.replay import Replay

_KIDS = "SELECT kid FROM keys.subject_key WHERE subject_id = ANY($1::uuid[])"
_KEY_AGAIN = """
INSERT INTO keys.subject_key (tenant_id, subject_id, generation, kid, wrapped, wrap_epoch)
SELECT tenant_id, id, 1, decode(repeat('ab', 16), 'hex'), decode(repeat('ab', 60), 'hex'), 1 FROM vault.subject
"""
_STOLEN = """
INSERT INTO vault.erased_state (tenant_id, collection_id, record_id, revision, event_id, deleted, first_digest, digest,
  erased_by)
SELECT tenant_id, collection_id, id, revision, event_id, false, sha256('x'), sha256('x'), gen_random_uuid()
FROM vault.record WHERE id = $1
"""
_TABLES = """
SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname IN ('vault', 'keys', 'ledger', 'findings', 'access', 'queue', 'wk')
"""


def erasures(stack: Stack, told: list[Erased] | None = None) -> Erasures:
    """Return the service over the stack; what is remembered outside goes to `told`, each once, as the file has it."""
    kept: list[Erased] = [] if told is None else told
    return Erasures(stack.vault.context, remember=lambda erased: kept.extend(one for one in erased if one not in kept))


async def lived(stack: Stack) -> Written:
    """Return a patient who was made, changed twice, and has a note that was deleted."""
    records = stack.vault.records
    fields = {"family": "Lovelace", "note": "first", "ssn": "999-12-3456"}
    made = await records.create(stack.integration, "patients", fields, idempotency_key="once")
    assert made.subject is not None
    await records.change(stack.integration, "patients", made.id, {"note": "second"}, expected=1)
    await records.change(stack.integration, "patients", made.id, {"note": "third"}, expected=2)
    note = await records.create(stack.integration, "notes", {"text": "cough", "code": "R05"}, subject=made.subject)
    await records.delete(stack.integration, "notes", note.id, expected=1)
    return made


async def everything(stack: Stack, needles: Sequence[bytes]) -> set[str]:
    """Return the tables in which one of `needles` still stands, read past every policy."""
    found = set()
    async with stack.database.connect() as connection:
        for row in await connection.fetch(_TABLES):
            chunks: list[bytes] = []

            async def take(chunk: bytes, chunks: list[bytes] = chunks) -> None:
                chunks.append(chunk)

            await connection.copy_from_query(f"SELECT * FROM {row['name']}", output=take, format="binary")  # noqa: S608
            whole = b"".join(chunks)
            found |= {row["name"] for needle in needles if needle in whole}
    return found


async def replayed(stack: Stack) -> list[tuple[str, UUID | None]]:
    """Return what a replay finds different."""
    result = await Replay(stack.vault.context, pool=stack.pool).run(stack.tenant)
    return [(one.what, one.subject or one.record or one.event) for one in result.differences]


@pytest.fixture
def officer(stack: Stack) -> Caller:
    return stack.caller("privacy_officer")


async def test_nothing_of_the_patient_is_left_and_every_entry_is_still_checked(stack: Stack, officer: Caller) -> None:
    made = await lived(stack)
    other = await stack.vault.records.create(stack.integration, "patients", {"family": "Byron"})
    kids = [bytes(row["kid"]) for row in await stack.as_superuser(_KIDS, [made.subject])]
    sealed = await stack.as_superuser(
        "SELECT unnest(sealed)::bytea AS one, unnest(tags) AS tag FROM vault.record WHERE subject_id = $1", made.subject
    )
    needles = (
        kids
        + [bytes(row["one"])[20:] for row in sealed if row["one"]]
        + [bytes(row["tag"]) for row in sealed if row["tag"]]
    )
    assert await everything(stack, needles) >= {"vault.record", "vault.tag", "keys.subject_key"}
    told: list[Erased] = []
    assert made.subject is not None
    await erasures(stack, told).erase(officer, made.subject)
    assert await everything(stack, needles) == set()
    assert [(one.tenant, one.subject) for one in told] == [(stack.tenant, made.subject)]
    assert await replayed(stack) == []
    with pytest.raises(SubjectErased):
        await stack.vault.records.read(officer, "patients", made.id)
    with pytest.raises(SubjectErased):
        await stack.vault.records.change(stack.integration, "patients", made.id, {"note": "x"}, expected=3)
    with pytest.raises(SubjectErased):
        await stack.vault.records.create(stack.integration, "notes", {"text": "x"}, subject=made.subject)
    with pytest.raises(SubjectErased):
        await stack.vault.subjects.get(officer, made.subject)
    assert (await stack.vault.records.read(officer, "patients", other.id)).fields["family"] == "Byron"
    (entry,) = await stack.entries("subject.erased")
    assert entry["subject"] == made.subject


async def test_a_request_sent_once_more_makes_nothing_anew(stack: Stack, officer: Caller) -> None:
    made = await lived(stack)
    assert made.subject is not None
    await erasures(stack).erase(officer, made.subject)
    fields = {"family": "Lovelace", "note": "first", "ssn": "999-12-3456"}
    with pytest.raises(Conflict):
        await stack.vault.records.create(stack.integration, "patients", fields, idempotency_key="once")
    await stack.vault.records.create(stack.integration, "patients", fields)


async def test_who_was_merged_goes_with_the_survivor_and_not_alone(stack: Stack, officer: Caller) -> None:
    first, second = await lived(stack), await stack.vault.records.create(stack.integration, "patients", {"note": "b"})
    assert first.subject is not None
    assert second.subject is not None
    await stack.vault.subjects.merge(stack.integration, first.subject, into=second.subject)
    with pytest.raises(Conflict) as refused:
        await erasures(stack).erase(officer, first.subject)
    assert refused.value.resource == second.subject
    await erasures(stack).erase(officer, second.subject)
    assert not await stack.as_superuser("SELECT FROM keys.subject_key WHERE tenant_id = $1", stack.tenant)
    assert not await stack.as_superuser("SELECT FROM vault.record WHERE tenant_id = $1", stack.tenant)
    assert await replayed(stack) == []
    certificate = await Certificates(gate=stack.gate, clock=stack.clock).of_subject(officer, first.subject)
    assert set(certificate.subjects) == {first.subject, second.subject}


async def test_again_is_the_same_erasure_and_nobody_is_not_found(stack: Stack, officer: Caller) -> None:
    made = await lived(stack)
    assert made.subject is not None
    told: list[Erased] = []
    for _ in range(2):
        await erasures(stack, told).erase(officer, made.subject)
    assert len(told) == len(await stack.entries("subject.erased")) == 1
    with pytest.raises(NotFound):
        await erasures(stack).erase(officer, uuid7())
    with pytest.raises(Forbidden):
        await erasures(stack).erase(stack.integration, made.subject)


@pytest.mark.parametrize("over", ["platform", "tenant", "patient", "another"])
async def test_a_hold_that_stands_blocks_and_is_on_record(stack: Stack, officer: Caller, over: str) -> None:
    made = await lived(stack)
    assert made.subject is not None
    held = PLATFORM_TENANT if over == "platform" else stack.tenant
    subject = {"patient": made.subject, "another": uuid7()}.get(over)
    entry = system_event(uuid7(), Action.HOLD_PLACED, actor="test", resource_type="hold", resource_id=str(held))
    await stack.gate.enter(msgspec.structs.replace(entry, subject=subject), tenant=PLATFORM_TENANT)
    if over == "another":
        await erasures(stack).erase(officer, made.subject)
        return
    with pytest.raises(LegalHold):
        await erasures(stack).erase(officer, made.subject)
    assert [row["outcome"] for row in await stack.entries("subject.erased")] == ["failed"]
    assert (await stack.vault.records.read(officer, "patients", made.id)).fields["note"] == "third"


async def test_writes_and_erasures_of_one_patient_at_once_leave_nothing_behind(stack: Stack, officer: Caller) -> None:
    """A change holds its record and wants the patient, an erasure the other way round: neither wins half."""
    for _ in range(5):
        made = await stack.vault.records.create(stack.integration, "patients", {"note": "0"})
        other = await stack.vault.records.create(stack.integration, "patients", {"note": "1"})
        assert made.subject is not None
        assert other.subject is not None

        async def change(record: UUID = made.id) -> None:
            for revision in range(1, 8):
                await stack.vault.records.change(
                    stack.integration, "patients", record, {"note": str(revision)}, expected=revision
                )

        async def add(subject: UUID = made.subject) -> None:
            for _ in range(8):
                await stack.vault.records.create(stack.integration, "notes", {"text": "x"}, subject=subject)

        work = [
            change(),
            add(),
            stack.vault.subjects.merge(stack.integration, other.subject, into=made.subject),
            erasures(stack).erase(officer, made.subject),
        ]
        results = await asyncio.gather(*work, return_exceptions=True)
        assert all(
            result is None or isinstance(result, WellkeepError) or not isinstance(result, BaseException)
            for result in results
        ), results
        await erasures(stack).erase(officer, made.subject)
        group = [made.subject]
        left = await stack.as_superuser("SELECT id, merged_into FROM vault.subject WHERE id = $1", other.subject)
        group += [other.subject for row in left if row["merged_into"] == made.subject]
        assert not await stack.as_superuser(_KIDS, group)
        assert not await stack.as_superuser("SELECT FROM vault.record WHERE subject_id = ANY($1::uuid[])", group)
    assert await replayed(stack) == []


@pytest.mark.parametrize(
    ("tampering", "what"),
    [
        ("UPDATE vault.subject SET erased_at = NULL WHERE erased_at IS NOT NULL", "revived"),
        ("UPDATE vault.erased_state SET first_digest = sha256('x')", "altered"),
        ("DELETE FROM vault.erased_state", "gone"),
        ("UPDATE vault.erased_state SET erased_by = gen_random_uuid()", "unknown"),
        ("DELETE FROM vault.tombstone", "erased"),
        ("UPDATE vault.tombstone SET event_id = gen_random_uuid()", "erased"),
        (
            _KEY_AGAIN,
            "revived",
        ),
    ],
)
async def test_an_erasure_that_was_undone_or_forged_is_found(
    stack: Stack, officer: Caller, tampering: str, what: str
) -> None:
    made = await lived(stack)
    assert made.subject is not None
    await erasures(stack).erase(officer, made.subject)
    assert await replayed(stack) == []
    await stack.as_superuser(tampering)
    assert what in {found for found, _ in await replayed(stack)}


async def test_a_record_taken_away_does_not_pass_for_erased(stack: Stack) -> None:
    """The database's owner moves a record to the erased ones: no erasure covers it."""
    made = await lived(stack)
    await stack.as_superuser(_STOLEN, made.id)
    await stack.as_superuser("DELETE FROM vault.record WHERE id = $1", made.id)
    assert {"unknown", "altered"} <= {found for found, _ in await replayed(stack)}


async def test_the_certificate_promises_nothing_before_its_time(stack: Stack, officer: Caller) -> None:
    made = await lived(stack)
    assert made.subject is not None
    certificates = Certificates(gate=stack.gate, clock=stack.clock)
    with pytest.raises(NotFound):
        await certificates.of_subject(officer, made.subject)
    await erasures(stack).erase(officer, made.subject)
    found = await certificates.of_subject(officer, made.subject)
    assert found.covered["keys"] == 1
    assert found.covered["records"] == 2
    assert found.covered["revisions"] == 3
    assert found.covered["answers"] == 1
    assert (found.effective.state, found.effective.until) == ("recoverable", None)
    assert found.entry.seq is not None
    assert ActorType.API_KEY.value in (found.entry.actor or "") or found.entry.actor
    due = await stack.as_superuser("SELECT vault.erasure_due() AS due")
    assert due[0]["due"]
    await stack.as_superuser(
        "UPDATE keys.epoch SET state = 'retired', retired_at = now(), destroy_at = now() + interval '30 days'"
    )
    assert (await certificates.of_subject(officer, made.subject)).effective.until is not None
    await stack.as_superuser("UPDATE keys.epoch SET state = 'destroyed', destroyed_at = now() + interval '1 day'")
    assert (await certificates.of_subject(officer, made.subject)).effective.state == "recoverable"
    await stack.as_superuser("UPDATE keys.epoch SET destroyed_at = now()")
    assert (await certificates.of_subject(officer, made.subject)).effective.state == "effective"


async def test_the_date_of_a_cloud_that_waits_is_said_before_it_was_asked(stack: Stack, officer: Caller) -> None:
    made = await lived(stack)
    assert made.subject is not None
    await erasures(stack).erase(officer, made.subject)
    waiting = Certificates(gate=stack.gate, clock=stack.clock, waits=timedelta(days=7))
    (row,) = await stack.as_superuser(
        "UPDATE keys.epoch SET state = 'retired', retired_at = now(), destroy_at = now() + interval '30 days' "
        "RETURNING destroy_at"
    )
    promised = row["destroy_at"]
    assert (await waiting.of_subject(officer, made.subject)).effective.until == promised + timedelta(days=7)
    await stack.as_superuser("UPDATE keys.epoch SET ordered_at = now()")
    assert (await waiting.of_subject(officer, made.subject)).effective.until == promised
    await stack.as_superuser("UPDATE keys.epoch SET ordered_at = NULL, destroy_at = now() - interval '1 second'")
    assert (await waiting.of_subject(officer, made.subject)).effective.until is None  # the order itself is late


async def test_whoever_was_erased_is_remembered_before_anybody_is_told_so(stack: Stack, officer: Caller) -> None:
    """The disk is full after the commit: no answer says "erased" until the file outside of the database does."""
    made = await lived(stack)
    assert made.subject is not None
    told: list[Erased] = []
    full = True

    def remember(erased: Sequence[Erased]) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        told.extend(erased)

    service = Erasures(stack.vault.context, remember=remember)
    for _ in range(2):
        with pytest.raises(Unavailable) as refused:
            await service.erase(officer, made.subject)
        assert str(made.subject) not in refused.value.message
    with pytest.raises(SubjectErased):
        await stack.vault.records.read(officer, "patients", made.id)
    full = False
    await service.erase(officer, made.subject)
    stones = await stack.as_superuser("SELECT subject_id, event_id, erased_at FROM vault.tombstone")
    assert [(one.subject, one.event, one.at) for one in told] == [tuple(row) for row in stones]


async def test_an_erasure_that_is_not_committed_is_remembered_nowhere(
    stack: Stack, officer: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in the file is done again in any database: it must not say what was rolled back."""
    made = await lived(stack)
    assert made.subject is not None
    told: list[Erased] = []

    async def refused(_work: GateTransaction) -> None:
        raise LedgerUnavailable

    monkeypatch.setattr(GateTransaction, "end", refused)
    with pytest.raises(LedgerUnavailable):
        await erasures(stack, told).erase(officer, made.subject)
    monkeypatch.undo()
    assert told == []
    assert (await stack.vault.records.read(stack.integration, "patients", made.id)).fields["note"] == "third"
