"""The digest of a stored state, which the entry of its change names: what the replay holds a state against.

Rules: whatever a state shows or is found by is covered. Its ciphertexts, as format wk1 says; and beside them, as items
whose numbers no field has, where it stands (collection and revision), the person whose key seals it, its plain values,
and the digest of its tags. The tags have a digest of their own, which is stored with the state, because history keeps
no tags and is held against its entry too.

Threat: the database's owner gives a record to another patient, edits a plain value, moves a tag so that a search finds
somebody else, lets two revisions change places, or puts a record into a collection where nobody looks for it; none of
that is ciphertext, and all of it opens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from struct import Struct
from uuid import UUID

from wellkeep.crypto import envelope

PLACE_ITEM, SUBJECT_ITEM, PLAIN_ITEM, TAGS_ITEM = 0xFFFFFFFC, 0xFFFFFFFD, 0xFFFFFFFE, 0xFFFFFFFF
"""Numbers of items; fields are numbered below 2^31."""

_number = Struct(">I").pack
_pair = Struct(">II").pack


def tags_digest(fields: Sequence[int], tags: Sequence[bytes]) -> bytes:
    """Return SHA-256 over (field u32 | tag)*, in the order in which they are stored; raises ValueError."""
    parts = [_number(field) + tag for field, tag in zip(fields, tags, strict=True)]
    return hashlib.sha256(b"".join(parts)).digest()


def state_digest(
    record: bytes,
    *,
    collection: int,
    revision: int,
    field_ids: Sequence[int],
    sealed: Sequence[bytes],
    sealed_for: UUID | None,
    plain: Mapping[int, str],
    tags: bytes,
) -> bytes:
    """Return the 32-byte digest of a state of `record` (its id); `tags` is their digest.

    `revision` is the number that the state is stored under. Raises `Malformed` for a field named twice, ValueError
    where there is not one envelope for each field.
    """
    items = list(zip(field_ids, sealed, strict=True))
    items.append((PLACE_ITEM, _pair(collection, revision)))
    if sealed_for is not None:
        items.append((SUBJECT_ITEM, sealed_for.bytes))
    if plain:
        items.append((PLAIN_ITEM, _plain_bytes(plain)))
    items.append((TAGS_ITEM, tags))
    return envelope.digest(record, items)


def _plain_bytes(plain: Mapping[int, str]) -> bytes:
    """Return (field u32 | length u32 | UTF-8)*, in the order of the fields."""
    parts: list[bytes] = []
    for number in sorted(plain):
        value = plain[number].encode()
        parts += (_pair(number, len(value)), value)
    return b"".join(parts)
