"""Promise: the budget of records counts each record that is handed to a caller, once, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from database import Database
from jobs.transfer import Transfer, joined, ndjson
from vault.stack import open_stack
from vault.test_identifiers import VISITS
from wellkeep.base.budget import Short
from wellkeep.base.errors import BudgetExceeded
from wellkeep.base.ids import uuid7
from wellkeep.base.principal import Principal
from wellkeep.db.queue import QueuedJob
from wellkeep.vault import exports_run
from wellkeep.vault.exports import ExportStatus


class Purse:
    """Counts what is spent, of so many records."""

    def __init__(self, records: int = 1_000) -> None:
        """Begin with `records`."""
        self.records = records
        self.spent: list[int] = []

    async def spend(self, principal: Principal, *, records: int, blocks: bool) -> Short | None:  # noqa: ARG002 -- the port's
        """Count them, where they fit."""
        if blocks and sum(self.spent) + records > self.records:
            return Short(7)
        self.spent.append(records)
        return None


@pytest.fixture
async def transfer(database: Database, tenant: UUID, other_tenant: UUID) -> AsyncIterator[Transfer]:
    """Open the house with five visits."""
    async with open_stack(database, tenant, other_tenant) as stack:
        await stack.declare(VISITS)
        opened = Transfer(stack)
        assert (await opened.load(visits(5), "visits", "ndjson")).created == 5
        yield opened


def visits(count: int) -> bytes:
    return ndjson(f'{{"external_id":"v{n}","fields":{{"text":"well"}}}}'.encode() for n in range(count))


def counted(transfer: Transfer, purse: Purse) -> Purse:
    """Have the gate count in `purse`."""
    transfer.stack.gate._budget = purse
    return purse


async def exported(transfer: Transfer) -> ExportStatus:
    caller = transfer.stack.integration
    made = await transfer.exports.create(caller, collection="visits", format="ndjson")
    await transfer.export_runner(QueuedJob(transfer.stack.tenant, uuid7(), "export", made.id, 1), lambda: False)
    return await transfer.exports.read(caller, made.id)


async def test_an_export_counts_where_its_records_leave(transfer: Transfer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not while it is made, for nobody is given anything then; and each time that it is fetched."""
    monkeypatch.setattr(exports_run, "PAGE", 2)
    purse = counted(transfer, Purse())
    made = await exported(transfer)
    assert (made.state, made.done, sum(purse.spent)) == ("done", 5, 0)
    for fetched in (1, 2):
        whole = await joined(await transfer.exports.content(transfer.stack.integration, made.id))
        assert whole.count(b"\n") == 5
        assert sum(purse.spent) == fetched * 5


async def test_an_export_that_does_not_fit_is_refused_before_its_first_byte(
    transfer: Transfer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports_run, "PAGE", 2)
    counted(transfer, Purse(4))
    made = await exported(transfer)
    assert (made.state, made.error) == ("done", None)
    pieces = await transfer.exports.content(transfer.stack.integration, made.id)
    with pytest.raises(BudgetExceeded) as refused:
        await anext(pieces)
    assert refused.value.retry_after == 7
    downloads = await transfer.stack.entries("export.download")
    assert [(row["outcome"], '"budget-exceeded"' in row["text"]) for row in downloads] == [("failed", True)]
    counted(transfer, Purse(5))
    assert (await joined(await transfer.exports.content(transfer.stack.integration, made.id))).count(b"\n") == 5


async def test_what_only_comes_in_costs_nothing(transfer: Transfer) -> None:
    purse, stack = counted(transfer, Purse(0)), transfer.stack
    again = await transfer.load(visits(5) + b"nonsense\n", "visits", "ndjson")
    assert (again.state, again.unchanged, again.failed) == ("done", 5, 1)
    assert len(await transfer.errors(again.id)) == 1
    for outcome in ("unchanged", "updated"):
        fields = {"text": "well" if outcome == "unchanged" else "better"}
        assert (await stack.vault.upserts.put(stack.integration, "visits", "v1", fields)).outcome == outcome
    caller = stack.integration
    first = await stack.vault.records.create(caller, "visits", {"text": "a"}, idempotency_key="k")
    assert await stack.vault.records.create(caller, "visits", {"text": "a"}, idempotency_key="k") == first
    assert sum(purse.spent) == 0


async def test_each_record_that_is_shown_costs_one(transfer: Transfer) -> None:
    purse, search = counted(transfer, Purse()), transfer.stack.vault.search.search
    (record, *_) = (await search(transfer.stack.integration, "visits")).records
    assert purse.spent == [5]
    await transfer.stack.vault.records.read(transfer.stack.integration, "visits", record.id)
    await search(transfer.stack.integration, "visits", limit=2)
    assert purse.spent == [5, 1, 2]
