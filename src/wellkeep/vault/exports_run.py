"""The job that runs an export: page after page as its caller, each named in the ledger before it is opened.

Rules: the caller's permission and the groups it sees are decided anew at each run, and a run that sees others than the
one before it stops, for the groups of an export are those of all its parts; a page's part, its names and the
checkpoint commit together, so a run that was killed goes on behind the last part that is whole; a run that lost the
export stops. An external id that a record lacks is written as the record's own id. Who does not see identifiers is
given no external id, and no whole resource, which holds it: neither is opened, and both are named as withheld.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

import msgspec

from wellkeep.base.errors import Conflict, Forbidden, IntegrityBroken, SubjectErased, Unavailable, WellkeepError
from wellkeep.base.ids import uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.turns import give_way
from wellkeep.db.pool import Pool
from wellkeep.db.queue import Interrupted, QueuedJob, Stopping
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.gate.acts import Act, Decision
from wellkeep.gate.events import Facts
from wellkeep.gate.receipt import Receipt
from wellkeep.gate.transaction import GateTransaction
from wellkeep.keys.tenant import TenantKeys
from wellkeep.ledger.event import Action
from wellkeep.vault import blobs, exports_table
from wellkeep.vault.calls import SearchRecords
from wellkeep.vault.context import Context
from wellkeep.vault.csv_source import EXTERNAL_ID as NAME_OF_EXTERNAL_ID
from wellkeep.vault.definition import EXTERNAL_ID, IDENTIFIER, LONGEST_STRING, Collection, Field
from wellkeep.vault.exports_format import Opened, payload, write
from wellkeep.vault.exports_table import ExportRow
from wellkeep.vault.imports_batch import added, payload_digest
from wellkeep.vault.imports_plan import ROWS_BEFORE_YIELD
from wellkeep.vault.stored import Stored, open_fields, stored
from wellkeep.vault.templates import RESOURCE_FIELD

PAGE = 500
"""Records of one part: what one entry, or a few with one request id, can name."""

_PART_BYTES = blobs.MAX_PART // 2
"""Of ciphertext: written as text, with its names, it may grow."""

_EXTERNAL = Field(
    id=EXTERNAL_ID,
    name=NAME_OF_EXTERNAL_ID,
    type="string",
    field_class="phi",
    group=IDENTIFIER,
    max_length=LONGEST_STRING,
)


class ExportRunner:
    """Runs queued exports; a handler of the worker."""

    def __init__(self, *, context: Context, pool: Pool) -> None:
        """`pool` is wk_app's."""
        self._context = context
        self._pool = pool

    async def __call__(self, job: QueuedJob, stopping: Stopping) -> None:
        """Run the export that `job` names, from its checkpoint; `Unavailable` and `Interrupted` ask to be run again."""
        if job.resource is None:
            return
        runner, now = uuid7(), self._context.clock.now()
        async with self._pool.tenant_transaction(tenant=job.tenant) as connection:
            if not await exports_table.claim(connection, job.resource, runner=runner, now=now):
                return
            row = await exports_table.by_id(connection, job.resource)
        try:
            await self._run(job.tenant, row, runner, stopping)
        except Unavailable:
            raise
        except WellkeepError as refused:
            async with self._pool.tenant_transaction(tenant=job.tenant) as connection:
                await exports_table.to_end(
                    connection,
                    row.id,
                    runner=runner,
                    state="failed",
                    error=refused.code,
                    now=self._context.clock.now(),
                )

    async def give_up(self, job: QueuedJob, error: str) -> None:
        """Say that the export of `job` failed, with the code `error`, and report it. Raises Unavailable."""
        if job.resource is None:
            return
        async with self._pool.tenant_transaction(tenant=job.tenant) as connection:
            moved = await exports_table.give_up(connection, job.resource, error=error, now=self._context.clock.now())
        if moved:
            self._context.findings.note(
                job.tenant,
                kind=Kind.EXPORT_FAILED,
                severity=Severity.HIGH,
                key=finding_key(Kind.EXPORT_FAILED, job.resource),
                detail={"export": str(job.resource), "error": error},
            )

    async def _run(self, tenant: UUID, row: ExportRow, runner: UUID, stopping: Stopping) -> None:
        context = self._context
        if row.caller.principal.tenant != tenant:
            raise IntegrityBroken  # who asked for it stands in the row, and a row says nothing about other tenants
        act = Act(Permission.EXPORT_RUN, Action.RECORD_EXPORT, "export", str(row.id), collection=row.collection)
        decision = await context.gate.must_reach_all(await context.gate.decide(row.caller, act))
        keys = await context.keys(decision.tenant)
        collection = await context.collection(decision, row.collection)
        page = _Page(decision, keys, collection, row.format)
        if row.parts and page.groups != set(row.field_groups):
            raise Forbidden("Your role no longer sees what it saw when this export began; make another one")
        async with self._pool.tenant_transaction(tenant=decision.tenant) as connection:
            await exports_table.set_groups(connection, row.id, runner=runner, groups=sorted(page.groups))
            writer = await blobs.writer(connection, keys=keys, blob=row.blob_id)
        while states := await self._states(decision, collection, row.after_id):
            if stopping():
                raise Interrupted
            row = await self._part(page, row, runner, states, writer)
        async with context.gate.transaction(decision) as work:
            if not await exports_table.to_end(
                work.connection, row.id, runner=runner, state="done", error=None, now=context.clock.now()
            ):
                raise Conflict
            work.record(count=row.records)

    async def _states(self, decision: Decision, collection: Collection, after: UUID) -> list[Stored]:
        call = SearchRecords(
            credential=decision.caller.principal.credential,
            collection=collection.id,
            first_field=None,
            first_tag=None,
            unique=False,
            more_tags=None,
            subject=None,
            after=after,
            most=PAGE,
        )
        return _fitting(stored(await self._context.gate.read(decision, call)))

    async def _part(
        self, page: _Page, row: ExportRow, runner: UUID, states: list[Stored], writer: blobs.PartWriter
    ) -> ExportRow:
        """Open one page, seal it as the next part and move the checkpoint; returns the row as it then stands."""
        context, decision = self._context, page.decision
        records = [state.id for state in states]
        subjects = sorted({state.subject for state in states if state.subject is not None})
        receipt = await context.gate.disclose(decision, shown=0, **page.facts(records, subjects))
        page.keys = await context.keys_of(page.keys, states)
        opened = await page.open(context, receipt, states)
        data = write(row.format, opened, fields=page.fields, withheld=page.withheld, first=row.parts == 0)
        digest = int.from_bytes(row.digest, "big")
        for record in opened:
            name = str(record.id) if record.external_id is None else record.external_id
            digest = added(digest, payload_digest(page.keys, name, payload(record)))
        part = writer.seal(row.parts, exports_table.names_digest(records, subjects) + data)
        async with context.gate.transaction(decision) as work:
            await _held(work, opened)
            await blobs.put(work.connection, part, tenant=decision.tenant, blob=row.blob_id, n=row.parts)
            moved = await exports_table.advance(
                work.connection,
                row,
                tenant=decision.tenant,
                runner=runner,
                records=records,
                subjects=subjects,
                digest=digest.to_bytes(32, "big"),
                now=context.clock.now(),
            )
            if not moved:
                raise Conflict
            work.record(count=len(records))
        return msgspec.structs.replace(
            row,
            after_id=records[-1],
            parts=row.parts + 1,
            records=row.records + len(records),
            digest=digest.to_bytes(32, "big"),
        )


