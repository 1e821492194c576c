"""Exports: a collection leaves as one sealed blob, part by part, and is opened again for whoever downloads it.

Rules: what may be seen is decided when the export runs, as its caller; each part's records are named by a durable entry
before they are opened, and again before the part is downloaded; who downloads must see every group that is in it, with
a key that stands when the part is fetched; their budget is asked for all records at once, before the first byte; a part
that changed since, or whose names did, is refused. The threat is the quiet way round all field rules: the file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import msgspec

from wellkeep.base.errors import Conflict, FieldProblem, Forbidden, IntegrityBroken, Validation
from wellkeep.base.ids import uuid7
from wellkeep.base.permissions import Permission
from wellkeep.db.queue import enqueue
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.keys.tenant import TenantKeys
from wellkeep.ledger.event import Action
from wellkeep.vault import blobs, exports_table
from wellkeep.vault.context import Context
from wellkeep.vault.definition import Collection
from wellkeep.vault.exports_table import JOB_KIND, ExportRow
from wellkeep.vault.imports_table import FORMATS
from wellkeep.vault.templates import RESOURCE_FIELD

KEPT_DAYS = 7
"""An export is deleted after so many days; it can be made again."""


class ExportStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How an export stands; `digest` is keyed, and equals that of an import of the same records."""

    id: UUID
    collection: str
    format: str
    state: str
    error: str | None
    done: int
    digest: str


class Exports:
    """The exports of all tenants, as the API and the worker use them."""

    def __init__(self, *, context: Context) -> None:
        """Work within `context`."""
        self._context = context

    async def create(
        self,
        caller: Caller,
        *,
        collection: str,
        format: str,  # noqa: A002 - the contract's own word
    ) -> ExportStatus:
        """Queue an export of `collection` as ndjson, csv or fhir. Raises `Validation`, `NotFound`."""
        if format not in FORMATS:
            raise Validation(fields=(FieldProblem("/format", "not-allowed"),))
        export, context = uuid7(), self._context
        decision = await self._decide(caller, Permission.EXPORT_RUN, Action.EXPORT_CREATE, export, collection)
        target = await context.collection(decision, collection)
        if format == "fhir" and RESOURCE_FIELD not in target.by_name:
            raise Validation(
                "This collection keeps no FHIR resources", fields=(FieldProblem("/format", "not-allowed"),)
            )
        return await context.under_keys(
            decision.tenant, lambda keys: self._make(decision, keys, target, export, format)
        )

    async def _make(
        self,
        decision: Decision,
        keys: TenantKeys,
        target: Collection,
        export: UUID,
        format: str,  # noqa: A002 - the contract's own word
    ) -> ExportStatus:
        blob, context = uuid7(), self._context
        now = context.clock.now()
        async with context.gate.transaction(decision) as work:
            await blobs.create(
                work.connection, keys=keys, blob=blob, kind="export", now=now, expires=now + timedelta(days=KEPT_DAYS)
            )
            await exports_table.insert(
                work.connection,
                tenant=decision.tenant,
                id=export,
                collection_id=target.id,
                format=format,
                caller=decision.caller,
                blob=blob,
                now=now,
            )
            await enqueue(work.connection, kind=JOB_KIND, resource=export)
            work.record()
            row = await exports_table.by_id(work.connection, export)
        return status(row)

    async def read(self, caller: Caller, export_id: UUID) -> ExportStatus:
        """Return how the export stands: counts, no PHI."""
        decision = await self._decide(caller, Permission.EXPORT_READ, Action.EXPORT_READ, export_id, None)
        return status(await self._row(decision, export_id))

    async def content(self, caller: Caller, export_id: UUID) -> AsyncIterator[bytes]:
        """Return the content in pieces, each entered in the ledger before it is opened.

        Raises `Conflict` while the export is not done, `Forbidden` where it holds what the caller may not see.
        """
        decision = await self._decide(caller, Permission.EXPORT_READ, Action.EXPORT_DOWNLOAD, export_id, None)
        row = await self._row(decision, export_id)
        if row.state != "done":
            raise Conflict("This export is not done yet")
        if decision.hidden or not decision.groups.issuperset(row.field_groups):
            await self._context.gate.failed(decision, error=Forbidden.code)
            raise Forbidden("This export holds fields that your role does not see")
        return self._pieces(decision, row, await self._context.keys(decision.tenant))

    async def _pieces(self, decision: Decision, row: ExportRow, keys: TenantKeys) -> AsyncIterator[bytes]:
        for n in range(row.parts):
            async with self._context.gate.reading(decision) as connection:
                records, subjects = await exports_table.named(connection, row.id, n=n)
            receipt = await self._context.gate.disclose(
                decision,
                shown=0 if n else row.records,
                records=(row.blob_id, *records),
                subjects=subjects,
                count=len(records),
            )
            async with self._context.opening_blob(decision, row.blob_id):
                async with self._context.gate.reading(decision) as connection:
                    reader = await blobs.reader(connection, receipt, keys=keys, blob=row.blob_id)
                    sealed = await blobs.sealed_part(connection, blob=row.blob_id, n=n)
                data = reader.open(n, sealed)
                if data[: exports_table.NAMES_DIGEST_SIZE] != exports_table.names_digest(records, subjects):
                    raise IntegrityBroken(resource=row.blob_id)
            yield data[exports_table.NAMES_DIGEST_SIZE :]

    async def _row(self, decision: Decision, export_id: UUID) -> ExportRow:
        async with self._context.gate.reading(decision) as connection:
            return await exports_table.by_id(connection, export_id)

    async def _decide(
        self, caller: Caller, permission: Permission, action: Action, export_id: UUID, collection: str | None
    ) -> Decision:
        act = Act(permission, action, "export", str(export_id), collection=collection)
        return await self._context.gate.must_reach_all(await self._context.gate.decide(caller, act))


def status(row: ExportRow) -> ExportStatus:
    """Return what a caller is told of `row`."""
    return ExportStatus(
        id=row.id,
        collection=row.collection,
        format=row.format,
        state=row.state,
        error=row.error,
        done=row.records,
        digest=row.digest.hex(),
    )
