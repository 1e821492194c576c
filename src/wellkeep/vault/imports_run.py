"""The job that runs an import: batch after batch as its caller, each with its checkpoint, until the source ends.

Rules: the caller's permission is decided anew at each run and its standing checked with each batch; a run claims the
import under an id of its own, and a run that lost it stops; what passes (a database or ledger that is away) leaves the
import running for the next run, what does not ends it as failed with a code. A batch is at most 500 lines in which no
external id stands twice. A record that a line met without changing it (it holds that already, or a unique value of it)
is entered before the line is counted: the counts tell that it is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from wellkeep.base.errors import Conflict, Forbidden, IntegrityBroken, Unavailable, Validation, WellkeepError
from wellkeep.base.ids import uuid7
from wellkeep.base.permissions import Permission
from wellkeep.db.pool import Pool
from wellkeep.db.queue import Interrupted, QueuedJob, Stopping
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.gate.acts import Act, Decision
from wellkeep.gate.receipt import Receipt
from wellkeep.keys.seals import KeyReplaced
from wellkeep.keys.tenant import TenantKeys
from wellkeep.ledger.event import Action
from wellkeep.vault import blobs, imports_table
from wellkeep.vault.calls import LocateTags
from wellkeep.vault.context import Context
from wellkeep.vault.definition import Collection, SubjectMode
from wellkeep.vault.imports_batch import (
    MOST_ERRORS,
    Checkpoint,
    Counts,
    WriteBatch,
    added,
    error_lines,
    lines_digest,
    rows_digest,
)
from wellkeep.vault.imports_line import Decoded, LineError, Row
from wellkeep.vault.imports_plan import Planner
from wellkeep.vault.imports_seal import Plan
from wellkeep.vault.imports_source import Source
from wellkeep.vault.imports_table import ImportRow
from wellkeep.vault.input import must_see_identifiers
from wellkeep.vault.templates import PATIENTS

BATCH = 500
_BATCH_BYTES = 4 << 20
_MOST_TRIES = BATCH + 4


class _Superseded(Exception):
    """Another run holds the import, or somebody stopped it."""


class ImportRunner:
    """Runs queued imports; a handler of the worker."""

    def __init__(self, *, context: Context, pool: Pool) -> None:
        """`pool` is wk_app's."""
        self._context = context
        self._pool = pool

    async def __call__(self, job: QueuedJob, stopping: Stopping) -> None:
        """Run the import that `job` names, from its checkpoint; `Unavailable` and `Interrupted` ask to be run again."""
        if job.resource is None:
            return
        runner = uuid7()
        async with self._pool.tenant_transaction(tenant=job.tenant) as connection:
            claimed = await imports_table.claim(connection, job.resource, runner=runner, now=self._context.clock.now())
            if not claimed:
                return
            row = await imports_table.by_id(connection, job.resource)
        try:
            await self._run(job.tenant, row, runner, stopping)
        except _Superseded:
            return
        except Unavailable:
            raise
        except WellkeepError as refused:
            await self._fail(job.tenant, row.id, runner, refused)

    async def give_up(self, job: QueuedJob, error: str) -> None:
        """Say that the import of `job` failed, with the code `error`, and report it. Raises Unavailable."""
        if job.resource is None:
            return
        async with self._pool.tenant_transaction(tenant=job.tenant) as connection:
            moved = await imports_table.give_up(connection, job.resource, error=error, now=self._context.clock.now())
        if moved:
            self._context.findings.note(
                job.tenant,
                kind=Kind.IMPORT_FAILED,
                severity=Severity.HIGH,
                key=finding_key(Kind.IMPORT_FAILED, job.resource),
                detail={"import": str(job.resource), "error": error},
            )

    async def _run(self, tenant: UUID, row: ImportRow, runner: UUID, stopping: Stopping) -> None:
        context = self._context
        if row.caller.principal.tenant != tenant:
            raise IntegrityBroken  # who started it stands in the row, and a row says nothing about other tenants
        act = Act(Permission.IMPORT_RUN, Action.RECORD_IMPORT, "import", str(row.id), collection=row.collection)
        decision = await context.gate.must_reach_all(await context.gate.decide(row.caller, act))
        context.forget_collection(decision.tenant, row.collection)
        collection = await context.collection(decision, row.collection)
        keys = await context.keys_for(decision.tenant, collection)
        _must_see_all(decision, collection)
        await must_see_identifiers(context.gate, decision)
        receipt = await context.gate.disclose(decision, shown=0, records=(row.source_id,))
        async with context.opening_blob(decision, row.source_id):
            await self._take(decision, row, runner, keys, collection, receipt, stopping)

    async def _take(
        self,
        decision: Decision,
        row: ImportRow,
        runner: UUID,
        keys: TenantKeys,
        collection: Collection,
        receipt: Receipt,
        stopping: Stopping,
    ) -> None:
        async with self._pool.tenant_transaction(tenant=decision.tenant) as connection:
            reader = await blobs.reader(connection, receipt, keys=keys, blob=row.source_id)
            errors = await blobs.writer(connection, keys=keys, blob=row.errors_id)
        run = _Run(self, row, runner, decision, keys, collection, errors, await self._patients(decision, collection))
        source = Source(pool=self._pool, tenant=decision.tenant, reader=reader, row=row, to=collection)
        await run.all(source, stopping)

    async def _patients(self, decision: Decision, collection: Collection) -> Collection | None:
        if collection.subject is not SubjectMode.REQUIRED:
            return None
        return await self._context.find_collection(decision, PATIENTS)

    async def _fail(self, tenant: UUID, import_id: UUID, runner: UUID, refused: WellkeepError) -> None:
        code = refused.fields[0].code if isinstance(refused, Validation) and refused.fields else refused.code
        async with self._pool.tenant_transaction(tenant=tenant) as connection:
            await imports_table.to_end(
                connection, import_id, runner=runner, state="failed", error=code, now=self._context.clock.now()
            )

    def planner(self, decision: Decision, keys: TenantKeys, to: Collection, patients: Collection | None) -> Planner:
        """Return a planner for one run."""
        return Planner(
            context=self._context, pool=self._pool, decision=decision, keys=keys, collection=to, patients=patients
        )

    @property
    def context(self) -> Context:
        """The vault's surroundings."""
        return self._context


