"""An import whose worker is killed with -9, wherever, loses no line and takes none twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import msgspec
import pytest

from database import Database
from jobs.killing import import_and_die, in_a_fork
from jobs.transfer import Transfer, ndjson, spec
from vault.stack import open_stack
from wellkeep.vault.imports_batch import line_mac
from wellkeep.vault.replay import Replay

LINES = [
    f'{{"resourceType":"Practitioner","id":"d{n}","name":[{{"family":"Doctor{n}"}}]}}'.encode() for n in range(1_250)
]
BROKEN = {3: b"{", 700: b'{"resourceType":"Patient"}'}


@pytest.fixture
async def transfer(database: Database, tenant: UUID, other_tenant: UUID) -> AsyncIterator[Transfer]:
    """Open the house with one collection."""
    async with open_stack(database, tenant, other_tenant) as stack:
        await stack.declare(spec("practitioners"))
        yield Transfer(stack)


@pytest.mark.fault
@pytest.mark.parametrize(("die_at", "after"), [("planned", 1), ("sent", 0), ("sent", 2), ("committed", 1)])
async def test_killed_and_resumed_ends_as_the_source_is(transfer: Transfer, die_at: str, after: int) -> None:
    lines = [BROKEN.get(n, line) for n, line in enumerate(LINES)]
    stack = transfer.stack
    started = await transfer.upload(ndjson(lines), "practitioners")
    assert in_a_fork(lambda: import_and_die(stack, started.id, die_at=die_at, after=after)) == -9
    done = await transfer.run(started.id)
    assert (done.state, done.lines) == ("done", len(lines))
    assert (done.created, done.updated, done.unchanged, done.failed) == (len(lines) - 2, 0, 0, 2)
    assert [entry["line"] for entry in await transfer.errors(done.id)] == [4, 701]
    good = [line for n, line in enumerate(lines) if n not in BROKEN]
    keys = await stack.keyring.load(stack.tenant)
    macs = (line_mac(keys.mac_key("import/1"), msgspec.json.decode(line)["id"], line) for line in good)
    assert int(done.digest, 16) == sum(int.from_bytes(mac, "big") for mac in macs) % (1 << 256)
    assert sorted((await transfer.export("practitioners", "fhir")).splitlines()) == sorted(good)
    await stack.writer.drain_outbox(older_than=0.0)
    (left,) = await stack.as_superuser(
        "SELECT count(*) FROM vault.record r WHERE NOT EXISTS "
        "(SELECT FROM ledger.entry e WHERE e.tenant_id = r.tenant_id AND e.event_id = r.event_id)"
    )
    assert left["count"] == 0
    await transfer.load(ndjson(lines), "practitioners")
    replayed = await Replay(stack.vault.context, pool=stack.pool).run(stack.tenant)
    assert replayed.ok, replayed
    assert replayed.entries > len(lines) // 500


async def test_a_run_that_lost_the_import_writes_nothing(transfer: Transfer) -> None:
    started = await transfer.upload(ndjson(LINES[:10]), "practitioners")
    await transfer.run(started.id)
    again = await transfer.run(started.id)
    assert (again.state, again.created, again.lines) == ("done", 10, 10)
    stopped = await transfer.upload(ndjson(LINES[:20]), "practitioners")
    await transfer.imports.stop(transfer.stack.integration, stopped.id)
    assert (await transfer.run(stopped.id)).done == 0
    await transfer.imports.start(transfer.stack.integration, stopped.id)
    assert (await transfer.run(stopped.id)).unchanged == 10


async def test_staged_bytes_hold_no_plaintext(transfer: Transfer) -> None:
    canary = b"Canary8472Doctor"
    line = b'{"resourceType":"Practitioner","id":"c1","name":[{"family":"' + canary + b'"}]}'
    done = await transfer.load(ndjson([line, b"{" + canary]), "practitioners")
    assert (done.created, done.failed) == (1, 1)
    await transfer.export("practitioners", "ndjson")
    for table in ("vault.blob_segment", "vault.import", "vault.export", "vault.record", "queue.job", "queue.pgqueuer"):
        rows = await transfer.stack.as_superuser(f"SELECT row_to_json(t)::text AS text FROM {table} t")  # noqa: S608
        for row in rows:
            assert canary.decode() not in row["text"]
            assert canary.hex() not in row["text"]


async def test_a_part_moved_or_cut_is_refused(transfer: Transfer) -> None:
    started = await transfer.upload(ndjson(LINES) * 20, "practitioners")
    await transfer.stack.as_superuser(
        "UPDATE vault.blob_segment SET data = (SELECT data FROM vault.blob_segment b WHERE b.n = 2 LIMIT 1) WHERE n = 1"
    )
    done = await transfer.run(started.id)
    assert (done.state, done.created) == ("failed", 0)
