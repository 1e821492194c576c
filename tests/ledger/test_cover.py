"""The root log says each minute how far the tenants' logs have come: signed ones alone, each once, and provable."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from database import Database
from ledger.making import HOST, change, prepared, verified, writing
from ledger.signing import SIGNER, Signing, signing
from wellkeep.base.errors import LedgerUnavailable
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.findings.grammar import Kind
from wellkeep.ledger import cover as cover_module
from wellkeep.ledger.checkpoint import Checkpoint
from wellkeep.ledger.cover import cover, cover_root
from wellkeep.ledger.seal import origin

_COVERED = "SELECT tenant_id, epoch, size, root, cover, place FROM ledger.covered ORDER BY cover, place"
_MADE_UP = """
INSERT INTO ledger.checkpoint
SELECT tenant_id, epoch, $2::bigint, root, time, signature FROM ledger.checkpoint WHERE tenant_id = $1 LIMIT 1
"""
_ENTRIES = "SELECT entry FROM ledger.entry WHERE action = 'ledger.covered' ORDER BY seq"


async def covered(parts: Signing) -> int:
    assert await parts.checkpointer.sign_now()
    return await cover(parts.pool, parts.writer, signers=[SIGNER], reporter=parts.reports)


async def test_a_cover_names_what_grew_and_nothing_else(
    database: Database, tenant: UUID, other_tenant: UUID, tmp_path: Path
) -> None:
    async with signing(database, tmp_path) as parts:
        assert await covered(parts) == 0
        await parts.writer.append(tenant, prepared(2))
        await parts.writer.append(other_tenant, prepared(1))
        assert await covered(parts) == 2
        assert await covered(parts) == 0
        await parts.writer.append(tenant, prepared(1))
        assert await covered(parts) == 1
    async with database.connect() as connection:
        rows = await connection.fetch(_COVERED)
        entries = [msgspec.json.decode(row["entry"])["event"] for row in await connection.fetch(_ENTRIES)]
    assert sorted((row["tenant_id"], row["size"]) for row in rows) == sorted(
        [(tenant, 3), (other_tenant, 2), (tenant, 4)]
    )
    for entry in entries:
        under = [row for row in rows if str(row["cover"]) == entry["id"]]
        names = [origin(HOST, row["tenant_id"], row["epoch"]) for row in under]
        assert names == sorted(names)
        assert [row["place"] for row in under] == list(range(entry["count"]))
        checkpoints = [Checkpoint(name, row["size"], row["root"]) for name, row in zip(names, under, strict=True)]
        assert cover_root(checkpoints).hex() == entry["digest"]
    assert (await verified(database)).ok


@pytest.mark.parametrize("size", [4, 99], ids=["within the log", "beyond its end"])
async def test_what_no_key_of_ours_signed_is_not_covered_and_holds_up_nothing(
    database: Database, tenant: UUID, tmp_path: Path, size: int
) -> None:
    """Somebody puts a checkpoint on top of ours: a finding each time, and what we signed is covered."""
    async with signing(database, tmp_path) as parts:
        await parts.writer.append(tenant, prepared(2))
        await parts.checkpointer.sign_now()
        async with writing(database) as writer:  # a process that signs nothing
            await writer.append(tenant, prepared(2))
        await change(database, _MADE_UP, tenant, size)
        assert await cover(parts.pool, parts.writer, signers=[SIGNER], reporter=parts.reports) == 1
        assert await cover(parts.pool, parts.writer, signers=[SIGNER], reporter=parts.reports) == 0
        assert parts.reports.kinds == [Kind.LEDGER_BROKEN] * 2
        assert parts.reports.details == [{"what": "checkpoint", "size": size}] * 2
    async with database.connect() as connection:
        assert [(row["tenant_id"], row["size"]) for row in await connection.fetch(_COVERED)] == [(tenant, 3)]


async def test_what_is_signed_beyond_a_log_s_end_is_not_covered(
    database: Database, tenant: UUID, tmp_path: Path
) -> None:
    """The tail was cut off behind what was signed: what is not there is not vouched for, and a finding tells."""
    async with signing(database, tmp_path) as parts:
        for _ in range(2):
            await parts.writer.append(tenant, prepared(2))
            assert await parts.checkpointer.sign_now()
        await parts.writer.stop()
        await parts.checkpointer.stop()
        await change(database, "UPDATE ledger.log SET size = 3 WHERE tenant_id = $1", tenant)
        await parts.writer.start()
        assert await cover(parts.pool, parts.writer, signers=[SIGNER], reporter=parts.reports) == 1
    assert {"what": "checkpoint", "size": 5} in parts.reports.details
    async with database.connect() as connection:
        assert [row["size"] for row in await connection.fetch(_COVERED)] == [3]


async def test_a_log_full_of_what_is_not_ours_waits_until_it_has_grown(
    database: Database, tenant: UUID, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cover_module, "BELOW", 1)
    async with signing(database, tmp_path) as parts:
        await parts.writer.append(tenant, prepared(2))
        await parts.checkpointer.sign_now()
        for size in (98, 99):
            await change(database, _MADE_UP, tenant, size)
        async with writing(database) as writer:
            await writer.append(tenant, prepared(2))
        await change(database, _MADE_UP, tenant, 4)
        assert await cover(parts.pool, parts.writer, signers=[SIGNER], reporter=parts.reports) == 0
        await parts.writer.append(tenant, prepared(1))
        assert await covered(parts) == 1


async def test_more_logs_than_one_entry_holds_are_covered_all_the_same(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In entries that follow each other: else those that come last by name would wait while the first ones grow."""
    monkeypatch.setattr(cover_module, "MOST", 8)
    monkeypatch.setattr(cover_module, "_AT_ONCE", 3)
    tenants = sorted((uuid7() for _ in range(20)), key=lambda one: one.int)
    async with signing(database, tmp_path) as parts:
        for each in tenants:
            await parts.writer.append(each, prepared(1))
        assert await parts.checkpointer.sign_now()
        for each in tenants[:8]:
            await change(database, "UPDATE ledger.checkpoint SET root = sha256(root) WHERE tenant_id = $1", each)
        assert await cover(parts.pool, parts.writer, signers=[SIGNER], reporter=parts.reports) == 12
        await parts.writer.append(tenants[9], prepared(1))
        assert await covered(parts) == 1
    async with database.connect() as connection:
        rows = await connection.fetch(_COVERED)
        entries = [msgspec.json.decode(row["entry"])["event"] for row in await connection.fetch(_ENTRIES)]
    assert {row["tenant_id"] for row in rows} == set(tenants[8:])
    assert [entry["count"] for entry in entries] == [8, 4, 1]


