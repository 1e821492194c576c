"""CPU of an import per record, sealed, indexed and on record, against a plaintext COPY of the same decoded rows.

Both sides run in this process against the same PostgreSQL, in turn, fresh tables each round, in batches of 500. Ours is
the job as the worker runs it: parts opened, lines read strictly and mapped, references resolved, every field sealed,
tags, entry and checkpoint committed with each batch and the entry chained. The twin is handed the decoded rows and
copies them into one table of text columns with as many index rows a record (primary key, external id, encounter,
subject, time: 5 as ours: record's primary key, subject, event, two tags). `import` counts the decoding of the lines
on both sides, which either import must do; `import_against_copy_alone` counts it on ours alone.
CPU is this process and the postmaster's whole tree, reaped children included.

    make bench NAME=import            the ratio, then all sample lines
    make bench NAME=import ARGS=--rounds=5
"""
# ruff: noqa: E402 -- the house of the tests is found first

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import time
from pathlib import Path
from uuid import UUID

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "tests")]

import asyncpg

from database import Background, Database, Server, launch, scratch_home
from jobs.transfer import Transfer, ndjson, sample_lines, spec
from measure import cpu_seconds, median, own_cpu_seconds
from vault.stack import open_stack
from wellkeep.base.ids import uuid7
from wellkeep.db.connection import Connection
from wellkeep.vault.fhir import FhirMapper
from wellkeep.vault.imports_line import Row
from wellkeep.vault.ndjson_source import Line
from wellkeep.vault.templates import names, template

BATCH = 500
COLUMNS = ("id", "subject", "external_id", "resource", "code", "encounter", "effective", "created_at")
TWIN = """
DROP TABLE IF EXISTS public.plain;
CREATE TABLE public.plain (id uuid PRIMARY KEY, subject uuid, external_id text, resource text, code text,
  encounter text, effective text, created_at timestamptz DEFAULT now());
CREATE UNIQUE INDEX ON public.plain (external_id);
CREATE INDEX ON public.plain (encounter);
CREATE INDEX ON public.plain (subject);
CREATE INDEX ON public.plain (created_at);
"""
EMPTY = """
TRUNCATE vault.record, vault.tag, vault.revision, vault.subject, keys.subject_key, vault.blob, vault.blob_segment,
  vault.import, ledger.log, ledger.entry, ledger.seal, ledger.event_id, ledger.entry_subject, ledger.outbox
"""


def cpu(postmaster: int) -> tuple[float, float]:
    """Return the CPU seconds so far of this process and of PostgreSQL."""
    return own_cpu_seconds(os.getpid()), cpu_seconds(postmaster)


def decoded(lines: list[bytes]) -> list[Row]:
    """Return the rows of FHIR observations."""
    mapper = FhirMapper(template("observations"))
    found = [mapper.row(Line(number, number, line)) for number, line in enumerate(lines, start=1)]
    return [row for row in found if isinstance(row, Row)]


async def copy(connection: Connection, rows: list[Row], people: dict[str, UUID]) -> None:
    """Copy decoded rows in the clear, a transaction each batch."""
    now = (await connection.fetchrow("SELECT now() AS now"))["now"]
    for at in range(0, len(rows), BATCH):
        records = [
            (
                uuid7(),
                people.setdefault(str(row.reference), uuid7()),
                row.external_id,
                row.payload.decode(),
                *(row.fields.get(name) for name in ("code", "encounter", "effective")),
                now,
            )
            for row in rows[at : at + BATCH]
        ]
        await connection.copy_records_to_table("plain", schema_name="public", records=records, columns=COLUMNS)


