"""Promise: many processes find what one finds, and say the same of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from random import Random
from uuid import UUID

import pytest

from database import Database
from ledger.grown import Grown, grown
from ledger.making import KEYS, change, prepared
from ledger.signing import SIGNER
from wellkeep.base.ids import uuid7
from wellkeep.base.secrets import Secret
from wellkeep.ledger import verify_log
from wellkeep.ledger.known import Known
from wellkeep.ledger.report import Report
from wellkeep.ledger.verify import verify
from wellkeep.ledger.verify_ranges import Crew, crew_of

SEED = Secret(b"s" * 32)
TAMPERINGS = 200 if "WELLKEEP_SOAK_ROUNDS" in os.environ else 16
_TAMPER = (
    "DELETE FROM ledger.entry WHERE tenant_id = $1 AND seq = $2",
    "UPDATE ledger.entry SET actor = 'root' WHERE tenant_id = $1 AND seq = $2",
    "UPDATE ledger.entry SET leaf = sha256(leaf) WHERE tenant_id = $1 AND seq = $2",
    "UPDATE ledger.entry SET entry = overlay(entry PLACING 'x' FROM 24) WHERE tenant_id = $1 AND seq = $2",
    "UPDATE ledger.entry SET event_id = gen_random_uuid() WHERE tenant_id = $1 AND seq = $2",
    "UPDATE ledger.entry SET seq = 5000 + seq WHERE tenant_id = $1 AND seq >= $2",
    "INSERT INTO ledger.entry_subject VALUES ($1, gen_random_uuid(), 1, $2)",
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
