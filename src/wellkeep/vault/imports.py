"""Imports: a file is received in parts, queued, run as its caller, and answered line by line.

    receiving → queued → running → done | failed | stopped        (stopped and failed start again where they were)

Rules: parts are sealed before they are stored, each with its entry, and a part sent twice replaces itself; the parts
that were there at the start are the import: none is taken afterwards, the digest of them all is in the ledger, and each
one's is sealed beside them, so that the run takes no other; what is wrong with a line is told by its number, path and
code; an import that is repeated finds every record by its external id and changes nothing. The threats are PHI in
staging files and error files, and a file that was exchanged between upload and run.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from uuid import UUID

import msgspec

from wellkeep.base.errors import Conflict, FieldProblem, Validation
from wellkeep.base.ids import uuid7
from wellkeep.base.permissions import Permission
from wellkeep.db.connection import Connection
from wellkeep.db.queue import enqueue
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.keys.tenant import TenantKeys
from wellkeep.ledger.event import Action
from wellkeep.vault import blobs, imports_table
from wellkeep.vault.context import Context
from wellkeep.vault.definition import Collection
from wellkeep.vault.idempotency import Request, request
from wellkeep.vault.imports_source import LIST_PART, MAP_PART, MOST_PARTS
from wellkeep.vault.imports_table import FORMATS, JOB_KIND, ImportRow
from wellkeep.vault.input import must_see_identifiers
from wellkeep.vault.templates import names, template

KEPT_DAYS = 30
"""A source and its error file are deleted after so many days."""


class ImportStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How an import stands. `lines` is known when it has ended; `digest` is keyed: equal lines, equal digests."""

    id: UUID
    collection: str
    format: str
    state: str
    error: str | None
    lines: int | None
    done: int
    created: int
    updated: int
    unchanged: int
    failed: int
    digest: str


