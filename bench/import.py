"""CPU of an import per record, sealed, indexed and on record, against a plaintext COPY of the same decoded rows.

Both sides run in this process against the same PostgreSQL, in turn, fresh tables each round, in batches of 500 with a
commit each. Ours is the job as the worker runs it: parts opened, lines read strictly and mapped, references resolved,
every field sealed, tags, entry and checkpoint committed with each batch and the entry chained. The twin is handed the
decoded rows, whole resources included, and copies them in the clear. An observation has two index rows (external id,
encounter) and stands in three further indexes (id, subject, time or event), here as there:

- `import`: the twin copies its two index rows into a table of them, as ours are rows of `vault.tag`;
- `import_ordinary_indexes`: the twin has no index rows, but two more ordinary indexes on its one table.

In both the decoding of lines counts on our side alone. `import_decoding_on_both` is `import` with it on both sides. The
other keys are medians of the parts, in microseconds of CPU a record: this process and the postmaster's whole tree,
reaped children included.

    make bench NAME=import            the ratios, then all sample lines
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
from typing import NamedTuple
from uuid import UUID

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "tests")]

import asyncpg

from database import Background, Database, Server, launch, scratch_home
from jobs.transfer import Transfer, ndjson, sample_lines, spec
from measure import cpu_seconds, median, own_cpu_seconds
from vault.stack import open_stack
from wellkeep.api.server import settle
from wellkeep.base.ids import uuid7
from wellkeep.db.connection import Connection
from wellkeep.vault.fhir import FhirMapper
from wellkeep.vault.imports_line import Row
from wellkeep.vault.ndjson_source import Line
from wellkeep.vault.templates import names, template

BATCH = 500
COLUMNS = ("id", "subject", "external_id", "resource", "code", "encounter", "effective", "created_at")
INDEX_COLUMNS = ("field", "value", "record")
INDEXED = ((0, 2), (1, 5))
"""The number of an indexed field, and its place among `COLUMNS`."""
PLAIN = """
DROP TABLE IF EXISTS public.plain, public.plain_index;
CREATE TABLE public.plain (id uuid PRIMARY KEY, subject uuid, external_id text, resource text, code text,
  encounter text, effective text, created_at timestamptz DEFAULT now());
CREATE INDEX ON public.plain (subject);
CREATE INDEX ON public.plain (created_at);
"""
INDEX_TABLE = """
CREATE TABLE public.plain_index (field integer, value text, record uuid, PRIMARY KEY (field, value, record));
"""
ORDINARY_INDEXES = """
CREATE UNIQUE INDEX ON public.plain (external_id);
CREATE INDEX ON public.plain (encounter);
"""
EMPTY = """
TRUNCATE vault.record, vault.tag, vault.revision, vault.subject, keys.subject_key, vault.blob, vault.blob_segment,
  vault.import CASCADE
"""


class Source(NamedTuple):
    """What is imported: observations line by line, and the file of their patients."""

    lines: list[bytes]
    patients: bytes


def cpu(postmaster: int) -> tuple[float, float]:
    """Return the CPU seconds so far of this process and of PostgreSQL."""
    return own_cpu_seconds(os.getpid()), cpu_seconds(postmaster)


def decoded(lines: list[bytes]) -> list[Row]:
    """Return the rows of FHIR observations."""
    mapper = FhirMapper(template("observations"))
    found = [mapper.row(Line(number, number, line)) for number, line in enumerate(lines, start=1)]
    return [row for row in found if isinstance(row, Row)]


async def copy(connection: Connection, rows: list[Row], *, index_rows: bool) -> None:
    """Copy decoded rows in the clear, a transaction each batch; their index rows too where there is a table of them."""
    people: dict[str, UUID] = {}
    now = await connection.fetchval("SELECT now()")
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
        index = [
            (field, value, record[0])
            for record in records
            for field, value in ((number, record[place]) for number, place in INDEXED)
            if index_rows and value is not None
        ]
        async with connection.transaction():
            await connection.copy_records_to_table("plain", schema_name="public", records=records, columns=COLUMNS)
            if index:
                await connection.copy_records_to_table(
                    "plain_index", schema_name="public", records=index, columns=INDEX_COLUMNS
                )


class Round(NamedTuple):
    """CPU of one round in microseconds a record; `ordinary` is the twin with ordinary indexes."""

    python: float
    postgres: float
    copy: float
    ordinary: float
    decode: float

    @property
    def ours(self) -> float:
        return self.python + self.postgres


async def one_round(transfer: Transfer, plain: Connection, postmaster: int, source: Source) -> Round:
    """Measure ours and both twins once, on fresh tables."""
    count = len(source.lines)
    await transfer.stack.as_superuser(EMPTY)
    transfer.stack.writer._appender._heads.clear()
    assert (await transfer.load(source.patients, "patients")).failed == 0
    started = await transfer.upload(ndjson(source.lines), "observations")
    marks = [cpu(postmaster)]
    done = await transfer.run(started.id)
    marks.append(cpu(postmaster))
    assert (done.state, done.created) == ("done", count), done
    rows = decoded(source.lines)
    for tables, index_rows in ((INDEX_TABLE, True), (ORDINARY_INDEXES, False)):
        await plain.execute(PLAIN + tables)
        marks.append(cpu(postmaster))
        await copy(plain, rows, index_rows=index_rows)
        marks.append(cpu(postmaster))
    decoded(source.lines)
    marks.append(cpu(postmaster))
    python, postgres = ((b - a) / count * 1e6 for a, b in zip(marks[0], marks[1], strict=True))
    total = [sum(mark) / count * 1e6 for mark in marks]
    return Round(python, postgres, total[3] - total[2], total[5] - total[4], total[6] - total[5])


async def ratios(transfer: Transfer, postmaster: int, samples: Path, *, rounds: int, count: int) -> dict[str, float]:
    """Return the medians over rounds, the first of which warms up."""
    source = Source(sample_lines(samples, "Observation", most=count), ndjson(sample_lines(samples, "Patient")))
    plain: Connection = await asyncpg.connect(**transfer.stack.database.superuser.arguments())
    measured = []
    for number in range(rounds + 1):
        one = await one_round(transfer, plain, postmaster, source)
        print(
            f"round {number}: ours {one.ours:.0f} µs a record (python {one.python:.0f}, postgres {one.postgres:.0f}; "
            f"of python, decoding {one.decode:.0f}); copy {one.copy:.0f}, with ordinary indexes {one.ordinary:.0f}"
        )
        if number:
            measured.append(one)
    await plain.close()
    found = {
        "import": median([one.ours / one.copy for one in measured]),
        "import_ordinary_indexes": median([one.ours / one.ordinary for one in measured]),
        "import_decoding_on_both": median([one.ours / (one.copy + one.decode) for one in measured]),
        **{f"{part}_us": median([getattr(one, part) for one in measured]) for part in Round._fields},
    }
    return {key: round(value, 2) for key, value in found.items()}


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
    settle()  # as each process of the server does
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
