"""Attack: whoever owns the database moves, swaps, cuts or replaces ciphertexts. Nothing of it comes out as a value."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import orjson
import pytest

from database import Database
from vault.stack import NOTES, PATIENTS, WARDS, Stack, open_stack
from wellkeep.base.errors import IntegrityBroken, SubjectErased
from wellkeep.findings.grammar import Kind
from wellkeep.ledger.grammar import pack_ids
from wellkeep.vault.context import NOT_OPENED
from wellkeep.vault.outcomes import Written


@pytest.fixture
async def stack(database: Database, tenant: UUID, other_tenant: UUID) -> AsyncIterator[Stack]:
    async with open_stack(database, tenant, other_tenant) as opened:
        await opened.declare(PATIENTS, NOTES, WARDS)
        await opened.declare(PATIENTS, tenant=other_tenant)
        yield opened


async def pair(stack: Stack) -> tuple[Written, Written]:
    """Two notes of one patient, sealed under one key."""
    patient = await stack.vault.records.create(stack.integration, "patients", {"family": "Koepp"})
    made = [
        await stack.vault.records.create(
            stack.integration, "notes", {"text": text, "code": text}, subject=patient.subject
        )
        for text in ("first", "second")
    ]
    return made[0], made[1]


async def authorised(stack: Stack, action: str) -> list[dict[str, object]]:
    """Return the events of that action that came before anything was opened."""
    events = [orjson.loads(row["entry"])["event"] for row in await stack.entries(action)]
    return [event for event in events if event["outcome"] == "authorised"]


async def refused(stack: Stack, record: UUID, collection: str = "notes") -> None:
    """See that reading it raises and is reported by place alone, and that a search does not return it either."""
    with pytest.raises(IntegrityBroken):
        await stack.vault.records.read(stack.integration, collection, record)
    found = [finding for finding in await stack.found() if finding.kind == Kind.INTEGRITY_BROKEN]
    assert [finding.detail["record"] for finding in found] == [str(record)]
    assert found[0].severity == "critical"
    events = [orjson.loads(row["entry"])["event"] for row in await stack.entries("open.failed")]
    said = [(one["outcome"], one["error"], one["resource"]["id"], one["records"]) for one in events]
    assert said == [("failed", NOT_OPENED, str(record), pack_ids("records", (record,)))]
    assert events[0]["request"] in [row["request"] for row in await authorised(stack, "record.read")]
    with pytest.raises(IntegrityBroken):
        await stack.vault.search.search(stack.integration, collection)


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE vault.record r SET sealed = o.sealed FROM vault.record o WHERE r.id = $1 AND o.id = $2",
        "UPDATE vault.record SET sealed = ARRAY[sealed[2], sealed[1]] WHERE id = $1 AND $2::uuid IS NOT NULL",
        "UPDATE vault.record SET field_ids = ARRAY[field_ids[2], field_ids[1]] WHERE id = $1 AND $2::uuid IS NOT NULL",
        (
            "UPDATE vault.record SET sealed[1] = substr(sealed[1]::bytea, 1, octet_length(sealed[1]) - 1)"
            " WHERE id = $1 AND $2::uuid IS NOT NULL"
        ),
        (
            "UPDATE vault.record SET sealed[1] = set_byte(sealed[1]::bytea, 40, get_byte(sealed[1]::bytea, 40) # 1)"
            " WHERE id = $1 AND $2::uuid IS NOT NULL"
        ),
        "UPDATE vault.record SET sealed[1] = set_byte(sealed[1]::bytea, 2, 2) WHERE id = $1 AND $2::uuid IS NOT NULL",
        "UPDATE vault.record SET sealed[1] = set_byte(sealed[1]::bytea, 3, 0) WHERE id = $1 AND $2::uuid IS NOT NULL",
        (
            "UPDATE vault.record SET sealed[1] = set_byte(sealed[1]::bytea, 9, get_byte(sealed[1]::bytea, 9) # 255)"
            " WHERE id = $1 AND $2::uuid IS NOT NULL"
        ),
    ],
    ids=["another-record", "fields-swapped", "field-numbers-swapped", "cut", "flipped", "suite", "flags", "kid"],
)
async def test_a_ciphertext_out_of_its_place_is_refused_and_reported(stack: Stack, tampering: str) -> None:
    first, second = await pair(stack)
    await stack.as_superuser(tampering, first.id, second.id)
    await refused(stack, first.id)
    assert (await stack.vault.records.read(stack.integration, "notes", second.id)).fields["text"] == "second"


async def test_a_record_moved_to_another_collection_is_refused(stack: Stack) -> None:
    first, _ = await pair(stack)
    await stack.as_superuser(
        "UPDATE vault.record r SET collection_id = c.id, field_ids = (SELECT array_agg((f->>'id')::int) FROM "
        "jsonb_array_elements(c.definition->'fields') f WHERE f->>'name' IN ('ssn', 'note')) "
        "FROM vault.collection c WHERE r.id = $1 AND c.name = 'patients' AND c.tenant_id = r.tenant_id",
        first.id,
    )
    with pytest.raises(IntegrityBroken):
        await stack.vault.records.read(stack.integration, "patients", first.id)


async def test_a_record_and_its_key_moved_to_another_tenant_are_refused(stack: Stack) -> None:
    made = await stack.vault.records.create(stack.integration, "patients", {"family": "Koepp"})
    await stack.as_superuser("DELETE FROM vault.collection WHERE tenant_id = $1", stack.other)
    for table in ("vault.collection", "vault.record", "vault.subject", "vault.tag", "keys.subject_key"):
        await stack.as_superuser(f"UPDATE {table} SET tenant_id = $1 WHERE tenant_id = $2", stack.other, stack.tenant)  # noqa: S608
    with pytest.raises(IntegrityBroken):
        await stack.vault.records.read(stack.caller("integration", tenant=stack.other), "patients", made.id)


async def test_a_key_row_of_another_subject_opens_nothing(stack: Stack) -> None:
    one = await stack.vault.records.create(stack.integration, "patients", {"family": "Koepp"})
    two = await stack.vault.records.create(stack.integration, "patients", {"family": "Other"})
    await stack.as_superuser("DELETE FROM keys.subject_key WHERE subject_id = $1", one.subject)
    await stack.as_superuser(
        "UPDATE keys.subject_key SET subject_id = $1 WHERE subject_id = $2", one.subject, two.subject
    )
    with pytest.raises(IntegrityBroken):
        await stack.vault.records.read(stack.integration, "patients", one.id)


async def test_a_key_row_that_was_taken_away_is_reported_unless_the_subject_was_erased(stack: Stack) -> None:
    one = await stack.vault.records.create(stack.integration, "patients", {"family": "Koepp"})
    await stack.as_superuser("DELETE FROM keys.subject_key WHERE subject_id = $1", one.subject)
    with pytest.raises(IntegrityBroken):
        await stack.vault.records.read(stack.integration, "patients", one.id)
    assert Kind.KEYS_TAMPERED in {finding.kind for finding in await stack.found()}
    await stack.as_superuser("UPDATE vault.subject SET erased_at = now() WHERE id = $1", one.subject)
    with pytest.raises(SubjectErased):
        await stack.vault.records.read(stack.integration, "patients", one.id)
    assert (await stack.vault.search.search(stack.integration, "patients")).records == ()
    errors = [
        row["error"] for row in (orjson.loads(row["entry"])["event"] for row in await stack.entries("open.failed"))
    ]
    assert errors == [NOT_OPENED, SubjectErased.code, SubjectErased.code]


async def test_the_table_takes_nothing_but_envelopes(stack: Stack) -> None:
    first, _ = await pair(stack)
    for bad in (b"plaintext that was written because a key was missing" * 2, b"WK\x03\x01" + bytes(60), b"WK\x01\x01"):
        with pytest.raises(asyncpg.CheckViolationError):
            await stack.as_superuser("UPDATE vault.record SET sealed[1] = $2 WHERE id = $1", first.id, bad)
