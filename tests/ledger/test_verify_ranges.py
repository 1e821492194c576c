"""Promise: many processes find what one finds, and say the same of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any, cast
from uuid import UUID

import pytest

from database import Database
from ledger.grown import ROOT, Grown, grown
from ledger.making import KEYS, change, prepared
from ledger.signing import SIGNER, Signing
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.secrets import Secret
from wellkeep.ledger import verify_log
from wellkeep.ledger.accounts import Walked
from wellkeep.ledger.known import Known
from wellkeep.ledger.report import Report, State, What
from wellkeep.ledger.splice import Head
from wellkeep.ledger.verify import verify
from wellkeep.ledger.verify_log import Task
from wellkeep.ledger.verify_ranges import Crew, Orders, _joined, crew_of, walk_apart
from wellkeep.ledger.walk import LogWalk

SEED = Secret(b"s" * 32)
NOW = datetime(2026, 5, 4, tzinfo=UTC)
TAMPERINGS = 200 if "WELLKEEP_SOAK_ROUNDS" in os.environ else 16
_TAMPER = (
    "DELETE FROM ledger.entry WHERE tenant_id = $1 AND seq = $2",
    "UPDATE ledger.entry SET actor = 'root' WHERE tenant_id = $1 AND seq = $2",
    "UPDATE ledger.entry SET leaf = sha256(leaf) WHERE tenant_id = $1 AND seq = $2",
    "UPDATE ledger.entry SET entry = overlay(entry PLACING 'x' FROM 24) WHERE tenant_id = $1 AND seq = $2",
    "UPDATE ledger.entry SET event_id = gen_random_uuid() WHERE tenant_id = $1 AND seq = $2",
    "UPDATE ledger.entry SET seq = 5000 + seq WHERE tenant_id = $1 AND seq >= $2",
    "INSERT INTO ledger.entry_subject VALUES ($1, gen_random_uuid(), 1, $2, now())",
    "UPDATE ledger.entry_subject SET \"time\" = now() - interval '1 year' WHERE tenant_id = $1 AND seq >= $2",
    "DELETE FROM ledger.seal WHERE tenant_id = $1 AND size > $2",
    "UPDATE ledger.seal SET root = sha256(root) WHERE tenant_id = $1 AND size > $2",
    "UPDATE ledger.checkpoint SET root = sha256(root) WHERE tenant_id = $1 AND size > $2",
    "UPDATE ledger.covered SET root = sha256(root) WHERE tenant_id = $1 AND size > $2",
    "UPDATE ledger.tile SET root = sha256(root) WHERE tenant_id = $1 AND index >= $2::bigint / 256",
)


TABLES = ("entry", "entry_subject", "seal", "checkpoint", "covered", "tile")
_PUT_BACK = "TRUNCATE ledger.{0}; INSERT INTO ledger.{0} SELECT * FROM public.{0}"


@pytest.fixture
def threads() -> Iterator[Executor]:
    """Threads in the place of processes: what they run is the same, and seen by who measures it."""
    with ThreadPoolExecutor(2) as executor:
        yield executor


async def together(made: Grown, executor: Executor, *, size: int = 60) -> Report:
    crew = Crew(executor, made.database.endpoint("wk_migrate"), KEYS, (SEED,), size)
    known = Known(KEYS, signers=(SIGNER,))
    async with made.database.connect("wk_migrate") as connection:
        return await verify(connection, keys=KEYS, known=known, crew=crew)


@pytest.fixture
async def filled(database: Database, tenant: UUID, tmp_path: Path) -> Grown:
    """Return a ledger of one longer log and a few short ones."""
    async with grown(database, tmp_path) as made:
        for number in range(8):
            await made.parts.writer.append(tenant, prepared(37 + number, subject=None, subjects=(uuid7(), uuid7())))
            await made.grow(uuid7(), 2)
    return made


async def test_the_same_report(filled: Grown, threads: Executor) -> None:
    one, many = await filled.verified(), await together(filled, threads)
    assert one.ok
    assert many == one


async def test_real_processes(filled: Grown) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        assert await together(filled, executor) == await filled.verified()
    endpoint = filled.database.endpoint("wk_migrate")
    async with crew_of(1, endpoint=endpoint, keys=KEYS, seeds=(SEED,)) as none:
        assert none is None
    async with crew_of(2, endpoint=endpoint, keys=KEYS, seeds=(SEED,)) as two:
        assert two is not None


async def test_the_same_first_bad_place(
    filled: Grown, tenant: UUID, threads: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_log, "CHUNK", 64)
    rng = Random(7)  # noqa: S311 -- which tampering is tried, not a secret
    for table in TABLES:
        await change(filled.database, f"CREATE TABLE public.{table} AS SELECT * FROM ledger.{table}")  # noqa: S608 -- ours
    tampered = 0
    for _ in range(TAMPERINGS):
        sql, seq = rng.choice(_TAMPER), rng.randrange(330)
        touched = await change(filled.database, sql, tenant, seq)
        one = await filled.verified()
        many = await together(filled, threads, size=rng.randrange(40, 160))
        assert many == one, (sql, seq)
        tampered += not one.ok
        assert one.ok == touched.endswith(" 0"), (sql, seq)
        for table in TABLES:
            await change(filled.database, _PUT_BACK.format(table))
    assert tampered > TAMPERINGS // 2
    assert (await filled.verified()).ok


async def test_an_empty_ledger_and_a_share_of_nothing(database: Database, threads: Executor) -> None:
    made = Grown(database, parts=cast("Signing", None))
    assert (await together(made, threads)).logs == 0


async def test_progress_of_ranges_adds_up(filled: Grown, tenant: UUID, threads: Executor) -> None:
    told: list[tuple[str, int, int]] = []
    crew = Crew(threads, filled.database.endpoint("wk_migrate"), KEYS, None, 60)
    async with filled.database.connect("wk_migrate") as connection:
        report = await verify(connection, keys=KEYS, crew=crew, progress=lambda *each: told.append(each))
    assert report.ok
    own = [each for each in told if str(tenant) in each[0]]
    assert len(own) > 2
    assert max(own)[1] == max(own)[2]


@pytest.mark.parametrize(("seq", "tiles"), [(20, True), (20, False), (75, True)])
async def test_a_state_that_can_not_be_told_is_no_beginning(
    filled: Grown, tenant: UUID, threads: Executor, seq: int, *, tiles: bool
) -> None:
    """A leaf before a range's beginning, or its last one, is gone; in the tiles too or not: the place is the same."""
    if not tiles:
        await change(filled.database, "DELETE FROM ledger.tile WHERE tenant_id = $1", tenant)
    await change(filled.database, _TAMPER[0], tenant, seq)
    many = await together(filled, threads)
    assert many == await filled.verified()
    assert [(bad.seq, bad.what) for bad in many.bad] == [(seq, What.SEQ)]


