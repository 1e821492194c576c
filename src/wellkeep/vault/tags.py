"""Blind-index tags of a record's values, and of the conditions of a search.

Rules: a tag belongs to one collection, field and index; an external id is field 0, unique, taken byte for byte. A value
that has no normal form in an exact or prefix index gets no tag: it is kept and shown, only not found. In a unique index
it is refused, since "unique" would not hold for it. Unique tags stand first in a row, which is how the database knows
them. While two epochs of the index key live, what is written has the tags of both, so that a unique value is taken in
either; a search asks for both, since a record may have the tags of one of them alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from wellkeep.base.errors import FieldProblem, Validation
from wellkeep.crypto.blind import BlindIndex, IndexKind, query_tokens, tokens
from wellkeep.crypto.errors import CryptoError
from wellkeep.crypto.normalise import normalise
from wellkeep.keys.tenant import TenantKeys
from wellkeep.vault.definition import EXTERNAL_ID, INDEX_KINDS, Field
from wellkeep.vault.values import ValueRefused

Payload = tuple[Field, bytes]

_EXACT_BYTES = "exact/1"
"""The normaliser's name for external ids: none; it only keeps their index key apart."""


class Tag(NamedTuple):
    """One tag and the field it belongs to."""

    field: int
    tag: bytes
    unique: bool


class Condition(NamedTuple):
    """One condition of a search: all its tags must match. A lower `rank` is tried first, being the rarer.

    `tags` are of the newest epoch, `older` the same of the older one while it lives; `words` are what they are of.
    """

    rank: int
    field: int
    unique: bool
    words: tuple[str, ...]
    tags: tuple[bytes, ...]
    older: tuple[bytes, ...]


def external_indexes(keys: TenantKeys, *, collection: int) -> tuple[BlindIndex, ...]:
    """Return the index of a collection's external ids in each live epoch, the newest first, for a batch of them."""
    return keys.index_keys(collection=collection, field=EXTERNAL_ID, index=IndexKind.UNIQUE, normaliser=_EXACT_BYTES)


def external_tags(keys: TenantKeys, *, collection: int, external_id: str) -> list[bytes]:
    """Return the tags of an external id in a collection, the newest epoch's first."""
    return [index.tag(external_id) for index in external_indexes(keys, collection=collection)]


def tags_of(keys: TenantKeys, *, collection: int, payloads: Sequence[Payload], region: str) -> list[Tag]:
    """Return the tags of `payloads`; raises ValueRefused `not-indexable` for a unique value without a normal form."""
    found = []
    for field, payload in payloads:
        if field.index == "none":
            continue
        kind = INDEX_KINDS[field.index]
        normaliser = field.normaliser or ""
        try:
            words = tokens(kind, normalise(normaliser, payload.decode(), region=region))
        except CryptoError:
            if kind is IndexKind.UNIQUE:
                raise ValueRefused("not-indexable", field=field.name) from None
            continue
        indexes = keys.index_keys(collection=collection, field=field.id, index=kind, normaliser=normaliser)
        unique = kind is IndexKind.UNIQUE
        found += [Tag(field.id, index.tag(word), unique) for index in indexes for word in words]
    return found


def index_tags(keys: TenantKeys, *, collection: int, payloads: Sequence[Payload], region: str) -> list[Tag]:
    """Return the tags as `tags_of`; raises Validation with the field's path."""
    try:
        return tags_of(keys, collection=collection, payloads=payloads, region=region)
    except ValueRefused as refused:
        raise Validation(fields=(FieldProblem(f"/fields/{refused.field}", refused.code),)) from None


def condition(keys: TenantKeys, *, collection: int, field: Field, text: str, region: str) -> Condition:
    """Return the condition that `field` equals (or begins with) `text`; raises ValueRefused `not-indexable`."""
    kind = INDEX_KINDS[field.index]
    normaliser = field.normaliser or ""
    try:
        words = query_tokens(kind, normalise(normaliser, text, region=region))
    except CryptoError:
        raise ValueRefused("not-indexable") from None
    ordered = tuple(sorted(words, key=len, reverse=True))
    newest, *olders = (
        tuple(index.tag(word) for word in ordered)
        for index in keys.index_keys(collection=collection, field=field.id, index=kind, normaliser=normaliser)
    )
    older = olders[0] if olders else ()
    return Condition(_rank(kind, normaliser), field.id, kind is IndexKind.UNIQUE, ordered, newest, older)


def _rank(kind: IndexKind, normaliser: str) -> int:
    """Guess how rare a match is, without asking: statistics on tags are kept off on purpose."""
    if kind is IndexKind.UNIQUE:
        return 0
    if kind is IndexKind.PREFIX:
        return 9
    order = ("digits/1", "identifier/1", "email/1", "phone/1", "date/1", "name/1", "text/1")
    return 1 + order.index(normaliser) if normaliser in order else 8


def payload_bytes(payloads: Sequence[Payload], cleared: AbstractSet[int] = frozenset()) -> Iterator[bytes]:
    """Return what tells these payloads, and fields `cleared`, from others, in an order of their own.

    Each part says of which kind it is: a field set to the empty text is not a field that is cleared.
    """
    for field, payload in sorted(payloads, key=lambda item: item[0].id):
        yield b"=" + field.id.to_bytes(4, "big") + payload
    for number in sorted(cleared):
        yield b"-" + number.to_bytes(4, "big")