def _must_see_all(decision: Decision, collection: Collection) -> None:
    """Raise Forbidden where a field is withheld: an import replaces records as a whole."""
    if collection.view(decision.groups, decision.hidden).withheld:
        raise Forbidden("Your role does not see all fields of this collection, so it can't import them")


class _Run:
    """One run of one import."""

    def __init__(
        self,
        owner: ImportRunner,
        row: ImportRow,
        runner: UUID,
        decision: Decision,
        keys: TenantKeys,
        collection: Collection,
        errors: blobs.PartWriter,
        patients: Collection | None,
    ) -> None:
        self._owner = owner
        self._row = row
        self._runner = runner
        self._decision = decision
        self._keys = keys
        self._collection = collection
        self._errors = errors
        self._patients = patients
        self._planner = owner.planner(decision, keys, collection, patients)
        self._entered: set[UUID] = set()
        self._at = Checkpoint(row.lines, 0, row.error_parts, row.error_lines, int.from_bytes(row.digest, "big"))

    async def all(self, source: Source, stopping: Stopping) -> None:
        """Take every line of `source`, then end the import."""
        waiting: list[Decoded] = []
        names: set[str] = set()
        size = 0
        async for items in source.decoded():
            for item in items:
                row = item if isinstance(item, Row) else None
                twice = row is not None and row.external_id in names
                if twice or len(waiting) == BATCH or size > _BATCH_BYTES:
                    await self._write(waiting, stopping)
                    waiting, size = [], 0
                    names.clear()
                waiting.append(item)
                if row is not None:
                    names.add(row.external_id)
                    size += len(row.payload)
        if waiting:
            await self._write(waiting, stopping)
        await self._end()

    async def _write(self, items: Sequence[Decoded], stopping: Stopping) -> None:
        if stopping():
            raise Interrupted
        rows = [item for item in items if isinstance(item, Row)]
        broken = [item for item in items if isinstance(item, LineError)]
        refused: set[int] = set()
        suspected: set[int] = set()
        for _ in range(_MOST_TRIES):
            if await self._owner.context.keys(self._decision.tenant) is not self._keys:
                await self._reload()
            try:
                plan = await self._planner.plan(rows, refused=frozenset(refused))
                await self._enter_met(plan.met)
                status, ids = await self._try(plan, items, rows, broken)
            except KeyReplaced:
                await self._owner.context.keyring.renew(self._keys)
                continue
            if status == "ok":
                return
            plan.refund()
            if status == "superseded":
                raise _Superseded
            if status == "stale_collection":
                await self._reload()
                continue
            # Once may be a race with another writer, and planning anew mends it; twice is a clash.
            lines = {plan.lines[record].line for record in ids}
            clashing = [record for record in ids if plan.lines[record].line in suspected]
            refused |= lines & suspected
            suspected |= lines
            await self._enter_clashing([tag for record in clashing for tag in plan.unique[record]], len(clashing))
        raise Conflict

    async def _enter_met(self, met: Mapping[UUID, UUID | None]) -> None:
        new = {record: subject for record, subject in met.items() if record not in self._entered}
        if new:
            people = sorted({subject for subject in new.values() if subject is not None})
            await self._owner.context.gate.disclose(
                self._decision, shown=0, records=tuple(new), subjects=tuple(people), count=len(new)
            )
            self._entered = set(met)

    async def _enter_clashing(self, tags: Sequence[tuple[int, bytes]], count: int) -> None:
        if not count:
            return
        gate, credential = self._owner.context.gate, self._decision.caller.principal.credential
        call = LocateTags(credential, self._collection.id, [field for field, _ in tags], [tag for _, tag in tags])
        met = {row["id"]: row["subject_id"] for row in await gate.read(self._decision, call)}
        people = sorted({subject for subject in met.values() if subject is not None})
        await gate.failed(self._decision, error=Conflict.code, records=tuple(met), subjects=tuple(people), count=count)

    async def _try(
        self, plan: Plan, items: Sequence[Decoded], rows: Sequence[Row], broken: Sequence[LineError]
    ) -> tuple[str, list[UUID]]:
        errors = sorted([*broken, *plan.errors])
        failed = {error.line for error in errors}
        taken = [row for row in rows if row.line not in failed]
        call = self._call(plan, items[-1], errors, taken)
        try:
            answers = await self._owner.context.gate.change(
                self._decision,
                call,
                records=tuple(record for record, _ in plan.digests),
                subjects=tuple(sorted(plan.subjects)),
                count=len(plan.rows),
                digest=rows_digest(plan.digests),
            )
        except KeyReplaced:
            plan.refund()
            raise
        status = str(answers[0]["status"])
        if status == "ok":
            self._at = call.after
        return status, list(answers[0]["refused"] or [])

    def _call(self, plan: Plan, last: Decoded, errors: Sequence[LineError], taken: Sequence[Row]) -> WriteBatch:
        """Return the change that writes `plan` and moves the checkpoint behind `last`."""
        at = self._at
        listed = errors[: max(0, MOST_ERRORS - at.error_lines)]
        part = self._errors.seal(at.error_parts, error_lines(listed)) if listed else None
        after = Checkpoint(
            last.line,
            last.end,
            at.error_parts + (part is not None),
            at.error_lines + len(listed),
            added(at.digest, lines_digest(self._keys, taken)),
        )
        created = len(plan.created)
        return WriteBatch(
            self._decision.caller.principal.credential,
            self._collection.id,
            self._collection.version,
            self._owner.context.clock.now(),
            plan.rows,
            self._row.id,
            self._runner,
            at,
            after,
            Counts(created, len(plan.rows) - created, len(plan.unchanged), len(errors)),
            self._row.errors_id,
            part,
        )

    async def _reload(self) -> None:
        context = self._owner.context
        context.forget_collection(self._decision.tenant, self._row.collection)
        self._collection = await context.collection(self._decision, self._row.collection)
        _must_see_all(self._decision, self._collection)
        self._keys = await context.keys_for(self._decision.tenant, self._collection)
        self._planner = self._owner.planner(self._decision, self._keys, self._collection, self._patients)

    async def _end(self) -> None:
        context = self._owner.context
        async with context.gate.transaction(self._decision) as work:
            ended = await imports_table.to_end(
                work.connection, self._row.id, runner=self._runner, state="done", error=None, now=context.clock.now()
            )
            if not ended:
                raise Conflict
            work.record(count=self._at.line)