def test_a_process_takes_no_name_of_a_snapshot_that_is_none() -> None:
    orders = Orders(("localhost", 1, "d", "u", None, ()), None, "x'; DROP SCHEMA ledger; --", (), None)
    with pytest.raises(ValueError, match="no snapshot"):
        walk_apart(orders, [])


END = State(4, (bytes(32),), bytes(32), NOW)


@pytest.mark.parametrize(
    "made_up",
    [END._replace(leaf=b"l" * 32), END._replace(frontier=(b"f" * 32,)), END._replace(time=NOW.replace(year=2025))],
)
def test_ranges_that_do_not_join_are_not_one_walk(made_up: State) -> None:
    """Each may hold by itself, where the seal key was stolen: the second began in a state that was made up."""
    head = Head(PLATFORM_TENANT, 1, ROOT, 9, bytes(32), NOW, (bytes(32),) * 2)

    def walked(start: State) -> Walked:
        return Walked(LogWalk(head, keys=None, start=start), first=0, begin=start.size, began=start.size)

    def joined(begun: State) -> Walked | None:
        return _joined([(Task(head, upto=4), walked(END)), (Task(head, start=begun), walked(begun))])

    assert joined(END) is not None
    assert joined(made_up) is None


class _Dying:
    """What a worker is to run dies with its process: a memory limit, an operator."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return os._exit, (1,)


async def test_workers_that_die_make_no_report(filled: Grown) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        with pytest.raises(BrokenProcessPool):
            executor.submit(len, cast("Any", _Dying())).result(30)
        with pytest.raises(BrokenProcessPool):
            await together(filled, executor)
