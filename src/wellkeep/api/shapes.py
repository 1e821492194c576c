"""The bodies of /v1: what is taken and what is given back, as the OpenAPI document shows them.

Rule: every shape refuses unknown keys and bounds every list and string. Values of fields stay raw JSON here (`Raw`):
what they mean is the collection's definition, and the vault checks them against it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from wellkeep.access import tenants
from wellkeep.access.approvals import Approval
from wellkeep.api.problems import Place
from wellkeep.vault import definition
from wellkeep.vault.outcomes import Written

# `$` matches before a newline at the end, too; what follows it does not.
Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,62}$(?!\n)", description="a name of letters, digits and _")]
Target = Annotated[
    str,
    Meta(
        pattern=r"^([a-z][a-z0-9_]{0,62}|@(external_id|patient|subject|ignore))$(?!\n)",
        description="a field's name, or @external_id, @patient, @subject or @ignore",
    ),
]
Fields = Annotated[
    dict[str, msgspec.Raw], Meta(max_length=1000, description="values by field name, as the collection defines them")
]
Cursor = Annotated[str, Meta(max_length=1024, description="signed; where the page before ended")]
Limit = Annotated[int, Meta(ge=1, le=200)]


class Input(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a body may hold; anything else is refused."""


class RecordInput(Input, frozen=True, kw_only=True):
    """A new record."""

    subject: UUID | None = None
    fields: Fields


class RecordChange(Input, frozen=True, kw_only=True):
    """The fields that change; null removes a value."""

    fields: Fields


class Upsert(Input, frozen=True, kw_only=True):
    """What the record with this external id shall be, as a whole."""

    subject: UUID | None = None
    fields: Fields


class SearchInput(Input, frozen=True, kw_only=True):
    """Values to find by blind index; all of them must match. Without any, all records (of `subject`), page by page."""

    where: Annotated[dict[str, msgspec.Raw], Meta(max_length=16)] = {}
    subject: UUID | None = None
    fields: Annotated[list[Name], Meta(max_length=1000)] | None = None
    limit: Limit = 50
    cursor: Cursor | None = None


class BatchInput(Input, frozen=True, kw_only=True):
    """Up to 500 records to create, each for itself."""

    records: Annotated[list[RecordInput], Meta(min_length=1, max_length=500)]


class MergeInput(Input, frozen=True, kw_only=True):
    """The patient who stays."""

    into: UUID


class ImportInput(Input, frozen=True, kw_only=True):
    """An import: where to, in which format, and for CSV which column is which field."""

    collection: Name
    format: Literal["ndjson", "csv", "fhir"]
    map: Annotated[dict[Annotated[str, Meta(max_length=200)], Target], Meta(max_length=1000)] | None = None


class ExportInput(Input, frozen=True, kw_only=True):
    """An export of a whole collection."""

    collection: Name
    format: Literal["ndjson", "csv", "fhir"] = "ndjson"


class TenantInput(Input, frozen=True, kw_only=True):
    """A new tenant."""

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,62}$(?!\n)")]
    kind: Literal["live", "synthetic"] = "live"


class Collection(msgspec.Struct, frozen=True, kw_only=True):
    """A collection. Its version counts its changes and is its entity tag."""

    name: str
    subject: str
    version: int
    fields: list[dict[str, Any]]
    created_at: datetime
    updated_at: datetime


class Collections(msgspec.Struct, frozen=True):
    """All collections of the tenant."""

    collections: list[Collection]


class RecordMade(msgspec.Struct, frozen=True, kw_only=True):
    """What was stored."""

    id: UUID
    subject: UUID | None
    revision: int
    created_at: datetime


class RecordChanged(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored now."""

    id: UUID
    subject: UUID | None
    revision: int
    updated_at: datetime


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A record, opened. `withheld` are the fields that the caller's role does not see."""

    id: UUID
    subject: UUID | None
    revision: int
    fields: dict[str, Any]
    withheld: list[str]
    created_at: datetime
    updated_at: datetime


class Found(msgspec.Struct, frozen=True):
    """One page of what was found; `cursor` is null on the last."""

    records: list[Record]
    cursor: str | None


class BatchOutcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of one record of a batch: 201 with its id, or the code and places of its refusal."""

    status: int
    id: UUID | None = None
    subject: UUID | None = None
    revision: int | None = None
    code: str | None = None
    errors: list[Place] = []


class BatchResult(msgspec.Struct, frozen=True):
    """The outcomes, in the order of the batch."""

    outcomes: list[BatchOutcome]


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A patient: an opaque id, and where it went in a merge."""

    id: UUID
    merged_into: UUID | None
    created_at: datetime


class ApprovalInput(Input, frozen=True, kw_only=True):
    """What the second person decides."""

    decision: Literal["approve", "refuse"]


class Approvals(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for, the newest first."""

    approvals: list[Approval]


class Entries(msgspec.Struct, frozen=True, kw_only=True):
    """One page of ledger entries, newest first; each is the entry's own JSON, `names` is what the actors are called."""

    entries: list[msgspec.Raw]
    cursor: str | None
    names: dict[str, str]


class EntryProof(msgspec.Struct, frozen=True, kw_only=True):
    """That an entry is the leaf `index` of the tree of `size`, whose signed checkpoint is there; bytes in base64."""

    entry: str
    index: int
    size: int
    hashes: list[str]
    checkpoint: str
    vkey: str
    log: str


class RootCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The newest signed checkpoint of the root log."""

    log: str
    size: int
    checkpoint: str
    vkey: str


class CoverProof(msgspec.Struct, frozen=True, kw_only=True):
    """That a checkpoint of the tenant's log is at `place` of the `count` pairs under an entry of the root log.

    `hashes` lead from it to the digest of that entry; `consistency` from it to the newest checkpoint.
    """

    checkpoint: str
    consistency: list[str]
    place: int
    count: int
    hashes: list[str]
    entry: EntryProof


class LedgerCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The newest checkpoint of the tenant's log, the root log's, and how the one stands under the other."""

    log: str
    size: int
    checkpoint: str
    vkey: str
    root: RootCheckpoint
    cover: CoverProof | None


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant."""

    id: UUID
    name: str
    kind: str
    environment: str
    state: str
    created_at: datetime


class TenantMade(msgspec.Struct, frozen=True, kw_only=True):
    """A new tenant."""

    id: UUID
    name: str


class Tenants(msgspec.Struct, frozen=True):
    """All tenants of the deployment."""

    tenants: list[Tenant]


def collection(stored: definition.Collection) -> Collection:
    """Return what is told of a collection; the numbers of its fields stay inside."""
    fields = [
        {name: value for name, value in msgspec.to_builtins(field).items() if name != "id"}
        for field in stored.definition.fields
    ]
    return Collection(
        name=stored.name,
        subject=stored.subject,
        version=stored.version,
        fields=fields,
        created_at=stored.created_at,
        updated_at=stored.updated_at,
    )


def tenant(about: tenants.Tenant) -> Tenant:
    """Return what is told of a tenant; its settings stay inside."""
    return Tenant(
        id=about.id,
        name=about.name,
        kind=about.kind,
        environment=about.environment,
        state=about.state,
        created_at=about.created_at,
    )


def made(written: Written) -> RecordMade:
    """Return what is told of a record that was stored."""
    return RecordMade(id=written.id, subject=written.subject, revision=written.revision, created_at=written.created_at)


def changed(written: Written) -> RecordChanged:
    """Return what is told of a record that was changed."""
    return RecordChanged(
        id=written.id, subject=written.subject, revision=written.revision, updated_at=written.updated_at
    )
