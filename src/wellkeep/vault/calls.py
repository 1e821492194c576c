"""The batched functions of the vault, and the elements that are handed to the gate for them.

Each class is one composite of migration 0006: its fields stand in the order of the type. An element holds ids,
ciphertexts, tags and MACs; nothing that is opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from wellkeep.gate.calls import BatchedSql, Row
from wellkeep.vault import packed

NIL = UUID(int=0)
"""The slot of a unique tag, and where a list of pages begins."""

BULK_ROW, CREATE_IN = "vault.bulk_row", "vault.create_in"
"""The composites whose values are handed over packed."""

_READ = BatchedSql(name="vault.read", sql="SELECT * FROM vault.read_batch($1::vault.read_in[])", kind="read")
_SEARCH = BatchedSql(name="vault.search", sql="SELECT * FROM vault.search_batch($1::vault.search_in[])", kind="read")
_SUBJECT = BatchedSql(
    name="vault.subject", sql="SELECT * FROM vault.subject_batch($1::vault.subject_in[])", kind="read"
)
_LOCATE = BatchedSql(name="vault.locate", sql="SELECT * FROM vault.locate_batch($1::vault.locate_in[])", kind="read")
_COLLECTION = BatchedSql(
    name="vault.collection", sql="SELECT * FROM vault.collection_batch($1::vault.collection_in[])", kind="read"
)
_CREATE = BatchedSql(
    name="vault.create",
    sql="SELECT * FROM vault.create_batch($1::vault.create_in[])",
    kind="write",
    packed=(CREATE_IN,),
)
_CHANGE = BatchedSql(
    name="vault.change",
    sql="SELECT * FROM vault.change_batch($1::vault.change_in[])",
    kind="write",
    quiet=frozenset({"replay", "stale_collection", "stale_key", "stale_seal"}),
)
_BULK = BatchedSql(
    name="vault.bulk",
    sql="SELECT * FROM vault.bulk($1::vault.bulk_in[])",
    kind="write",
    quiet=frozenset({"replay", "stale_collection", "refused"}),
    packed=(BULK_ROW,),
)


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """Read one record: `revision` 0 is the current one; `whole` brings the tags too, for a change."""

    batch: ClassVar[BatchedSql] = _READ
    credential: UUID | None
    collection: int
    record: UUID
    revision: int = 0
    whole: bool = False

    def row(self, token: str) -> Row:
        """Return the composite `vault.read_in`."""
        return (token, self.credential, self.collection, self.record, self.revision, self.whole)


@dataclass(frozen=True, slots=True)
class SearchRecords:
    """Find records: by the tag that drives the search and further tags, by subject, or all of them by id.

    `older` are the same tags, the driving one first, of the older epoch, while two epochs of the index key live.
    """

    batch: ClassVar[BatchedSql] = _SEARCH
    credential: UUID | None
    collection: int
    first_field: int | None
    first_tag: bytes | None
    unique: bool
    more_tags: list[bytes] | None
    subject: UUID | None
    after: UUID
    most: int
    whole: bool = False
    older: tuple[bytes, ...] = ()

    def row(self, token: str) -> Row:
        """Return the composite `vault.search_in`."""
        older = self.older
        slot = NIL if self.unique else self.after
        return (
            *(token, self.credential, self.collection, self.first_field, self.first_tag, slot, self.more_tags),
            *(older[0] if older else None, list(older[1:]) or None),
            *(self.subject, self.after, self.most, self.whole),
        )


@dataclass(frozen=True, slots=True)
class ReadSubject:
    """Read a subject, whom it was merged into, and the keys that new writes for it use."""

    batch: ClassVar[BatchedSql] = _SUBJECT
    credential: UUID | None
    subject: UUID

    def row(self, token: str) -> Row:
        """Return the composite `vault.subject_in`."""
        return (token, self.credential, self.subject)


@dataclass(frozen=True, slots=True)
class LocateTags:
    """Find which unique tags are taken, and by which revision of which record."""

    batch: ClassVar[BatchedSql] = _LOCATE
    credential: UUID | None
    collection: int
    field_ids: list[int]
    tags: list[bytes]

    def row(self, token: str) -> Row:
        """Return the composite `vault.locate_in`."""
        return (token, self.credential, self.collection, self.field_ids, self.tags)


@dataclass(frozen=True, slots=True)
class ReadCollections:
    """Read the collection of that name, or all of them."""

    batch: ClassVar[BatchedSql] = _COLLECTION
    credential: UUID | None
    name: str | None

    def row(self, token: str) -> Row:
        """Return the composite `vault.collection_in`."""
        return (token, self.credential, self.name)


@dataclass(frozen=True, slots=True)
class SealedState:
    """One state of a record as it is stored: envelopes, plain values, tags (the unique ones first), their digest.

    `digest` is that of the whole state; it goes into the ledger and nowhere else.
    """

    field_ids: list[int]
    sealed: list[bytes]
    plain: str | None
    tag_fields: list[int]
    tags: list[bytes]
    unique_tags: int
    content_mac: bytes | None
    tags_digest: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """An Idempotency-Key as it is stored: its hash, the MAC of the request, the sealed answer."""

    key_hash: bytes
    request_mac: bytes
    answer: bytes

    @property
    def columns(self) -> tuple[bytes, bytes, bytes]:
        """Return the three last columns of a write."""
        return (self.key_hash, self.request_mac, self.answer)


NO_CLAIM = (None, None, None)


@dataclass(frozen=True, slots=True)
class KeyUse:
    """Under which key a write seals: `mode` 0 of no patient, 1 a subject's first key, 2 a key that exists."""

    mode: int
    subject: UUID | None = None
    kid: bytes | None = None
    wrapped: bytes | None = None
    wrap_epoch: int | None = None
    lease: bool = False


