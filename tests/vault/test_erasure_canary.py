"""Promise: of who was erased, no value stands anywhere in the database, and their id only where a reason is written.

A patient is put everywhere a patient can be, through the product's own doors where it has one: values in every field,
answers, files of imports and exports, whoever treats them, an emergency, findings, a rotation that stands at them.
Then every table is read past every policy, as bytes and as text.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import msgspec
import pytest

from database import Database
from jobs.transfer import Transfer
from vault.stack import NOTES, PATIENTS, Stack, open_stack
from vault.test_erasure import everything, replayed
from vault.test_resealing import engine
from wellkeep.base.ids import uuid7
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.vault import resealing_keys, resealing_pace
from wellkeep.vault.erasure import Erased, Erasures
from wellkeep.vault.erasure_certificate import NOT_COVERED, Certificates
from wellkeep.vault.resealing import Tier

CANARY = "Zyzzyva Quokkington"
NAMED_STILL = {
    "findings.finding": "Findings,",
    "keys.rotation": "Findings, and where rotations",
    "ledger.entry": "Entries of the ledger:",
    "ledger.entry_subject": "Entries of the ledger:",
    "vault.subject": "The id itself:",
    "vault.tombstone": "The id itself:",
}
"""Where an erased patient's opaque id may stand, and how the certificate's words about it begin."""

_PERSON = """
INSERT INTO access.person (tenant_id, id, email, name, invited_by, created_at)
VALUES ($1, $2, $3, 'Grace', 'operator:ada', clock_timestamp())
"""
_GLASS = """
INSERT INTO access.break_glass (tenant_id, id, person_id, subject_id, again, reason, reason_digest, broken_at, ends_at)
VALUES ($1, $2, $3, $4, false, $5, sha256('x'), clock_timestamp(), clock_timestamp() + interval '1 hour')
"""
_TEAM = """
INSERT INTO access.care_team (tenant_id, id, person_id, subject_id, added_by, since)
VALUES ($1, $2, $3, $4, $5, clock_timestamp())
"""
_FIELDS: dict[str, str | bool | int | msgspec.Raw] = {
    "ssn": "999-41-7263",
    "family": CANARY,
    "phone": "+49 30 901820774",
    "birth_date": "1931-07-23",
    "gender": "other",
    "note": f"{CANARY} coughs",
    "resource": msgspec.Raw(f'{{"who":"{CANARY}"}}'.encode()),
    "weight": msgspec.Raw(b"61.731"),
    "visits": 8172635,
    "active": True,
    "seen": "2026-01-02T03:04:05Z",
    "balance": msgspec.Raw(b"90182.07"),
}


@pytest.fixture
async def stack(database: Database, tenant: UUID, other_tenant: UUID) -> AsyncIterator[Stack]:
    async with open_stack(database, tenant, other_tenant) as opened:
        await opened.declare(PATIENTS, NOTES)
        yield opened


async def about_them(stack: Stack, subject: UUID) -> None:
    """Put the patient into the rooms beside the vault: care team, emergency, finding."""
    person = uuid7()
    await stack.as_superuser(_PERSON, stack.tenant, person, "grace@example.org")
    await stack.as_superuser(_TEAM, stack.tenant, uuid7(), person, subject, str(person))
    await stack.as_superuser(_GLASS, stack.tenant, uuid7(), person, subject, b"WK" + bytes(80))
    await stack.findings.report(
        stack.tenant,
        kind=Kind.KEYS_TAMPERED,
        severity=Severity.CRITICAL,
        key=finding_key(Kind.KEYS_TAMPERED, subject),
        detail={"subject": str(subject), "what": "no-key"},
    )


async def test_of_who_was_erased_only_the_id_is_left_and_only_where_it_is_said(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    transfer, records = Transfer(stack), stack.vault.records
    made = await records.create(stack.integration, "patients", _FIELDS, idempotency_key=f"once {CANARY}")
    assert made.subject is not None
    await records.change(stack.integration, "patients", made.id, {"note": f"{CANARY} sneezes"}, expected=1)
    await records.create(stack.integration, "notes", {"text": CANARY, "code": "R05"}, subject=made.subject)
    await transfer.load(f"family,note\n{CANARY},imported\n".encode(), "patients", "csv")
    await transfer.export("patients", "ndjson")
    await about_them(stack, made.subject)
    monkeypatch.setattr(resealing_pace, "LEAST", 1)
    monkeypatch.setattr(resealing_keys, "PEOPLE_PAGE", 1)
    walk = await engine(stack).start(stack.administrator, Tier.SUBJECT)
    await engine(stack).step(stack.tenant, walk)
    ids = [made.subject.bytes, str(made.subject).encode(), made.subject.hex.encode()]
    before = await everything(stack, ids)
    assert before >= {"vault.record", "vault.export_part", "access.care_team", "access.break_glass", "findings.finding"}
    told: list[Erased] = []
    officer = stack.caller("privacy_officer")
    await Erasures(stack.vault.context, remember=told.extend).erase(officer, made.subject)
    values = [value.encode() for value in (CANARY, "999-41-7263", "999417263", "61.731", "8172635", "90182.07")]
    assert await everything(stack, values) == set(), "a value"
    left = {"ledger.entry" if name.startswith("ledger.entry_2") else name for name in await everything(stack, ids)}
    assert left <= set(NAMED_STILL), "an id"
    made_out = await Certificates(gate=stack.gate, clock=stack.clock).of_subject(officer, made.subject)
    for words in set(NAMED_STILL.values()):
        assert any(line.startswith(words) for line in made_out.not_covered), words
    assert set(made_out.not_covered) == set(NOT_COVERED)
    assert await replayed(stack) == []