class Imports:
    """The imports of all tenants, as the API and the worker use them."""

    def __init__(self, *, context: Context) -> None:
        """Work within `context`."""
        self._context = context
        self._gate = context.gate
        self._clock = context.clock

    async def create(
        self,
        caller: Caller,
        *,
        collection: str,
        format: str,  # noqa: A002 - the contract's own word
        mapping: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> ImportStatus:
        """Make an import that receives parts; the same `key` (Idempotency-Key) again returns the one it made.

        `mapping` is column → field for CSV. Raises `Validation`, `NotFound`, `Conflict` where the key was used for
        another collection, format or map, `Forbidden` for who does not see identifiers.
        """
        _check_request(collection, format, mapping)
        import_id = uuid7()
        decision = await self._decide(caller, _act(Action.IMPORT_CREATE, Permission.IMPORT_RUN, import_id, collection))
        await must_see_identifiers(self._gate, decision)
        target = await self._context.collection(decision, collection)
        columns, credential = mapping or {}, caller.principal.credential
        asked = await request(
            await self._context.keys(decision.tenant),
            credential=credential,
            idempotency_key=key,
            parts=(b"import", collection.encode(), format.encode(), msgspec.json.encode(columns, order="sorted")),
        )
        if asked is not None:
            async with self._gate.reading(decision) as connection:
                made = await imports_table.by_key(connection, credential=credential, key_hash=asked.key_hash)
                if made is not None:
                    return _same(made, asked)
        return await self._context.under_keys(
            decision.tenant, lambda keys: self._make(decision, keys, target, format, columns, asked, import_id)
        )

    async def _decide(self, caller: Caller, act: Act) -> Decision:
        """Return the decision about what may be of any patient, whoever asks."""
        return await self._gate.must_reach_all(await self._gate.decide(caller, act))

    async def put_part(self, caller: Caller, import_id: UUID, n: int, data: bytes) -> None:
        """Seal and store part `n` (from 0) of the source; sent again, it replaces itself.

        Raises `Conflict` once the import was started, `TooLarge`, `Validation`, `NotFound`.
        """
        if not 0 <= n < MOST_PARTS:
            raise Validation("A part's number is 0 to 99,999", fields=(FieldProblem("/n", "out-of-range"),))
        decision = await self._decide(caller, _act(Action.IMPORT_CREATE, Permission.IMPORT_RUN, import_id, None))
        keys = await self._context.keys(decision.tenant)
        async with self._gate.transaction(decision) as work:
            row = await imports_table.held(work.connection, import_id)
            if row.state != "receiving":
                raise Conflict("This import has been started; make another one")
            writer = await blobs.writer(work.connection, keys=keys, blob=row.source_id)
            part = writer.seal(n + 1, data)
            await blobs.put(work.connection, part, tenant=decision.tenant, blob=row.source_id, n=n + 1)
            work.record(count=n, digest=part.digest)

    async def start(self, caller: Caller, import_id: UUID) -> ImportStatus:
        """Queue the import, from the beginning or, where it was stopped or failed, from its checkpoint.

        Raises `Conflict` where it waits, runs or is done already, `Validation` where a part is missing.
        """
        decision = await self._decide(caller, _act(Action.IMPORT_CREATE, Permission.IMPORT_RUN, import_id, None))
        keys = await self._context.keys(decision.tenant)
        async with self._gate.transaction(decision) as work:
            row = await imports_table.taken(work.connection, import_id)
            digests = await self._listed(work.connection, row, keys)
            moved = await imports_table.to_queued(
                work.connection, import_id, parts=len(digests), caller=caller, now=self._clock.now()
            )
            if not moved:
                raise Conflict("This import waits, runs or is done already")
            await enqueue(work.connection, kind=JOB_KIND, resource=import_id)
            work.record(count=len(digests), digest=hashlib.sha256(b"".join(digests)).digest())
            row = await imports_table.by_id(work.connection, import_id)
        return status(row)

    async def _listed(self, connection: Connection, row: ImportRow, keys: TenantKeys) -> list[bytes]:
        """Return the digest of each part that was sent; the first start seals them beside the parts."""
        stored = [part for part in await blobs.parts(connection, blob=row.source_id) if part[0] != LIST_PART]
        if len(stored) == 1 or [n for n, _ in stored] != list(range(len(stored))):
            raise Validation(
                "Parts are missing: send each number from 0 on", fields=(FieldProblem("/parts", "required"),)
            )
        digests = [digest for _, digest in stored]
        if row.state == "receiving":
            writer = await blobs.writer(connection, keys=keys, blob=row.source_id)
            part = writer.seal(LIST_PART, b"".join(digests))
            await blobs.put(connection, part, tenant=keys.tenant, blob=row.source_id, n=LIST_PART)
        return digests[MAP_PART + 1 :]

    async def stop(self, caller: Caller, import_id: UUID) -> ImportStatus:
        """Stop the import at its next batch; `start` goes on from there."""
        decision = await self._decide(caller, _act(Action.IMPORT_CREATE, Permission.IMPORT_RUN, import_id, None))
        async with self._gate.transaction(decision) as work:
            await imports_table.by_id(work.connection, import_id)
            if not await imports_table.to_stopped(work.connection, import_id, now=self._clock.now()):
                raise Conflict("This import neither waits nor runs")
            work.record()
            row = await imports_table.by_id(work.connection, import_id)
        return status(row)

    async def read(self, caller: Caller, import_id: UUID) -> ImportStatus:
        """Return how the import stands: counts, no PHI."""
        decision = await self._decide(caller, _act(Action.IMPORT_READ, Permission.IMPORT_READ, import_id, None))
        async with self._gate.reading(decision) as connection:
            return status(await imports_table.by_id(connection, import_id))

    async def errors(self, caller: Caller, import_id: UUID) -> AsyncIterator[bytes]:
        """Return the error file in pieces: NDJSON of {line, path, code}, at most 10,000 lines, on record beforehand."""
        decision = await self._decide(caller, _act(Action.IMPORT_READ, Permission.IMPORT_READ, import_id, None))
        keys = await self._context.keys(decision.tenant)
        async with self._gate.reading(decision) as connection:
            row = await imports_table.by_id(connection, import_id)
        receipt = await self._gate.disclose(
            decision, shown=0, resource_id=str(import_id), records=(row.errors_id,), count=row.error_lines
        )
        async with self._context.opening_blob(decision, row.errors_id), self._gate.reading(decision) as connection:
            reader = await blobs.reader(connection, receipt, keys=keys, blob=row.errors_id)
        return self._pieces(decision, reader, row)

    async def _pieces(self, decision: Decision, reader: blobs.PartReader, row: ImportRow) -> AsyncIterator[bytes]:
        for n in range(row.error_parts):
            async with self._context.opening_blob(decision, row.errors_id):
                async with self._gate.reading(decision) as connection:
                    sealed = await blobs.sealed_part(connection, blob=row.errors_id, n=n)
                data = reader.open(n, sealed)
            yield data

    async def _make(
        self,
        decision: Decision,
        keys: TenantKeys,
        target: Collection,
        format: str,  # noqa: A002 - the contract's own word
        mapping: Mapping[str, str],
        asked: Request | None,
        import_id: UUID,
    ) -> ImportStatus:
        tenant, now = decision.tenant, self._clock.now()
        source, errors, expires = uuid7(), uuid7(), now + timedelta(days=KEPT_DAYS)
        async with self._gate.transaction(decision) as work:
            connection = work.connection
            sealer = await blobs.create(
                connection, keys=keys, blob=source, kind="import_source", now=now, expires=expires
            )
            await blobs.create(connection, keys=keys, blob=errors, kind="import_errors", now=now, expires=expires)
            part = sealer.seal(MAP_PART, msgspec.json.encode(dict(mapping)))
            await blobs.put(connection, part, tenant=tenant, blob=source, n=MAP_PART)
            await imports_table.insert(
                connection,
                tenant=tenant,
                id=import_id,
                collection_id=target.id,
                format=format,
                caller=decision.caller,
                asked=asked,
                source_id=source,
                errors_id=errors,
                now=now,
            )
            work.record()
            row = await imports_table.by_id(connection, import_id)
        return status(row)


def status(row: ImportRow) -> ImportStatus:
    """Return what a caller is told of `row`."""
    ended = row.state == "done"
    return ImportStatus(
        id=row.id,
        collection=row.collection,
        format=row.format,
        state=row.state,
        error=row.error,
        lines=row.lines if ended else None,
        done=row.lines,
        created=row.created,
        updated=row.updated,
        unchanged=row.unchanged,
        failed=row.failed,
        digest=row.digest.hex(),
    )


def _act(action: Action, permission: Permission, import_id: UUID, collection: str | None) -> Act:
    return Act(permission, action, "import", str(import_id), collection=collection)


def _same(made: ImportRow, asked: Request) -> ImportStatus:
    if made.request_mac is None or not hmac.compare_digest(made.request_mac, asked.mac):
        raise Conflict("This Idempotency-Key was used for another import")
    return status(made)


def _check_request(collection: str, format: str, mapping: Mapping[str, str] | None) -> None:  # noqa: A002 - as above
    if format not in FORMATS:
        raise Validation(fields=(FieldProblem("/format", "not-allowed"),))
    if mapping and format != "csv":
        raise Validation("A map of columns belongs to CSV alone", fields=(FieldProblem("/map", "not-allowed"),))
    if format == "fhir" and (collection not in names() or not template(collection).resource):
        raise Validation(
            "FHIR goes into a built-in collection; see `wellkeep collections template`",
            fields=(FieldProblem("/collection", "not-allowed"),),
        )
