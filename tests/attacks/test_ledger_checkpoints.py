"""The matrix of attacks on a whole ledger: what chain, seals, checkpoints and anchors find, each alone, and what not.

The attacker owns the database. Which construction stands alone is a matter of which keys the attacker has besides: with
the seal key every seal is made anew, with the signing key every checkpoint; what stands outside nobody can change.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from attacks.rechaining import chained
from database import Database
from ledger.grown import ROOT, Grown, grown
from ledger.making import HOST, SEAL_KEY, SetClock, change, prepared, writing
from ledger.signing import SIGNER
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.crypto.merkle import Frontier
from wellkeep.db.connection import Connection
from wellkeep.ledger.checkpoint import Checkpoint
from wellkeep.ledger.cover import cover_root
from wellkeep.ledger.report import What
from wellkeep.ledger.seal import origin

BATCHES = 5
PER_BATCH = 4
SIZE = 1 + BATCHES * PER_BATCH
TABLES = ("log", "entry", "seal", "entry_subject", "checkpoint", "tile", "covered", "outbox")
ROOT_SIZE = 2 + BATCHES  # two logs opened, then a cover a batch

ROWS = "SELECT * FROM ledger.entry WHERE tenant_id = $1 ORDER BY seq"
PUT = "INSERT INTO ledger.entry VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
SEALED = "SELECT size FROM ledger.seal WHERE tenant_id = $1 ORDER BY size"
RESEAL = "UPDATE ledger.seal SET leaf = $3, root = $4, mac = $5 WHERE tenant_id = $1 AND size = $2"
SIGNED = "SELECT size FROM ledger.checkpoint WHERE tenant_id = $1 ORDER BY size"
RESIGN = "UPDATE ledger.checkpoint SET root = $3, signature = $4 WHERE tenant_id = $1 AND size = $2"
PAIRED = "SELECT size FROM ledger.covered WHERE tenant_id = $1"
REPAIR = "UPDATE ledger.covered SET root = $3 WHERE tenant_id = $1 AND size = $2"
MOVE = 'UPDATE ledger.log SET size = $2, leaf = $3, frontier = $4, "time" = $5 WHERE tenant_id = $1'


@dataclass
class Attacker:
    """Owns the database; has the seal key, the signing key, or neither."""

    database: Database
    tenant: UUID
    seals: bool
    signs: bool

    async def rebuild(
        self, edit: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], *, covers: bool = False
    ) -> None:
        """Change the entries and mend everything that follows, as far as the keys go; with `covers` the pairs, too."""
        async with self.database.connect() as connection, connection.transaction():
            rows = edit([dict(row) for row in await connection.fetch(ROWS, self.tenant)])
            leaves = chained(rows)
            await connection.execute("DELETE FROM ledger.entry WHERE tenant_id = $1", self.tenant)
            await connection.executemany(PUT, [tuple(row.values()) for row in rows])
            await self._cut_beyond(connection, len(rows))
            frontier = Frontier()
            frontier.extend(leaves)
            last = rows[-1]
            await connection.execute(MOVE, self.tenant, len(rows), last["leaf"], frontier.hashes, last["time"])
            if self.seals:
                await self._seal(connection, leaves)
            if self.signs:
                await self._sign(connection, leaves)
            for row in await connection.fetch(PAIRED, self.tenant) if covers else ():
                await connection.execute(REPAIR, self.tenant, row["size"], root_of(leaves[: row["size"]]))

    async def _cut_beyond(self, connection: Connection, size: int) -> None:
        for table in ("seal", "checkpoint", "covered"):
            sql = f"DELETE FROM ledger.{table} WHERE tenant_id = $1 AND size > $2"  # noqa: S608 -- ours
            await connection.execute(sql, self.tenant, size)

    async def _seal(self, connection: Connection, leaves: list[bytes]) -> None:
        name = origin(HOST, self.tenant, 1)
        sizes = [row["size"] for row in await connection.fetch(SEALED, self.tenant)]
        if len(leaves) not in sizes:
            sizes.append(len(leaves))
            await connection.execute(
                "INSERT INTO ledger.seal VALUES ($1, 1, $2, $3, $4, $4, $4)",
                *(self.tenant, len(leaves), SEAL_KEY.key_id, bytes(32)),
            )
        for size in sizes:
            leaf, root = leaves[size - 1], root_of(leaves[:size])
            mac = SEAL_KEY.mac(origin=name, size=size, leaf=leaf, root=root)
            await connection.execute(RESEAL, self.tenant, size, leaf, root, mac)

    async def _sign(self, connection: Connection, leaves: list[bytes]) -> None:
        name = origin(HOST, self.tenant, 1)
        for row in await connection.fetch(SIGNED, self.tenant):
            checkpoint = Checkpoint(name, row["size"], root_of(leaves[: row["size"]]))
            signature = SIGNER.signature(checkpoint)
            await connection.execute(RESIGN, self.tenant, row["size"], checkpoint.root, signature)


def root_of(leaves: list[bytes]) -> bytes:
    frontier = Frontier()
    frontier.extend(leaves)
    return frontier.root()


@pytest.fixture
async def made(database: Database, tenant: UUID, tmp_path: Path) -> AsyncIterator[Grown]:
    """Return a ledger whose tenant has five batches, each with a seal and a checkpoint, covered and anchored."""
    async with grown(database, tmp_path) as ledger:
        for _ in range(BATCHES):
            await ledger.grow(tenant, PER_BATCH)
        report = await ledger.verified(anchors=True, remembered=ledger.parts.memory.load())
        assert report.ok, report.bad
        assert (report.covers, report.checkpoints > 2 * BATCHES) == (BATCHES, True)
        yield ledger


def edited(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows[6]["entry"] = rows[6]["entry"].replace(b'"count":1', b'"count":2')
    return rows


def last_edited(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows[-1]["entry"] = rows[-1]["entry"].replace(b'"count":1', b'"count":2')
    return rows


def dropped(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return rows[:6] + rows[7:]


def cut_inside(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return rows[:-2]


def cut_at_a_batch(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return rows[:-PER_BATCH]


Rewrite = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
SEALS_ALONE, CHECKPOINTS_ALONE, CHAIN_ALONE, ALL = (False, True), (True, False), (True, True), (False, False)
"""Which keys the attacker has: the seal key, the signing key. What is not theirs stands alone against them."""


async def place_of(made: Grown, tenant: UUID, *, anchors: bool = False) -> tuple[int, What] | None:
    """Return where the tenant's log does not hold, looking at its own log alone, or at all that stands outside."""
    report = await (made.verified(anchors=True) if anchors else made.verified(tenant=tenant))
    return next(((bad.seq, bad.what) for bad in report.bad if str(tenant) in bad.log), None)


