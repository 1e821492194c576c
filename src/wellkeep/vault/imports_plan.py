"""From decoded rows to a batch that can be written: what is new, what changed, what is as it was.

Rules: a record is found again by the tag of its external id, and whether anything changed is told by a keyed MAC of its
content, so a repeated import opens nothing and writes nothing; a record stays its patient's, and a row that says
otherwise is an error; what can't be stored is an error of its line, with path and code, and the others go on. Every so
many rows the loop is given back, so requests of others are not kept waiting.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from wellkeep.base.turns import give_way
from wellkeep.db.connection import Record
from wellkeep.db.pool import Pool
from wellkeep.gate.acts import Decision
from wellkeep.keys.seals import KeyReplaced
from wellkeep.keys.tenant import TenantKeys
from wellkeep.vault import imports_subjects
from wellkeep.vault.context import Context
from wellkeep.vault.definition import Collection, SubjectMode
from wellkeep.vault.imports_cells import Cell, CellRefused, Cells
from wellkeep.vault.imports_line import LineError, Row
from wellkeep.vault.imports_seal import Plan, RowSealer
from wellkeep.vault.input import LONGEST_EXTERNAL_ID
from wellkeep.vault.tags import external_indexes

ROWS_BEFORE_YIELD = 4
"""So many rows are sealed, or opened, in one go: whoever reads meanwhile waits for a dozen such turns, not longer."""

_KNOWN = """
SELECT tag, id, subject_id, sealed_for, revision, content_mac FROM vault.import_known($1, $2::bytea[])
"""


class _Prepared(NamedTuple):
    row: Row
    cells: list[Cell]
    external: list[bytes]


class Planner:
    """Plans the batches of one run."""

    def __init__(
        self,
        *,
        context: Context,
        pool: Pool,
        decision: Decision,
        keys: TenantKeys,
        collection: Collection,
        patients: Collection | None,
    ) -> None:
        """Plan for `collection`; `patients` resolves references, None where the tenant has no such collection."""
        self._pool = pool
        self._decision = decision
        self._keys = keys
        self._collection = collection
        self._patients = patients
        self._cells = Cells(keys=keys, collection=collection, region=context.region)

    async def plan(self, rows: Sequence[Row], *, refused: frozenset[int] = frozenset()) -> Plan:
        """Plan `rows`, whose external ids differ; lines in `refused` clashed with what is stored and become errors."""
        plan = Plan()
        prepared = await self._prepared(plan, rows, refused)
        if not prepared:
            return plan
        known, found = await self._look_up(prepared)
        sealer = RowSealer(
            plan, tenant=self._decision.tenant, collection=self._collection, keys=self._keys, found=found
        )
        await sealer.reserve(sum(len(one.cells) + 1 for one in prepared), rows=len(prepared))
        try:
            for place, (row, cells, external) in enumerate(prepared):
                if place % ROWS_BEFORE_YIELD == 0:
                    await give_way()
                await sealer.put(row, cells, external, next((known[tag] for tag in external if tag in known), None))
        except KeyReplaced:
            plan.refund()
            raise
        return plan

    async def _prepared(self, plan: Plan, rows: Sequence[Row], refused: frozenset[int]) -> list[_Prepared]:
        cells_of = self._cells.of
        indexes = external_indexes(self._keys, collection=self._collection.id)
        prepared = []
        for place, row in enumerate(rows):
            if place % ROWS_BEFORE_YIELD == 0:
                await give_way()
            if row.line in refused:
                plan.errors.append(LineError(row.line, row.end, "", "conflict"))
            elif len(row.external_id) > LONGEST_EXTERNAL_ID:
                plan.errors.append(LineError(row.line, row.end, "external_id", "too-long"))
            else:
                try:
                    prepared.append(_Prepared(row, cells_of(row), [index.tag(row.external_id) for index in indexes]))
                except CellRefused as told:
                    plan.errors.append(LineError(row.line, row.end, told.path, told.code))
        return prepared

    async def _look_up(self, prepared: Sequence[_Prepared]) -> tuple[dict[bytes, Record], imports_subjects.Found]:
        rows = [one.row for one in prepared]
        async with self._pool.tenant_transaction(tenant=self._decision.tenant) as connection:
            records = await connection.fetch(
                _KNOWN, self._collection.id, [tag for one in prepared for tag in one.external]
            )
            known = {record["tag"]: record for record in records}
            holders = [record["sealed_for"] for record in records if record["sealed_for"] is not None]
            if self._collection.subject is not SubjectMode.REQUIRED and not holders:
                return known, imports_subjects.Found()
            return known, await imports_subjects.find(
                connection, keys=self._keys, patients=self._patients, rows=rows, holders=holders
            )
