"""Keys for life: how long each rotation takes, what it does to the reads beside it, how soon a revocation bites.

Everything is in one process over one PostgreSQL, as one worker with its jobs is: the engines share the event loop with
the readers. The parts, each at the pace that the jobs have:

- `rewrap_million_s`: a roll of the epoch with a million patients' keys;
- `reencrypt_fields_per_s`: the next key of every patient, beside a load of reads; `failed_requests` is of those reads,
  `read_p99_ratio` theirs of the same load without a rotation;
- `index_300k_s`: the next epoch of the index key, 300,000 records of three indexed fields, nobody beside it;
- `revoked_read_s`: until the last of four workers refuses, after one has learnt of it;
- `kms_calls_ratio`: calls of one process in an hour of constant use, of tenants x purposes x 12.

    make bench NAME=keys
    make bench NAME=keys ARGS="--keys=100000 --records=20000 --patients=200"      quickly
"""
# ruff: noqa: E402 -- the house of the tests is found first

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
from pathlib import Path

# The tests' own `keys` is meant, which this file's name would hide.
sys.path[0] = str(Path(__file__).parent.parent / "tests")
from keys.rotation.rig import rolling

sys.path.insert(0, str(Path(__file__).parent))
from database import Background, Database, Server, launch, scratch_home
from keys_calls import calls_ratio, revoked_read_seconds
from keys_reseal import fill_indexed, fill_sealed, reseal, rotate
from keys_rewrap import fill, rewrap
from vault.stack import open_stack
from wellkeep.api.server import settle
from wellkeep.keys.rewrap_pages import Pace
from wellkeep.vault.resealing import Tier

RECORDS_A_PATIENT = 10
SEALED_FIELDS = 10


async def rewrapped(server: Server, keys: int) -> dict[str, float]:
    """Measure a roll of the epoch."""
    database = await _database(server, "wk_rewrap")
    async with open_stack(database, await database.create_tenant(), await database.create_tenant()) as stack:
        async with rolling(stack) as roller:
            await fill(stack, database, roller, keys)
            seconds = await rewrap(roller, target=2, pace=Pace())
        print(f"{keys:,} keys re-wrapped in {seconds:.1f} s", flush=True)
        found = {
            "revoked_read_s": round(await revoked_read_seconds(stack, database), 3),
            "kms_calls_ratio": round(await calls_ratio(stack), 3),
        }
    return {"rewrap_million_s": round(seconds * 1e6 / keys, 1), **found}


async def resealed(server: Server, *, records: int, patients: int) -> dict[str, float]:
    """Measure sealing and tagging anew, each in a database of its own."""
    database = await _database(server, "wk_reseal")
    async with open_stack(database, await database.create_tenant(), await database.create_tenant()) as stack:
        some = await fill_sealed(stack, patients=patients, records=RECORDS_A_PATIENT)
        fields = patients * RECORDS_A_PATIENT * SEALED_FIELDS
        sealing = await reseal(stack, Tier.SUBJECT, collection="sealed", some=some, fields=fields)
        print(f"{fields:,} fields sealed anew in {sealing.seconds:.1f} s", flush=True)
    database = await _database(server, "wk_index")
    async with open_stack(database, await database.create_tenant(), await database.create_tenant()) as stack:
        await fill_indexed(stack, records)
        indexing = await rotate(stack, Tier.INDEX)
        print(f"{records:,} records tagged anew in {indexing:.1f} s", flush=True)
    return {
        "reencrypt_fields_per_s": round(sealing.fields / sealing.seconds),
        "failed_requests": sealing.failed,
        "read_p99_ratio": round(sealing.p99_ratio, 2),
        "index_300k_s": round(indexing * 300_000 / records, 1),
    }


async def _database(server: Server, name: str) -> Database:
    await server.create(name, server.template)
    return Database(server=server, name=name)


async def run(server: Server, options: argparse.Namespace) -> dict[str, float]:
    """Measure everything, or the one part that was asked for."""
    result: dict[str, float] = {}
    if options.only != "reseal":
        result |= await rewrapped(server, options.keys)
    if options.only != "rewrap":
        result |= await resealed(server, records=options.records, patients=options.patients)
    return result


def main() -> int:
    """Run, print the parts, and the results as one JSON object on the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--patients", type=int, default=2_000)
    parser.add_argument("--only", choices=("rewrap", "reseal"))
    options = parser.parse_args()
    settle()  # as each process of the server does
    background, home = Background(), scratch_home()
    server = launch(home, background)
    try:
        background.run(server.prepare())
        result = asyncio.run(run(server, options))
    finally:
        if server.embedded is not None:
            server.embedded.stop()
        background.close()
        shutil.rmtree(home, ignore_errors=True)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