@pytest.mark.parametrize(
    ("rewrite", "keys", "found"),
    [
        (edited, SEALS_ALONE, (5, What.SEAL)),
        (edited, CHECKPOINTS_ALONE, (8, What.CHECKPOINT)),
        (edited, ALL, (5, What.SEAL)),
        (dropped, SEALS_ALONE, (5, What.SEAL)),
        (dropped, CHECKPOINTS_ALONE, (8, What.CHECKPOINT)),
        (cut_inside, SEALS_ALONE, (17, What.UNSEALED)),
        (cut_inside, CHECKPOINTS_ALONE, None),
        (last_edited, SEALS_ALONE, (17, What.SEAL)),
        (last_edited, CHECKPOINTS_ALONE, (20, What.CHECKPOINT)),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
async def test_a_rewrite(
    made: Grown, tenant: UUID, rewrite: Rewrite, keys: tuple[bool, bool], found: tuple[int, What] | None
) -> None:
    """Within one log: `None` is the honest ✗, and what covers it up is what the root log says of that log."""
    attacker = Attacker(made.database, tenant, *keys)
    await attacker.rebuild(rewrite, covers=True)
    assert await place_of(made, tenant) == found
    assert not (await made.verified(anchors=True)).ok, "the root log, which is anchored, vouched for another state"


async def test_all_keys_stolen_and_all_rebuilt(made: Grown, tenant: UUID) -> None:
    """The chain alone finds nothing; the root log does, until it is rebuilt as well; then the anchors do."""
    await Attacker(made.database, tenant, *CHAIN_ALONE).rebuild(edited, covers=True)
    assert await place_of(made, tenant) is None
    report = await made.verified()
    assert [(bad.log, bad.what) for bad in report.bad] == [(ROOT, What.COVER)]
    await Attacker(made.database, PLATFORM_TENANT, *CHAIN_ALONE).rebuild(await covering(made))
    assert (await made.verified()).ok, "the honest ✗: inside the database everything fits again"
    report = await made.verified(anchors=True)
    assert [(bad.log, bad.what) for bad in report.bad] == [(ROOT, What.ANCHOR)]


async def covering(made: Grown) -> Rewrite:
    """Return the rewrite by which the root log vouches for what its tenant's log was made to be."""
    async with made.database.connect() as connection:
        rows = await connection.fetch(
            "SELECT v.cover, l.origin, v.size, v.root FROM ledger.covered AS v "
            "JOIN ledger.log AS l USING (tenant_id, epoch)"
        )
    digests = {row["cover"]: cover_root([Checkpoint(row["origin"], row["size"], row["root"])]).hex() for row in rows}

    def rewrite(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for row in entries:
            if row["event_id"] in digests:
                row["entry"] = re.sub(
                    rb'"digest":"[0-9a-f]{64}"', b'"digest":"%b"' % digests[row["event_id"]].encode(), row["entry"]
                )
        return entries

    return rewrite


async def test_a_tail_cut_off_at_a_batch(made: Grown, tenant: UUID) -> None:
    """Its seals, checkpoints and covers too: nothing in the log tells; the root log does, while it is whole."""
    await Attacker(made.database, tenant, *ALL).rebuild(cut_at_a_batch)
    assert await place_of(made, tenant) is None, "the honest ✗ of chain, seals and checkpoints"
    report = await made.verified()
    assert [(bad.log, bad.seq, bad.what) for bad in report.bad] == [(ROOT, ROOT_SIZE - 1, What.COVER)]
    await Attacker(made.database, PLATFORM_TENANT, *ALL).rebuild(lambda rows: rows[:-1])
    assert (await made.verified()).ok, "the honest ✗: the root log cut off as well"
    report = await made.verified(anchors=True)
    assert [(bad.log, bad.seq, bad.what) for bad in report.bad] == [(ROOT, ROOT_SIZE - 1, What.ANCHOR)]
    report = await made.verified(remembered=made.parts.memory.load())
    assert {(bad.seq, bad.what) for bad in report.bad} == {
        (ROOT_SIZE - 1, What.REMEMBERED),
        (SIZE - PER_BATCH, What.REMEMBERED),
    }, "the file outside the volume"


async def test_what_came_after_the_last_checkpoint_rewritten(made: Grown, tenant: UUID) -> None:
    """Entries that nobody had signed: the seals find it, checkpoints and anchors can't."""
    async with writing(made.database) as writer:
        await writer.append(tenant, prepared(PER_BATCH))
    await Attacker(made.database, tenant, *SEALS_ALONE).rebuild(last_edited)
    assert await place_of(made, tenant) == (SIZE, What.SEAL)
    await Attacker(made.database, tenant, *CHECKPOINTS_ALONE).rebuild(last_edited)
    assert await place_of(made, tenant, anchors=True) is None, "the honest ✗ of checkpoints and anchors"


async def test_an_old_backup_put_back(made: Grown, tenant: UUID) -> None:
    for table in TABLES:
        await change(made.database, f"CREATE TABLE public.{table} AS SELECT * FROM ledger.{table}")  # noqa: S608 -- ours
    await made.grow(tenant, PER_BATCH)
    for table in TABLES:
        await change(made.database, f"DELETE FROM ledger.{table}")  # noqa: S608 -- ours
        await change(made.database, f"INSERT INTO ledger.{table} SELECT * FROM public.{table}")  # noqa: S608 -- ours
    assert (await made.verified()).ok, "the honest ✗: it was true once"
    report = await made.verified(anchors=True)
    assert [(bad.log, bad.what) for bad in report.bad] == [(ROOT, What.ANCHOR)]
    report = await made.verified(remembered=made.parts.memory.load())
    assert {bad.what for bad in report.bad} == {What.REMEMBERED}


async def test_a_whole_tenant_deleted(made: Grown, tenant: UUID) -> None:
    for table in TABLES:
        await change(made.database, f"DELETE FROM ledger.{table} WHERE tenant_id = $1", tenant)  # noqa: S608 -- ours
    assert (await made.verified(tenant=tenant)).ok, "the honest ✗: a log that is not there has nothing wrong with it"
    report = await made.verified()
    assert [(bad.log, bad.seq, bad.what) for bad in report.bad] == [(ROOT, 1, What.LOG_MISSING)]


@pytest.mark.parametrize(
    ("sql", "where", "what"),
    [
        (
            "UPDATE ledger.checkpoint SET signature = sha256(signature) || signature[33:] WHERE size = 9",
            8,
            What.CHECKPOINT,
        ),
        ("UPDATE ledger.checkpoint SET root = sha256(root) WHERE tenant_id = $1 AND size = 9", 8, What.CHECKPOINT),
        ("UPDATE ledger.checkpoint SET size = 90 WHERE tenant_id = $1 AND size = 9", SIZE, What.CHECKPOINT),
        ("UPDATE ledger.covered SET root = sha256(root) WHERE tenant_id = $1 AND size = 9", 8, What.COVER),
        ("UPDATE ledger.covered SET cover = gen_random_uuid() WHERE tenant_id = $1 AND size = 9", 8, What.COVER),
        ("UPDATE ledger.covered SET size = 90 WHERE tenant_id = $1 AND size = 9", SIZE, What.COVER),
    ],
)
async def test_what_was_signed_is_edited(made: Grown, tenant: UUID, sql: str, where: int, what: What) -> None:
    sql = sql.replace("sha256(signature) || signature[33:]", "overlay(signature PLACING sha256(signature) FROM 20)")
    await change(made.database, sql, *[tenant] * ("$1" in sql))
    assert await place_of(made, tenant) == (where, what)
    assert not (await made.verified()).ok


async def test_pairs_of_a_cover_deleted(made: Grown, tenant: UUID) -> None:
    await change(made.database, "DELETE FROM ledger.covered WHERE tenant_id = $1 AND size = 9", tenant)
    report = await made.verified()
    assert [(bad.log, bad.seq, bad.what) for bad in report.bad] == [(ROOT, 3, What.COVER)]


@pytest.mark.parametrize(
    ("sql", "where"),
    [
        (
            "UPDATE ledger.tile SET hashes = overlay(hashes PLACING sha256(root) FROM 1) WHERE level = 0 AND index = 1",
            256,
        ),
        ("UPDATE ledger.tile SET root = sha256(root) WHERE level = 0 AND index = 1", 256),
        ("UPDATE ledger.tile SET index = 7 WHERE level = 0 AND index = 1", 601),
    ],
)
async def test_a_tile_edited(made: Grown, tenant: UUID, sql: str, where: int) -> None:
    await made.grow(tenant, 601 - SIZE)
    assert (await made.verified()).ok
    await change(made.database, sql)
    assert await place_of(made, tenant) == (where, What.TILE)


async def test_a_log_that_is_left_out_of_the_covers(database: Database, tenant: UUID, tmp_path: Path) -> None:
    clock, other = SetClock(), uuid7()
    async with grown(database, tmp_path, clock=clock) as made:
        clock.off = -timedelta(minutes=4, seconds=50)
        await made.grow(tenant, 2)
        await made.parts.writer.append(tenant, prepared(2))
        await made.signed()
        await change(database, "DELETE FROM ledger.checkpoint WHERE tenant_id = $1 AND size > 3", tenant)
        clock.off = timedelta()
        made.never_signed = 1
        assert (await made.verified()).ok, "a deployment at rest is not late"
        await made.grow(other, 1)
        report = await made.verified()
    assert [(bad.seq, bad.what) for bad in report.bad] == [(3, What.UNCOVERED)]


async def test_anchors_of_a_log_that_never_was(made: Grown) -> None:
    [newest] = made.anchored[-1:]
    size_alone = replace(newest, note=None, size=newest.size + 3)
    other_epoch = replace(newest, epoch=2, note=None)
    for strange, name in ((size_alone, ROOT), (other_epoch, f"{ROOT}/2")):
        made.anchored[-1:] = [strange]
        report = await made.verified(anchors=True)
        assert [(bad.log, bad.what) for bad in report.bad] == [(name, What.ANCHOR)]
    made.anchored[-1:] = [replace(newest, note=None)]
    assert (await made.verified(anchors=True)).ok
