"""What is asked of the long ledger: proofs, searches, and checkpoints of a thousand logs that grow."""

from __future__ import annotations

import asyncio
import random
import resource
import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import asyncpg

from ledger_scale_deployment import BUSY, PATIENTS, SIGNER, Accesses, Deployment, made_up, tenants
from measure import cpu_seconds, median, percentile
from wellkeep.base.purpose import Purpose
from wellkeep.crypto.merkle import verify_inclusion
from wellkeep.ledger.checkpoint import Checkpoint, signed_by
from wellkeep.ledger.search import Filters, search
from wellkeep.ledger.tile_store import TileStore
from wellkeep.ledger.writer import LedgerWriter

GROWING = 1_000
PAGE = 50
_WARM = 40

_NEWEST = """
SELECT l.origin, c.epoch, c.size, c.root, c.signature FROM ledger.checkpoint AS c
JOIN ledger.log AS l ON l.tenant_id = c.tenant_id AND l.epoch = c.epoch
WHERE c.tenant_id = $1 ORDER BY c.epoch DESC, c.size DESC LIMIT 1
"""
_ENTRY = "SELECT leaf FROM ledger.entry WHERE tenant_id = $1 AND epoch = $2 AND seq = $3"
_AGES = """
SELECT extract(epoch FROM c."time" - e."time")::double precision
FROM ledger.checkpoint AS c
JOIN ledger.entry AS e ON e.tenant_id = c.tenant_id AND e.epoch = c.epoch AND e.seq = c.size - 1
WHERE c."time" >= $1 AND c.tenant_id = ANY ($2) AND e."time" >= $1
"""


async def proofs(deployment: Deployment, *, rounds: int) -> dict[str, float]:
    """Return milliseconds of an inclusion proof in the longest log: the first one, and of `rounds` random ones."""
    tenant, chance = tenants()[0], random.Random(0)  # noqa: S311 - which entries
    administrator = await asyncpg.connect(**deployment.server.endpoint().arguments())
    origin, epoch, size, root, signature = await administrator.fetchrow(_NEWEST, tenant)
    checkpoint = Checkpoint(origin, size, root)
    assert signed_by([SIGNER], checkpoint, signature)
    places = [chance.randrange(size) for _ in range(rounds + 1)]
    leaves = [await administrator.fetchval(_ENTRY, tenant, epoch, seq) for seq in places]
    await administrator.close()
    taken = []
    async with deployment.pool("wk_ledger") as pool, pool.connection() as connection:
        store = TileStore(connection, tenant=tenant, epoch=epoch)
        for seq, leaf in zip(places, leaves, strict=True):
            began = time.perf_counter()
            path = await store.inclusion(seq, size)
            verify_inclusion(leaf, index=seq, size=size, proof=path, expected=root)
            taken.append((time.perf_counter() - began) * 1e3)
    return {
        "proof_log_size": size,
        "proof_first_ms": round(taken[0], 2),
        "proof_median_ms": round(median(taken[1:]), 2),
        "proof_ms": round(percentile(taken[1:], 0.95), 2),
    }


async def searches(deployment: Deployment, *, rounds: int) -> dict[str, float]:
    """Return milliseconds of a page of 50, the 95th of a hundred, for each kind of question."""
    since = deployment.clock.now() - timedelta(days=30)
    kinds: dict[str, Callable[[int], Filters]] = {
        "rare": lambda number: Filters(subject=made_up("patient", PATIENTS - 1 - number)),
        "common": lambda number: Filters(subject=made_up("patient", number % BUSY)),
        "merged": lambda number: Filters(subject=made_up("patient", PATIENTS + number % 100)),
        "merged_since": lambda number: Filters(subject=made_up("patient", PATIENTS + number % 100), since=since),
        "actor": lambda number: Filters(actor=str(made_up("actor", number % 300))),
        "actor_since": lambda number: Filters(actor=str(made_up("actor", number % 300)), since=since),
        "btg": lambda _: Filters(purpose=Purpose.BREAK_GLASS),
        "btg_actor": lambda number: Filters(purpose=Purpose.BREAK_GLASS, actor=str(made_up("actor", number % 300))),
    }
    found: dict[str, list[float]] = {}
    entries: dict[str, int] = {}
    async with deployment.pool("wk_app") as pool:
        for number in range(_WARM + rounds):
            for kind, filters in kinds.items():
                async with pool.tenant_transaction(tenant=tenants()[0]) as connection:
                    began = time.perf_counter()
                    page = await search(connection, filters(number), limit=PAGE)
                    entries[kind] = max(entries.get(kind, 0), len(page.entries))
                    if number >= _WARM or not number:
                        found.setdefault(kind, []).append((time.perf_counter() - began) * 1e3)
    assert all(entries.values()), entries
    first = {f"search_{kind}_first_ms": round(taken[0], 2) for kind, taken in found.items()}
    usual = {f"search_{kind}_ms": round(percentile(taken[1:], 0.95), 2) for kind, taken in found.items()}
    worst = max(usual[f"search_{kind}_ms"] for kind in ("rare", "common", "merged"))
    return {"search_subject_first_ms": first["search_merged_first_ms"], **usual, "search_subject_ms": worst}


def _cpu(deployment: Deployment) -> float:
    mine = resource.getrusage(resource.RUSAGE_SELF)
    return mine.ru_utime + mine.ru_stime + cpu_seconds(deployment.postmaster)


async def checkpoints(deployment: Deployment, *, seconds: float) -> dict[str, float]:
    """Return the share of a core that checkpoints of 1,000 growing logs take, and how old an entry gets before one.

    Slices of five seconds with and without a checkpointer take turns, so that the machine's mood is the same in both.
    """
    growing = [made_up("growing", number) for number in range(GROWING)]
    shares: dict[bool, list[float]] = {True: [], False: []}
    ages: list[float] = []
    administrator = await asyncpg.connect(**deployment.server.endpoint().arguments())
    for _ in range(max(round(seconds / 5), 1)):
        for signing in (True, False):
            async with deployment.recording(signing=signing) as (writer, checkpointer):
                await _grow(writer, growing)
                assert await checkpointer.sign_now()
                began = deployment.clock.now()
                before, clock = _cpu(deployment), time.perf_counter()
                for second in range(1, 6):
                    await _grow(writer, growing)
                    await asyncio.sleep(max(clock + second - time.perf_counter(), 0))
                shares[signing].append((_cpu(deployment) - before) / (time.perf_counter() - clock))
            if signing:
                ages += [row[0] for row in await administrator.fetch(_AGES, began, growing)]
            print(f"signing {signing}: {shares[signing][-1]:.3f} of a core", flush=True)
    await administrator.close()
    return {
        "checkpoints": len(ages),
        "checkpoint_seconds": round(percentile(ages, 0.99), 2),
        "growing_core_share": round(median(shares[False]), 3),
        "checkpoint_1000_core_share": round(
            median([ours - without for ours, without in zip(shares[True], shares[False], strict=True)]), 3
        ),
    }


async def _grow(writer: LedgerWriter, growing: list[UUID]) -> None:
    """Append an entry to each log, all of them at once."""
    events = [event for _, event in Accesses(0).take(len(growing))]
    await asyncio.gather(*(writer.append(tenant, [event]) for tenant, event in zip(growing, events, strict=True)))