async def ratios(transfer: Transfer, postmaster: int, samples: Path, *, rounds: int, count: int) -> dict[str, float]:
    """Return the median ratios over rounds, the first of which warms up."""
    lines = sample_lines(samples, "Observation", most=count)
    rows, data, patients = decoded(lines), ndjson(lines), ndjson(sample_lines(samples, "Patient"))
    plain: Connection = await asyncpg.connect(**transfer.stack.database.superuser.arguments())
    against_rows, against_lines = [], []
    for number in range(rounds + 1):
        await transfer.stack.as_superuser(EMPTY)
        transfer.stack.writer._appender._heads.clear()
        assert (await transfer.load(patients, "patients")).failed == 0
        started = await transfer.upload(data, "observations")
        before = cpu(postmaster)
        done = await transfer.run(started.id)
        after = cpu(postmaster)
        assert (done.state, done.created) == ("done", count), done
        ours = [(b - a) / count * 1e6 for a, b in zip(before, after, strict=True)]
        await plain.execute(TWIN)
        before = cpu(postmaster)
        await copy(plain, rows, {})
        middle = cpu(postmaster)
        decoded(lines)
        after = cpu(postmaster)
        twin = [(b - a) / count * 1e6 for a, b in zip(before, middle, strict=True)]
        mapped = (sum(after) - sum(middle)) / count * 1e6
        print(
            f"round {number}: ours {sum(ours):.0f} µs a record (python {ours[0]:.0f}, postgres {ours[1]:.0f}); "
            f"copy {sum(twin):.0f} (python {twin[0]:.0f}, postgres {twin[1]:.0f}), decoding {mapped:.0f}"
        )
        if number:
            against_rows.append(sum(ours) / sum(twin))
            against_lines.append(sum(ours) / (sum(twin) + mapped))
    await plain.close()
    return {"import": round(median(against_lines), 2), "import_against_copy_alone": round(median(against_rows), 2)}


async def everything(transfer: Transfer, samples: Path) -> tuple[int, float]:
    """Import all sample lines and return (lines, seconds of wall time), uploads included."""
    await transfer.stack.as_superuser(EMPTY)
    transfer.stack.writer._appender._heads.clear()
    total, begun = 0, time.monotonic()
    for name in ("patients", "organisations", "practitioners", *names()):
        source = samples / "synthea-r4" / f"{template(name).resource}.ndjson.gz"
        if not source.exists() or (name == "patients" and total):
            continue
        done = await transfer.load(source.read_bytes(), name)
        assert (done.state, done.failed) == ("done", 0), done
        if done.created:
            total += done.created
            print(f"{name}: {done.created:,} lines, {time.monotonic() - begun:.1f} s so far")
    return total, time.monotonic() - begun


async def run(server: Server, database: Database, samples: Path, *, rounds: int, count: int) -> dict[str, float]:
    """Measure in one house."""
    tenant, other = await database.create_tenant(), await database.create_tenant()
    assert server.embedded is not None
    postmaster = server.embedded.pid
    assert postmaster is not None
    async with open_stack(database, tenant, other) as stack:
        await stack.declare(*(spec(name) for name in names()))
        transfer = Transfer(stack)
        result = await ratios(transfer, postmaster, samples, rounds=rounds, count=count)
        lines, seconds = await everything(transfer, samples)
    print(f"{lines:,} lines in {seconds:.1f} s")
    return result | {"lines": lines, "lines_per_s": round(lines / seconds)}


def main() -> int:
    """Run, print the rounds, and the results as one JSON object on the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=10_000)
    options = parser.parse_args()
    samples = Path(os.environ.get("WELLKEEP_SAMPLES") or Path(__file__).parents[2] / "shared" / "data")
    if not samples.is_dir():
        print("there is no sample data: set WELLKEEP_SAMPLES", file=sys.stderr)
        return 2
    background, home = Background(), scratch_home()
    server = launch(home, background)
    try:
        background.run(server.prepare())
        background.run(server.create("wk_bench", server.template))
        database = Database(server=server, name="wk_bench")
        result = asyncio.run(run(server, database, samples, rounds=options.rounds, count=options.count))
    finally:
        if server.embedded is not None:
            server.embedded.stop()
        background.close()
        shutil.rmtree(home, ignore_errors=True)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
