"""Every log that grew is signed, remembered outside, and tiled; what a crash left is signed at the start."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID

import pytest

from database import Database
from ledger.making import HOST, change, prepared, writing
from ledger.signing import SIGNER, checkpoint_of, signing, until
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.secrets import Secret
from wellkeep.crypto.errors import BadNote
from wellkeep.findings.grammar import Kind
from wellkeep.ledger import checkpoint as checkpoint_module
from wellkeep.ledger import checkpointer
from wellkeep.ledger.checkpoint import Checkpoint, CheckpointSigner, note, parse, signed_by
from wellkeep.ledger.seal import origin
from wellkeep.ledger.tile_store import TileStore
from wellkeep.ledger.tiles import root_at

_CHECKPOINTS = "SELECT size, root, signature FROM ledger.checkpoint WHERE tenant_id = $1 ORDER BY size"
_LEAVES = "SELECT leaf FROM ledger.entry WHERE tenant_id = $1 ORDER BY seq"
_WAITED = """
SELECT (SELECT min(c."time") FROM ledger.checkpoint AS c WHERE c.tenant_id = e.tenant_id AND c.size > e.seq) - e."time"
  AS waited
FROM ledger.entry AS e WHERE e.tenant_id = $1
"""
_ROOT = "A" * 43 + "="


async def test_a_log_that_grew_is_signed_and_remembered(database: Database, tenant: UUID, tmp_path: Path) -> None:
    async with signing(database, tmp_path) as parts:
        await parts.writer.append(tenant, prepared(3))
        await until(parts.memory.path.exists)
        await parts.writer.append(tenant, prepared(2))
    assert parts.checkpointer.healthy is False
    name = origin(HOST, tenant, 1)
    async with database.connect() as connection:
        stored = await connection.fetch(_CHECKPOINTS, tenant)
        size = await connection.fetchval("SELECT size FROM ledger.log WHERE tenant_id = $1", tenant)
    assert stored[-1]["size"] == size == 6
    for row in stored:
        checkpoint = checkpoint_of(row, name)
        assert SIGNER.verify(note(checkpoint, row["signature"]), origin=name) == checkpoint
        assert not signed_by([SIGNER], checkpoint._replace(size=7), row["signature"])
    remembered = parts.memory.load()
    assert remembered[name] == checkpoint_of(stored[-1], name)
    assert set(remembered) == {name, origin(HOST, PLATFORM_TENANT, 1)}


async def test_each_entry_is_signed_within_moments_while_a_log_grows(
    database: Database, tenant: UUID, tmp_path: Path
) -> None:
    """Within a second on a machine of its own, as the specification says; on one that is shared, not much later."""
    loop, late = asyncio.get_running_loop(), 0.0
    async with signing(database, tmp_path, period=checkpointer.PERIOD_SECONDS) as parts:
        began = loop.time()
        for _ in range(12):
            step = loop.time()
            await parts.writer.append(tenant, prepared(1))
            await asyncio.sleep(0.2)
            late = max(late, loop.time() - step - 0.2)
        took = loop.time() - began
    async with database.connect() as connection:
        waited = [row["waited"].total_seconds() for row in await connection.fetch(_WAITED, tenant)]
        rounds = await connection.fetchval("SELECT count(*) FROM ledger.checkpoint WHERE tenant_id = $1", tenant)
    assert len(waited) == 13
    assert 0 <= max(waited) < 2 + 2 * late, "as late as the machine itself, and not more"
    assert rounds <= took / checkpointer.PERIOD_SECONDS + 3, "one signature for all entries of a round"


async def test_a_note_of_one_log_is_none_of_another(tenant: UUID) -> None:
    one, two = origin(HOST, tenant, 1), origin(HOST, tenant, 2)
    checkpoint = Checkpoint(one, 3, bytes(32))
    signed = note(checkpoint, SIGNER.signature(checkpoint))
    assert SIGNER.verify(signed, origin=one) == checkpoint
    with pytest.raises(BadNote):
        SIGNER.verify(signed, origin=two)
    forged = checkpoint._replace(origin=two)
    with pytest.raises(BadNote):
        SIGNER.verify(note(forged, SIGNER.signature(checkpoint)), origin=two)
    # Signed under the name of one log, and saying another.
    other = SIGNER._signer(one).sign(forged.body())
    with pytest.raises(BadNote):
        SIGNER.verify(other, origin=one)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "a\n1\n",
        "a\n1\nAAAA\n",
        f"a\none\n{_ROOT}\n",
        f"a\n01\n{_ROOT}\n",
        "a\n1\n****\n",
        f"a\n1\n{_ROOT}\nx",
    ],
)
def test_what_is_no_checkpoint_is_refused(body: str) -> None:
    with pytest.raises(BadNote):
        parse(body)


def test_extensions_of_a_checkpoint_are_passed_over() -> None:
    plain = Checkpoint("a/ledger/root", 4, bytes(range(32)))
    assert parse(plain.body() + "extension of others\n") == plain


async def test_what_a_process_that_died_left_is_signed_at_the_start(
    database: Database, tenant: UUID, tmp_path: Path
) -> None:
    async with writing(database) as writer:
        await writer.append(tenant, prepared(3))
    async with signing(database, tmp_path):
        pass
    async with database.connect() as connection:
        assert [row["size"] for row in await connection.fetch(_CHECKPOINTS, tenant)] == [4]


async def test_a_head_that_no_seal_of_ours_covers_is_not_signed(
    database: Database, tenant: UUID, other_tenant: UUID, tmp_path: Path
) -> None:
    async with writing(database) as writer:
        await writer.append(tenant, prepared(3))
        await writer.append(other_tenant, prepared(3))
    await change(database, "DELETE FROM ledger.seal WHERE tenant_id = $1", tenant)
    await change(database, "UPDATE ledger.log SET frontier = '{}' WHERE tenant_id = $1", other_tenant)
    async with signing(database, tmp_path) as parts:
        assert await parts.checkpointer.sign_now()
    assert parts.reports.kinds[:2] == [Kind.LEDGER_BROKEN, Kind.LEDGER_BROKEN]
    async with database.connect() as connection:
        assert await connection.fetch(_CHECKPOINTS, tenant) == []
        assert await connection.fetch(_CHECKPOINTS, other_tenant) == []


async def test_a_checkpoint_that_can_not_be_stored_is_tried_again(
    database: Database, tenant: UUID, tmp_path: Path
) -> None:
    function = "ON FUNCTION ledger.add_checkpoints(ledger.checkpoint_in[])"
    await change(database, f"REVOKE EXECUTE {function} FROM wk_ledger")
    async with signing(database, tmp_path) as parts:
        await parts.writer.append(tenant, prepared(3))
        await until(lambda: not parts.checkpointer.healthy)
        await parts.writer.append(tenant, prepared(1))  # an append waits for no checkpoint
        assert not parts.memory.path.exists()
        await change(database, f"GRANT EXECUTE {function} TO wk_ledger")
        await until(lambda: parts.checkpointer.healthy)
    async with database.connect() as connection:
        assert [row["size"] for row in await connection.fetch(_CHECKPOINTS, tenant)] == [5]


async def test_what_a_process_that_died_left_is_signed_by_one_that_runs(
    database: Database, tenant: UUID, tmp_path: Path
) -> None:
    """A command that was killed, or a commit whose answer was lost: nobody told the checkpointer."""
    async with signing(database, tmp_path, catch_up=0.2) as parts:
        assert await parts.checkpointer.sign_now()
        async with writing(database) as writer:
            await writer.append(tenant, prepared(3))
        name = origin(HOST, tenant, 1)
        await until(lambda: name in parts.memory.load())
        assert parts.memory.load()[name].size == 4
        async with database.connect() as connection:
            assert [row["size"] for row in await connection.fetch(_CHECKPOINTS, tenant)] == [4]


async def crashed_before_it_remembered(database: Database, tenant: UUID, folder: Path) -> None:
    """Leave a log of three entries, signed and stored, of which the file remembers two."""
    async with signing(database, folder) as parts:
        await parts.writer.append(tenant, prepared(1))
        assert await parts.checkpointer.sign_now()
        before = parts.memory.path.read_bytes()
        await parts.writer.append(tenant, prepared(1))
    parts.memory.path.write_bytes(before)


async def test_what_a_crash_kept_from_being_remembered_is_remembered_at_the_start(
    database: Database, tenant: UUID, tmp_path: Path
) -> None:
    await crashed_before_it_remembered(database, tenant, tmp_path)
    async with signing(database, tmp_path) as again:
        assert await again.checkpointer.sign_now()
        assert again.memory.load()[origin(HOST, tenant, 1)].size == 3
        signed = again.memory.path.read_bytes()
    assert again.memory.path.read_bytes() == signed, "what is remembered is not written again"
    assert again.reports.kinds == []


async def test_what_is_not_remembered_is_not_believed_without_our_seal(
    database: Database, tenant: UUID, tmp_path: Path
) -> None:
    await crashed_before_it_remembered(database, tenant, tmp_path)
    await change(database, "UPDATE ledger.seal SET mac = sha256(mac) WHERE tenant_id = $1", tenant)
    async with signing(database, tmp_path) as again:
        assert await again.checkpointer.sign_now()
    assert again.memory.load()[origin(HOST, tenant, 1)].size == 2
    assert again.reports.details == [{"what": "head", "size": 3}]


async def test_a_tile_that_can_not_be_stored_keeps_nothing_from_being_remembered(
    database: Database, tenant: UUID, tmp_path: Path
) -> None:
    function = "ON FUNCTION ledger.add_tiles(ledger.tile_in[])"
    await change(database, f"REVOKE EXECUTE {function} FROM wk_ledger")
    async with signing(database, tmp_path) as parts:
        await parts.writer.append(tenant, prepared(256))
        await until(lambda: not parts.checkpointer.healthy)
        assert parts.memory.load()[origin(HOST, tenant, 1)].size == 257
        await change(database, f"GRANT EXECUTE {function} TO wk_ledger")
        await until(lambda: parts.checkpointer.healthy)
    async with database.connect() as connection:
        assert await connection.fetchval("SELECT count(*) FROM ledger.tile") == 1


async def test_full_tiles_are_kept_and_lead_to_the_root(database: Database, tenant: UUID, tmp_path: Path) -> None:
    async with signing(database, tmp_path) as parts:
        for _ in range(3):
            await parts.writer.append(tenant, prepared(250))
            await parts.checkpointer.sign_now()
    async with database.connect() as connection:
        leaves = [row["leaf"] for row in await connection.fetch(_LEAVES, tenant)]
        tiles = await connection.fetch("SELECT level, index, hashes FROM ledger.tile ORDER BY level, index")
        last = (await connection.fetch(_CHECKPOINTS, tenant))[-1]
    assert [(row["level"], row["index"]) for row in tiles] == [(0, 0), (0, 1)]
    assert b"".join(row["hashes"] for row in tiles) == b"".join(leaves[:512])
    async with database.connect("wk_ledger") as connection:
        store = TileStore(connection, tenant=tenant, epoch=1)
        assert await root_at(store, 751) == last["root"]
        assert await store.grow(751) == 0


async def test_a_tile_of_tiles_is_made_of_their_roots(database: Database, tenant: UUID) -> None:
    """65,536 entries make one: here the tiles below are put there, not the entries."""
    rows = [(tenant, 1, 0, number, bytes([number]) * 8192, bytes([number]) * 32) for number in range(256)]
    async with database.connect("wk_ledger") as connection:
        await connection.execute("SELECT ledger.add_tiles($1)", rows)
        store = TileStore(connection, tenant=tenant, epoch=1)
        assert await store.grow(65_536) == 1
        assert await store.tile(1, 0) == b"".join(row[5] for row in rows)
        assert await store.grow(65_536 + 256) == 0  # leaves that are not there make no tile
        assert await store.tile(0, 256) is None


async def test_what_is_kept_of_a_pruned_tile_stands_in_for_its_entries(database: Database, tenant: UUID) -> None:
    kept = bytes(range(256)) * 8
    async with database.connect("wk_ledger") as connection:
        await connection.execute("SELECT ledger.add_tiles($1)", [(tenant, 1, 0, 1, kept, None)])
        store = TileStore(connection, tenant=tenant, epoch=1)
        assert await store.tile(0, 1) is None
        assert b"".join(await store.leaves(258, 260)) == kept[64:128]


async def test_a_cancelled_round_forgets_nothing(database: Database, tenant: UUID, tmp_path: Path) -> None:
    async with signing(database, tmp_path) as parts:
        async with database.connect() as connection, connection.transaction():
            await connection.execute("LOCK TABLE ledger.checkpoint IN ACCESS EXCLUSIVE MODE")
            await parts.writer.append(tenant, prepared(1))
            await asyncio.sleep(0.3)
            task = parts.checkpointer._task
            assert task is not None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert await parts.checkpointer.sign_now()
    async with database.connect() as connection:
        assert [row["size"] for row in await connection.fetch(_CHECKPOINTS, tenant)] == [2]


async def test_many_logs_are_signed_in_one_round(database: Database, tmp_path: Path) -> None:
    """Those of a process that died: more than are signed without giving way to others."""
    tenants = [uuid7() for _ in range(17)]
    async with writing(database) as writer:
        await asyncio.gather(*(writer.append(each, prepared(1)) for each in tenants))
    async with signing(database, tmp_path) as parts:
        assert await parts.checkpointer.sign_now()
        await parts.checkpointer.stop()
        assert not parts.checkpointer.healthy
        await parts.checkpointer.stop()  # there is nothing to stop, and nothing is signed twice
    async with database.connect() as connection:
        assert await connection.fetchval("SELECT count(*) FROM ledger.checkpoint") == len(tenants) + 1


async def test_tiles_are_made_of_more_logs_than_are_kept_in_mind(
    database: Database, tenant: UUID, other_tenant: UUID, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpointer, "_LOGS_KEPT", 1)
    async with signing(database, tmp_path) as parts:
        for of in (tenant, other_tenant, tenant):
            await parts.writer.append(of, prepared(256))
            assert await parts.checkpointer.sign_now()
        assert len(parts.checkpointer._tiled) == 1
    async with database.connect() as connection:
        tiles = await connection.fetch("SELECT tenant_id, count(*) FROM ledger.tile GROUP BY tenant_id")
    assert {row["tenant_id"]: row["count"] for row in tiles} == {tenant: 2, other_tenant: 1}


def test_a_signer_of_more_logs_than_it_keeps_in_mind_signs_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_module, "_NAMES_KEPT", 1)
    signer = CheckpointSigner(Secret(b"s" * 32))
    for of in ("a/ledger/root", "b/ledger/root", "a/ledger/root"):
        one = Checkpoint(of, 4, bytes(32))
        assert signed_by([SIGNER], one, signer.signature(one))
        assert len(signer._signers) == 1


@pytest.mark.parametrize("turns", range(6))
async def test_it_ends_in_whichever_turn_of_the_loop_a_log_grew_last(
    database: Database, tenant: UUID, tmp_path: Path, turns: int
) -> None:
    """What is told to end while it is being woken ends as well: a server's stop waits for it."""
    async with signing(database, tmp_path) as parts:
        await parts.writer.append(tenant, prepared(1))
        await until(parts.memory.path.exists)
        await asyncio.sleep(0.2)  # the next round is waited for now
        parts.checkpointer.grown(())
        for _ in range(turns):
            await asyncio.sleep(0)
        ending = asyncio.create_task(parts.checkpointer.stop())
        assert await asyncio.wait({ending}, timeout=20) == ({ending}, set())
    assert not parts.checkpointer.healthy
