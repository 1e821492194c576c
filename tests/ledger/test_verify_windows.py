"""What is stored beside a log is read a window at a time: all of it is held against the log, and nothing twice."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from database import Database
from ledger.grown import Grown, grown
from ledger.making import SEAL_KEY, change
from wellkeep.base.ids import uuid7
from wellkeep.ledger import verify_log
from wellkeep.ledger.report import Bad, What
from wellkeep.ledger.seal import origin

HOST = "wellkeep.test"


@pytest.fixture
async def made(database: Database, tenant: UUID, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Grown:
    """Return a log of 41 entries in eight batches of five, each signed and covered; a window is of 14."""
    monkeypatch.setattr(verify_log, "CHUNK", 7)
    monkeypatch.setattr(verify_log, "WINDOW", 2)
    async with grown(database, tmp_path) as found:
        for _ in range(8):
            await found.grow(tenant, 5)
    return found


def at(tenant: UUID, seq: int, what: What) -> Bad:
    return Bad(origin(HOST, tenant, 1), seq, what)


async def test_each_window_counts_once(made: Grown, tenant: UUID) -> None:
    report = await made.verified(tenant=tenant)
    assert (report.bad, report.entries, report.seals, report.checkpoints) == ((), 41, 8, 8)
    await change(made.database, "UPDATE ledger.log SET size = 6 WHERE tenant_id = $1", tenant)
    report = await made.verified(tenant=tenant)
    assert (report.bad, report.seals, report.checkpoints) == ((at(tenant, 41, What.HEAD),), 8, 8)


@pytest.mark.parametrize(
    ("table", "size", "seq", "what"),
    [
        ("checkpoint", 42, 41, What.CHECKPOINT),
        ("checkpoint", 1_000_000, 41, What.CHECKPOINT),
        ("covered", 43, 41, What.COVER),
        ("covered", 1_000_000, 41, What.COVER),
        ("seal", 42, 41, What.SEQ),
        ("seal", 1_000_000, 36, What.UNSEALED),
    ],
)
async def test_what_is_said_of_more_than_there_is(
    made: Grown, tenant: UUID, table: str, size: int, seq: int, what: What
) -> None:
    sql = f"UPDATE ledger.{table} SET size = $2 WHERE tenant_id = $1 AND size = 41"  # noqa: S608 -- ours
    await change(made.database, sql, tenant, size)
    assert (await made.verified(tenant=tenant)).bad == (at(tenant, seq, what),)


@pytest.mark.parametrize("size", [6, 21, 41])
async def test_a_checkpoint_without_a_signature_is_none(made: Grown, tenant: UUID, size: int) -> None:
    await change(made.database, "ALTER TABLE ledger.checkpoint ALTER signature DROP NOT NULL")
    sql = "UPDATE ledger.checkpoint SET signature = NULL WHERE tenant_id = $1 AND size = $2"
    await change(made.database, sql, tenant, size)
    assert (await made.verified(tenant=tenant)).bad == (at(tenant, size - 1, What.CHECKPOINT),)


@pytest.mark.parametrize("column", ["key_id", "leaf", "root", "mac"])
@pytest.mark.parametrize("size", [6, 36])
async def test_a_seal_with_nothing_in_a_column(made: Grown, tenant: UUID, column: str, size: int) -> None:
    await change(made.database, f"ALTER TABLE ledger.seal ALTER {column} DROP NOT NULL")
    sql = f"UPDATE ledger.seal SET {column} = NULL WHERE tenant_id = $1 AND size = $2"  # noqa: S608 -- ours
    await change(made.database, sql, tenant, size)
    begin = 0 if size == 6 else size - 5
    assert (await made.verified(tenant=tenant)).bad == (at(tenant, begin, What.SEAL),)


def test_many_macs_are_each_the_mac() -> None:
    name = origin(HOST, uuid7(), 1)
    mac = SEAL_KEY.macs(origin=name)
    for size in (1, 9, 10, 2**53 - 1):
        leaf, root = bytes([size % 251]) * 32, bytes(32)
        assert mac(size, leaf, root) == SEAL_KEY.mac(origin=name, size=size, leaf=leaf, root=root)
