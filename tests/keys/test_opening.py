"""Opening: the receipt first, all or nothing, and no ciphertext as a value."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import pytest
import structlog

from keys.rig import Bench, receipt_for
from wellkeep.base.errors import IntegrityBroken
from wellkeep.crypto import envelope
from wellkeep.crypto.keys import SealingKey
from wellkeep.crypto.padding import ValueType
from wellkeep.gate.receipt import Receipt
from wellkeep.keys.opening import ReceiptRefused
from wellkeep.keys.tenant import TenantKeys

VALUES = [
    (1, ValueType.STRING, b"Ada", False),
    (2, ValueType.DATE, b"1815-12-10", False),
    (5, ValueType.TEXT, b"", True),
]


def seal(key: SealingKey, tenant: UUID, record: UUID, collection: int = 7) -> list[bytes]:
    return envelope.seal_record(key, tenant=tenant.bytes, collection=collection, record=record.bytes, items=VALUES)


async def prepared(bench: Bench, tenant: UUID) -> tuple[TenantKeys, dict[bytes, SealingKey], UUID, list[bytes]]:
    keys = await bench.ring.provision(tenant)
    key = (await keys.new_subject_key(uuid4())).key
    record = uuid4()
    return keys, {key.kid: key}, record, seal(key, tenant, record)


def opened(
    keys: TenantKeys, receipt: Receipt, by_kid: dict[bytes, SealingKey], record: UUID, sealed: list[bytes]
) -> list[tuple[int, int, bytes]]:
    return keys.open_record(receipt, collection=7, record=record, keys=by_kid, field_ids=[1, 2, 5], sealed=sealed)


EXPECTED = [(1, 1, b"Ada"), (2, 6, b"1815-12-10"), (5, 2, b"")]


async def test_with_a_receipt_the_fields_open_in_their_order(bench: Bench, tenant: UUID) -> None:
    keys, by_kid, record, sealed = await prepared(bench, tenant)
    assert opened(keys, receipt_for(tenant, record), by_kid, record, sealed) == EXPECTED


async def test_several_generations_and_no_fields_open_too(bench: Bench, tenant: UUID) -> None:
    keys, by_kid, record, sealed = await prepared(bench, tenant)
    newer = (await keys.new_subject_key(uuid4(), generation=2)).key
    mixed = [sealed[0], seal(newer, tenant, record)[1], sealed[2]]
    receipt = receipt_for(tenant, record)
    assert opened(keys, receipt, {**by_kid, newer.kid: newer}, record, mixed) == EXPECTED
    assert keys.open_record(receipt, collection=7, record=record, keys=by_kid, field_ids=[], sealed=[]) == []


async def test_records_of_no_patient_open_under_the_data_key(bench: Bench, tenant: UUID) -> None:
    keys = await bench.ring.provision(tenant)
    record = uuid4()
    sealed = seal(await keys.data_key(seals=3), tenant, record)
    assert sealed[0][2] == 2
    assert opened(keys, receipt_for(tenant, record), dict(keys.data_keys), record, sealed) == EXPECTED


@dataclass
class Forged:
    tenant: UUID
    event_id: UUID = field(default_factory=uuid4)

    def covers(self, record: UUID) -> bool:
        return record.int >= 0


async def test_without_a_receipt_that_covers_it_nothing_opens(bench: Bench, tenant: UUID, other_tenant: UUID) -> None:
    keys, by_kid, record, sealed = await prepared(bench, tenant)
    refused = [
        receipt_for(tenant),
        receipt_for(tenant, uuid4()),
        receipt_for(other_tenant, record),
        Forged(tenant),
        None,
    ]
    for receipt in refused:
        with pytest.raises(ReceiptRefused):
            opened(keys, receipt, by_kid, record, sealed)  # type: ignore[arg-type]


def moved_field(sealed: list[bytes]) -> list[bytes]:
    return [sealed[1], sealed[0], sealed[2]]


def cut(sealed: list[bytes]) -> list[bytes]:
    return [sealed[0], sealed[1][:-1], sealed[2]]


def short(sealed: list[bytes]) -> list[bytes]:
    return sealed[:2]


def altered(sealed: list[bytes]) -> list[bytes]:
    return [*sealed[:2], sealed[2][:-1] + bytes((sealed[2][-1] ^ 1,))]


def plain(sealed: list[bytes]) -> list[bytes]:
    return [b"Ada Lovelace, in clear", *sealed[1:]]


def downgraded(sealed: list[bytes]) -> list[bytes]:
    return [sealed[0][:2] + b"\x02" + sealed[0][3:], *sealed[1:]]


@pytest.mark.parametrize("attack", [moved_field, cut, short, altered, plain, downgraded])
async def test_what_was_tampered_with_raises_and_is_reported_by_its_place_alone(
    bench: Bench, tenant: UUID, attack: object
) -> None:
    keys, by_kid, record, sealed = await prepared(bench, tenant)
    receipt = receipt_for(tenant, record)
    with structlog.testing.capture_logs() as logs, pytest.raises(IntegrityBroken) as broken:
        opened(keys, receipt, by_kid, record, attack(sealed))  # type: ignore[operator]
    assert broken.value.resource == record
    assert "Ada" not in repr(broken.value) + str(logs)
    await bench.findings.flush()
    (finding,) = await bench.findings.list(tenant)
    assert (finding.kind, finding.severity) == ("integrity.broken", "critical")
    assert finding.detail["record"] == str(record)
    assert finding.detail["event"] == str(receipt.event_id)


async def test_a_ciphertext_of_another_place_or_key_is_refused(bench: Bench, tenant: UUID, other_tenant: UUID) -> None:
    keys, by_kid, record, _ = await prepared(bench, tenant)
    (key,) = by_kid.values()
    strange = (await keys.new_subject_key(uuid4())).key
    elsewhere = [
        seal(key, tenant, uuid4()),
        seal(key, other_tenant, record),
        seal(key, tenant, record, collection=8),
        seal(strange, tenant, record),
    ]
    for sealed in elsewhere:
        with pytest.raises(IntegrityBroken):
            opened(keys, receipt_for(tenant, record), by_kid, record, sealed)


def test_a_receipt_is_not_copied_on_the_way_here(tenant: UUID) -> None:
    with pytest.raises(Exception, match="copied"):
        copy.copy(receipt_for(tenant, uuid4()))
