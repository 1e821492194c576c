"""Opening records: the one way from ciphertext to plaintext, and it asks for the receipt first.

Rules: a receipt of the gate that covers the record, of this tenant, or nothing is opened; all of a record's fields open
or none; a failure raises and is reported, and no ciphertext is ever handed on as a value. A finding names the place
alone. The threats are an access without an entry, and a ciphertext that was swapped, moved, cut or replaced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn
from uuid import UUID

from wellkeep.base.errors import IntegrityBroken, Internal
from wellkeep.crypto import envelope
from wellkeep.crypto.errors import CryptoError, Malformed, WrongKey
from wellkeep.crypto.keys import SealingKey
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.gate.receipt import Receipt

_KID = slice(4, 20)
"""Where an envelope names its key; unauthenticated, good for finding the key alone."""

OpenedField = tuple[int, int, bytes]
"""(field id, type of `crypto.padding.ValueType`, payload)."""


class ReceiptRefused(Internal):
    """The receipt does not cover what was to be opened: a fault of ours, found before any harm."""

    title = "Nothing is opened without a ledger entry that names it"


def require_receipt(receipt: Receipt, *, tenant: UUID, covered: UUID) -> None:
    """Raise ReceiptRefused unless `receipt` is the gate's, of this tenant, and names `covered`."""
    if type(receipt) is not Receipt or receipt.tenant != tenant or not receipt.covers(covered):
        raise ReceiptRefused


def open_record(
    receipt: Receipt,
    *,
    findings: Findings,
    tenant: UUID,
    collection: int,
    record: UUID,
    keys: Mapping[bytes, SealingKey],
    field_ids: Sequence[int],
    sealed: Sequence[bytes],
) -> list[OpenedField]:
    """Open the fields of one record, in the order given.

    `keys` holds the keys by kid (16 bytes) that the record's envelopes may name, `field_ids` and `sealed` belong
    together. Raises ReceiptRefused, or IntegrityBroken (reported) where any field does not open in its place.
    """
    require_receipt(receipt, tenant=tenant, covered=record)
    tenant_id, record_id = tenant.bytes, record.bytes
    try:
        items = list(zip(field_ids, sealed, strict=True))
        opened = _open(keys, tenant_id, collection, record_id, items)
    except (CryptoError, ValueError):
        _report(receipt, findings, tenant, collection, record, keys, field_ids, sealed)
    return [(field, kind, payload) for field, (kind, payload) in zip(field_ids, opened, strict=True)]


def _open(
    keys: Mapping[bytes, SealingKey],
    tenant: bytes,
    collection: int,
    record: bytes,
    items: Sequence[envelope.FieldSealed],
) -> list[envelope.Opened]:
    """Open a record, at once where one key sealed all of it, which is nearly always."""
    if not items:
        return []
    key = keys.get(items[0][1][_KID])
    if key is None:
        raise WrongKey("sealed under a key that is not this record's")
    try:
        return envelope.open_record(key, tenant=tenant, collection=collection, record=record, items=items)
    except WrongKey:
        return _open_by_kid(keys, tenant, collection, record, items)


def _open_by_kid(
    keys: Mapping[bytes, SealingKey],
    tenant: bytes,
    collection: int,
    record: bytes,
    items: Sequence[envelope.FieldSealed],
) -> list[envelope.Opened]:
    """Open a record whose fields were sealed by several generations; rare, so field by field."""
    opened = []
    for item in items:
        key = keys.get(envelope.envelope_kid(item[1]))
        if key is None:
            raise WrongKey("sealed under a key that is not this record's")
        opened.append(envelope.open_one(key, item, tenant=tenant, collection=collection, record=record))
    return opened


def _report(
    receipt: Receipt,
    findings: Findings,
    tenant: UUID,
    collection: int,
    record: UUID,
    keys: Mapping[bytes, SealingKey],
    field_ids: Sequence[int],
    sealed: Sequence[bytes],
) -> NoReturn:
    """Report the first field that does not open, and raise."""
    detail: dict[str, str | int] = {
        "collection": collection,
        "record": str(record),
        "event": str(receipt.event_id),
        "error": Malformed.code,
    }
    for item in zip(field_ids, sealed, strict=False):
        try:
            _open_by_kid(keys, tenant.bytes, collection, record.bytes, [item])
        except CryptoError as error:
            detail |= {"field": item[0], "error": error.code}
            break
    findings.note(
        tenant,
        kind=Kind.INTEGRITY_BROKEN,
        severity=Severity.CRITICAL,
        key=finding_key(Kind.INTEGRITY_BROKEN, collection, record),
        detail=detail,
    )
    raise IntegrityBroken(resource=record) from None