async def _held(work: GateTransaction, opened: Sequence[Opened]) -> None:
    """Keep whoever a page holds from being erased until it is stored; raises SubjectErased for one who was."""
    people = sorted({record.subject for record in opened if record.subject is not None})
    if not await exports_table.hold_subjects(work.connection, people):
        raise SubjectErased


def _fitting(states: list[Stored]) -> list[Stored]:
    """Return the first of `states` that surely fit one part, at least one."""
    size = 0
    for place, state in enumerate(states):
        size += sum(map(len, state.sealed))
        if place and size > _PART_BYTES:
            return states[:place]
    return states


class _Page:
    """What one run may see, and under which keys."""

    def __init__(self, decision: Decision, keys: TenantKeys, collection: Collection, form: str) -> None:
        declared = collection.definition.fields
        view = collection.view(decision.groups, decision.hidden)
        self.decision = decision
        self.keys = keys
        self.collection = collection
        self.identified = IDENTIFIER in decision.groups
        self.fields = [field for field in declared if field.id in view.fields and (self.identified or not field.whole)]
        self.withheld = [field.name for field in declared if field not in self.fields]
        if form == "fhir":
            self.fields = [field for field in self.fields if field.name == RESOURCE_FIELD]
            if not self.fields:
                raise Forbidden("Your role does not see whole FHIR resources")
        held = declared if any(field.whole for field in self.fields) else self.fields
        self.names = [field.name for field in self.fields]
        self.groups = {field.group for field in held}
        self.seen = {field.id: field for field in self.fields}
        if self.identified:
            self.groups.add(IDENTIFIER)
            self.seen[EXTERNAL_ID] = _EXTERNAL
        else:
            self.withheld.append(NAME_OF_EXTERNAL_ID)

    def facts(self, records: Sequence[UUID], subjects: Sequence[UUID]) -> Facts:
        """Return what the entry of one page says."""
        return Facts(records=tuple(records), subjects=tuple(subjects), fields=tuple(self.names), count=len(records))

    async def open(self, context: Context, receipt: Receipt, states: list[Stored]) -> list[Opened]:
        """Open `states`, whose entry is durable, giving the loop back every so many.

        An erased patient's are left out, on record, as a search leaves them out. Raises IntegrityBroken.
        """
        opened = []
        for place, state in enumerate(states):
            if place % ROWS_BEFORE_YIELD == 0:
                await give_way()
            try:
                values = open_fields(receipt, keys=self.keys, collection=self.collection, state=state, seen=self.seen)
            except (SubjectErased, IntegrityBroken) as error:
                with suppress(SubjectErased):
                    await context.unopened(self.decision, state, error)
                continue
            external = str(values.pop(NAME_OF_EXTERNAL_ID, None) or state.id) if self.identified else None
            opened.append(Opened(state.id, external, state.subject, state.revision, values))
        return opened