@dataclass(frozen=True, slots=True)
class CreateRecord:
    """Make one record."""

    batch: ClassVar[BatchedSql] = _CREATE
    credential: UUID | None
    collection: int
    version: int
    record: UUID
    use: KeyUse
    state: SealedState
    at: datetime
    claim: Claim | None

    def row(self, token: str, event_id: UUID, event: bytes) -> Row:
        """Return the composite `vault.create_in`, packed."""
        use, state = self.use, self.state
        return packed.create_row(
            token,
            credential=self.credential,
            event_id=event_id,
            event=event,
            collection=self.collection,
            version=self.version,
            record=self.record,
            keyed=packed.key_columns(use.mode, use.subject, use.kid, use.wrapped, use.wrap_epoch, lease=use.lease),
            state=_packed_state(state),
            at=self.at,
            claim=NO_CLAIM if self.claim is None else self.claim.columns,
        )


@dataclass(frozen=True, slots=True)
class ChangeRecord:
    """Replace the state of one record, if it still is at the revision `expected`; `kid` None seals nothing anew.

    `resealed` is the newest resealing of the state that it was made from, and keeps something of.
    """

    batch: ClassVar[BatchedSql] = _CHANGE
    credential: UUID | None
    collection: int
    version: int
    record: UUID
    expected: int
    resealed: UUID | None
    kid: bytes | None
    lease: bool
    state: SealedState
    at: datetime
    deleted: bool
    claim: Claim | None

    def row(self, token: str, event_id: UUID, event: bytes) -> Row:
        """Return the composite `vault.change_in`."""
        state = self.state
        return (
            *(token, self.credential, event_id, event, self.collection, self.version, self.record),
            *(self.expected, self.resealed, True, self.kid, self.lease),
            *(state.field_ids, state.sealed, state.plain, state.tag_fields, state.tags, state.unique_tags),
            *(state.content_mac, state.tags_digest, self.at, self.deleted),
            *(NO_CLAIM if self.claim is None else self.claim.columns),
        )


@dataclass(frozen=True, slots=True)
class BulkWrite:
    """Write up to 500 rows with one event; `rows` are composites `vault.bulk_row`, packed by `bulk_row`."""

    batch: ClassVar[BatchedSql] = _BULK
    credential: UUID | None
    collection: int
    version: int
    at: datetime
    claim: Claim | None
    rows: list[bytes]

    def row(self, token: str, event_id: UUID, event: bytes) -> Row:
        """Return the composite `vault.bulk_in`."""
        return (
            *(token, self.credential, event_id, event, self.collection, self.version, self.at),
            *(NO_CLAIM if self.claim is None else self.claim.columns),
            self.rows,
        )


def bulk_row(record: UUID, *, expected: int, use: KeyUse, state: SealedState) -> bytes:
    """Return the composite `vault.bulk_row`, packed; `expected` 0 makes the record."""
    keyed = packed.key_columns(use.mode, use.subject, use.kid, use.wrapped, use.wrap_epoch, lease=use.lease)
    return packed.bulk_row(record, expected=expected, keyed=keyed, state=_packed_state(state))


def _packed_state(state: SealedState) -> bytes:
    return packed.state_columns(
        field_ids=tuple(state.field_ids),
        sealed=state.sealed,
        plain=state.plain,
        tag_fields=tuple(state.tag_fields),
        tags=state.tags,
        unique_tags=state.unique_tags,
        content_mac=state.content_mac,
        digest=state.tags_digest,
    )
