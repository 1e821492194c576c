"""How fast what is stored is sealed and tagged anew: the engine as the job runs it, beside a load of reads."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple
from uuid import UUID

from keys_reads import reading
from vault.stack import Stack, field
from wellkeep.vault.batch import NewRecord
from wellkeep.vault.declaration import CollectionSpec
from wellkeep.vault.resealing import Resealing, Tier

FIELDS = ("ssn", "family", "phone")
INDEXED = CollectionSpec(
    name="indexed",
    subject="none",
    fields=(
        field("ssn", cls="pii", index="exact", normaliser="digits"),
        field("family", cls="pii", index="exact", normaliser="name"),
        field("phone", cls="pii", index="exact", normaliser="phone"),
    ),
)
SEALED = CollectionSpec(
    name="sealed",
    subject="required",
    fields=tuple(field(f"value{number}") for number in range(10)),
)
_BATCH = 500
_QUIET_SECONDS = 10.0


class Resealed(NamedTuple):
    """What a rotation took, and what it did to the reads beside it."""

    seconds: float
    fields: int
    failed: int
    p99_ratio: float


async def fill_indexed(stack: Stack, count: int) -> None:
    """Make `count` records of three indexed fields."""
    await stack.declare(INDEXED)
    for start in range(0, count, _BATCH):
        rows = [
            NewRecord({"ssn": f"{n:09}", "family": f"family{n % 5000}", "phone": f"+1212{n % 10**7:07}"})
            for n in range(start, min(start + _BATCH, count))
        ]
        await stack.vault.batches.create(stack.integration, "indexed", rows)


async def fill_sealed(stack: Stack, *, patients: int, records: int) -> list[UUID]:
    """Make patients with `records` records of ten sealed fields each; return some of the records."""
    await stack.declare(SEALED)
    some: list[UUID] = []
    people = [(await stack.vault.subjects.create(stack.integration)).id for _ in range(patients)]
    rows = [
        NewRecord({f"value{number}": f"a value of thirty-two characters{number}" for number in range(10)}, subject=one)
        for one in people
        for _ in range(records)
    ]
    for start in range(0, len(rows), _BATCH):
        made = await stack.vault.batches.create(stack.integration, "sealed", rows[start : start + _BATCH])
        some += [one.id for one in made[:20] if one.id is not None]
    return some


async def reseal(stack: Stack, tier: Tier, *, collection: str, some: list[UUID], fields: int) -> Resealed:
    """Rotate a tier of the first tenant beside a load of reads; `fields` is how many are to be sealed or tagged."""
    async with reading(stack, collection, some) as quiet:
        await asyncio.sleep(_QUIET_SECONDS)
    async with reading(stack, collection, some) as beside:
        seconds = await rotate(stack, tier)
    return Resealed(seconds, fields, quiet.failed + beside.failed, beside.p99 / quiet.p99)


async def rotate(stack: Stack, tier: Tier) -> float:
    """Rotate a tier of the first tenant with nobody beside it; return the seconds."""
    engine = Resealing(stack.vault.context, settle_seconds=2.0)
    begun = time.monotonic()
    rotation = await engine.start(stack.administrator, tier)
    ended = await engine.run(stack.tenant, rotation.id)
    if ended.state != "done":
        raise RuntimeError("a rotation did not reach its end")
    return time.monotonic() - begun
