"""From checked payloads to a state that can be stored.

Rules: every field that is not plain becomes an envelope bound to tenant, collection, field and record; a changed state
keeps the envelopes of what did not change. The content MAC of a record with an external id is keyed and bound to that
id: it says to us alone whether an import brings anything new.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from struct import Struct
from uuid import UUID

from wellkeep.crypto import envelope
from wellkeep.crypto.blind import Mac
from wellkeep.crypto.keys import SealingKey
from wellkeep.crypto.padding import ValueType
from wellkeep.keys.tenant import TenantKeys
from wellkeep.vault.calls import SealedState
from wellkeep.vault.definition import EXTERNAL_ID
from wellkeep.vault.fingerprint import state_digest, tags_digest
from wellkeep.vault.tags import Payload, Tag
from wellkeep.vault.values import kind_of

_CONTENT = "content/1"
_KEPT = 1 << 31
"""Set in the number of a field that a content MAC covers as it is stored; numbers of fields stay below."""
_mac_head = Struct(">II").pack


@dataclass(frozen=True, slots=True)
class Kept:
    """What a new state takes over from the one before it as it is stored: envelopes, plain values, tags."""

    envelopes: Sequence[tuple[int, bytes]] = ()
    plain: Mapping[int, str] = field(default_factory=dict)
    tags: Sequence[Tag] = ()

    def parts(self) -> list[bytes]:
        """Return the part of a content message for what is kept, in the order of the fields."""
        texts = [(number, text.encode()) for number, text in self.plain.items()]
        return [mac_part(_KEPT | number, stored) for number, stored in sorted([*self.envelopes, *texts])]


NOTHING_KEPT = Kept()


def content_mac(
    keys: TenantKeys,
    *,
    collection: int,
    external_id: str,
    payloads: Sequence[Payload],
    subject: UUID | None,
    kept: Kept = NOTHING_KEPT,
) -> bytes:
    """Return the 32-byte MAC over everything that an import could change about a record.

    What is `kept` unopened is covered as it is stored: such a MAC says whether the same caller brings anything new.
    """
    ordered = sorted(payloads, key=lambda item: item[0].id)
    parts = [mac_part(declared.id, payload) for declared, payload in ordered] + kept.parts()
    message = content_message(collection, external_id, subject, parts)
    return hmac.digest(keys.mac_key(_CONTENT), message, "sha256")


def content_macs(keys: TenantKeys) -> Mac:
    """Return what makes the MACs of `content_mac` from `content_message`, for whoever needs many of them."""
    return Mac(keys.mac_key(_CONTENT))


def content_message(collection: int, external_id: str, subject: UUID | None, parts: Sequence[bytes]) -> bytes:
    """Return what the content MAC is over; `parts` are in the order of their fields."""
    name = external_id.encode()
    return b"".join((_mac_head(collection, len(name)), name, subject.bytes if subject else b"", *parts))


def mac_part(field: int, payload: bytes) -> bytes:
    """Return one field of a content message: number u32, length u32, payload."""
    return _mac_head(field, len(payload)) + payload


def seal_state(
    key: SealingKey,
    *,
    tenant: UUID,
    collection: int,
    record: UUID,
    revision: int,
    sealed_for: UUID | None,
    payloads: Sequence[Payload],
    tags: Sequence[Tag],
    external_id: str | None = None,
    mac: bytes | None = None,
    kept: Kept = NOTHING_KEPT,
) -> SealedState:
    """Seal a whole state but for what is `kept`; `external_id` is sealed as field 0.

    `revision` is the number that it will be stored under.
    """
    items = [(one.id, kind_of(one), payload, one.enum is not None) for one, payload in payloads if one.sealed]
    if external_id is not None:
        items.append((EXTERNAL_ID, ValueType.STRING, external_id.encode(), False))
    sealed = envelope.seal_record(key, tenant=tenant.bytes, collection=collection, record=record.bytes, items=items)
    return state_of(
        collection=collection,
        record=record,
        revision=revision,
        sealed_for=sealed_for,
        field_ids=[number for number, _ in kept.envelopes] + [item[0] for item in items],
        sealed=[envelope for _, envelope in kept.envelopes] + sealed,
        plain={**kept.plain, **{one.id: payload.decode() for one, payload in payloads if not one.sealed}},
        tags=[*kept.tags, *tags],
        mac=mac,
    )


def state_of(
    *,
    collection: int,
    record: UUID,
    revision: int,
    sealed_for: UUID | None,
    field_ids: list[int],
    sealed: list[bytes],
    plain: Mapping[int, str],
    tags: Sequence[Tag],
    mac: bytes | None,
    indexed: bytes | None = None,
) -> SealedState:
    """Put a state together, unique tags first, with the ledger's digest; `indexed` is that of the tags, if known."""
    ordered = sorted(tags, key=lambda tag: not tag.unique)
    tag_fields, tag_bytes = [tag.field for tag in ordered], [tag.tag for tag in ordered]
    if indexed is None:
        indexed = tags_digest(tag_fields, tag_bytes)
    return SealedState(
        field_ids=field_ids,
        sealed=sealed,
        plain=plain_json(plain),
        tag_fields=tag_fields,
        tags=tag_bytes,
        unique_tags=sum(tag.unique for tag in ordered),
        content_mac=mac,
        tags_digest=indexed,
        digest=state_digest(
            record.bytes,
            collection=collection,
            revision=revision,
            field_ids=field_ids,
            sealed=sealed,
            sealed_for=sealed_for,
            plain=plain,
            tags=indexed,
        ),
    )


def plain_json(plain: Mapping[int, str]) -> str | None:
    """Return the plain values as they are stored: JSON of field number to text."""
    return json.dumps({str(number): text for number, text in plain.items()}) if plain else None