async def test_one_covers_at_a_time(database: Database, tenant: UUID, tmp_path: Path) -> None:
    async with signing(database, tmp_path) as parts:
        await parts.writer.append(tenant, prepared(2))
        await parts.checkpointer.sign_now()
        async with database.connect("wk_ledger") as connection, connection.transaction():
            assert await connection.fetchval("SELECT ledger.take_cover()")
            assert await covered(parts) == 0
        assert sum(await asyncio.gather(*(covered(parts) for _ in range(4)))) == 1


async def test_a_cover_whose_entry_could_not_be_chained_is_chained_later(
    database: Database, tenant: UUID, tmp_path: Path
) -> None:
    """It died between the commit and the chain: what is covered and the entry are one, all the same."""
    async with signing(database, tmp_path) as parts:
        await parts.writer.append(tenant, prepared(2))
        await parts.checkpointer.sign_now()
        await parts.writer.stop()
        with pytest.raises(LedgerUnavailable):
            await cover(parts.pool, parts.writer, signers=[SIGNER], reporter=parts.reports)
    async with signing(database, tmp_path) as parts:
        await parts.writer.drain_outbox(older_than=0.0)
    async with database.connect() as connection:
        [row] = await connection.fetch(_COVERED)
        [entry] = await connection.fetch(_ENTRIES)
    assert msgspec.json.decode(entry["entry"])["event"]["id"] == str(row["cover"])
    assert row["tenant_id"] == tenant != PLATFORM_TENANT
