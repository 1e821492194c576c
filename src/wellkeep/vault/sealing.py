"""From checked payloads to a state that can be stored.

Rules: every field that is not plain becomes an envelope bound to tenant, collection, field and record; a changed state
keeps the envelopes of what did not change. The content MAC of a record with an external id is keyed and bound to that
id: it says to us alone whether an import brings anything new.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence
from uuid import UUID

from wellkeep.crypto import envelope
from wellkeep.crypto.keys import SealingKey
from wellkeep.crypto.padding import ValueType
from wellkeep.keys.tenant import TenantKeys
from wellkeep.vault.calls import SealedState
from wellkeep.vault.definition import EXTERNAL_ID
from wellkeep.vault.tags import Payload, Tag
from wellkeep.vault.values import kind_of

_CONTENT = "content/1"


def content_mac(
    keys: TenantKeys, *, collection: int, external_tag: bytes, payloads: Sequence[Payload], subject: UUID | None
) -> bytes:
    """Return the 32-byte MAC over everything that an import could change about a record."""
    parts = [collection.to_bytes(4, "big"), external_tag, b"" if subject is None else subject.bytes]
    for field, payload in sorted(payloads, key=lambda item: item[0].id):
        parts += (field.id.to_bytes(4, "big"), len(payload).to_bytes(4, "big"), payload)
    # One call over all of it: a fifth of the time that an updated hmac object takes, and an import asks once a line.
    return hmac.digest(keys.mac_key(_CONTENT), b"".join(parts), "sha256")


def seal_state(
    key: SealingKey,
    *,
    tenant: UUID,
    collection: int,
    record: UUID,
    payloads: Sequence[Payload],
    tags: Sequence[Tag],
    external_id: str | None = None,
    mac: bytes | None = None,
) -> SealedState:
    """Seal a whole state; `external_id` is sealed as field 0."""
    items = [(field.id, kind_of(field), payload, field.enum is not None) for field, payload in payloads if field.sealed]
    if external_id is not None:
        items.append((EXTERNAL_ID, ValueType.STRING, external_id.encode(), False))
    sealed = envelope.seal_record(key, tenant=tenant.bytes, collection=collection, record=record.bytes, items=items)
    field_ids = [item[0] for item in items]
    return state_of(
        record=record,
        field_ids=field_ids,
        sealed=sealed,
        plain={field.id: payload.decode() for field, payload in payloads if not field.sealed},
        tags=tags,
        mac=mac,
    )


def state_of(
    *,
    record: UUID,
    field_ids: list[int],
    sealed: list[bytes],
    plain: Mapping[int, str],
    tags: Sequence[Tag],
    mac: bytes | None,
) -> SealedState:
    """Put a state together: unique tags first, and the digest that the ledger keeps."""
    ordered = sorted(tags, key=lambda tag: not tag.unique)
    return SealedState(
        field_ids=field_ids,
        sealed=sealed,
        plain=json.dumps({str(number): text for number, text in plain.items()}) if plain else None,
        tag_fields=[tag.field for tag in ordered],
        tags=[tag.tag for tag in ordered],
        unique_tags=sum(tag.unique for tag in ordered),
        content_mac=mac,
        digest=envelope.digest(record.bytes, zip(field_ids, sealed, strict=True)),
    )
