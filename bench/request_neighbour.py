"""What one tenant's bulk writing does to another tenant's reads.

One caller of the first tenant reads at an even pace, so that what is timed is the server and not a queue of our own;
meanwhile one caller of the second tenant creates records, 500 a request, one request after the other. Quiet and busy
spells take turns; the result is the median of the spells' ratios of the 99th percentile.
"""

from __future__ import annotations

import asyncio
import random
from uuid import UUID

import msgspec

import request_data
from measure import median, percentile
from request_deployment import Side, Tenant, collection_path
from request_load import Callers, connect, request

READERS = 4
READS = 800
PACE_SECONDS = 0.01
SPELLS = 4
ROWS = 500


def _batch(tenant: Tenant, number: int, chance: random.Random) -> bytes:
    rows = [
        {
            "subject": tenant.subjects[chance.randrange(len(tenant.subjects))],
            "fields": request_data.fields(10_000_000 + number * ROWS + row, chance),
        }
        for row in range(ROWS)
    ]
    body = msgspec.json.encode({"records": rows})
    return request("POST", collection_path() + "/batch", body, authorization=f"Bearer {tenant.key}")


async def _bulk(callers: Callers, tenant: Tenant, stop: asyncio.Event, start: int) -> int:
    chance = random.Random(start)  # noqa: S311 - made-up people
    number = start
    ready = [_batch(tenant, number + ahead, chance) for ahead in range(60)]
    for one in ready:
        if stop.is_set():
            break
        await callers.run([one])
        number += 1
    return number


async def neighbour(side: Side, tenants: list[Tenant]) -> float:
    """Return p99 of one tenant's reads beside another's bulk writing, divided by p99 without."""
    reader, writer = tenants[0], tenants[1]
    reading, writing = await connect(side.target, READERS), await connect(side.target, 1)
    auth = f"Bearer {reader.key}"
    chance = random.Random(7)  # noqa: S311 - made-up people
    made = []
    for number in range(200):
        body = {"subject": reader.subjects[0], "fields": request_data.fields(90_000_000 + number, chance)}
        made.append(request("POST", collection_path(), msgspec.json.encode(body), authorization=auth))
    answers = await reading.run(made)
    ids = [UUID(msgspec.json.decode(body)["id"]) for body in answers.bodies]
    wanted = [request("GET", f"{collection_path()}/{chance.choice(ids)}", authorization=auth) for _ in range(READS)]
    ratios, rows = [], 0
    for _ in range(SPELLS):
        quiet = await reading.run(wanted, pause=PACE_SECONDS)
        stop = asyncio.Event()
        bulk = asyncio.create_task(_bulk(writing, writer, stop, rows))
        await asyncio.sleep(0)
        busy = await reading.run(wanted, pause=PACE_SECONDS)
        stop.set()
        done = await bulk
        alone, beside = percentile(quiet.seconds, 0.99), percentile(busy.seconds, 0.99)
        ratios.append(beside / alone)
        print(
            f"neighbour: p99 {alone * 1e3:.1f} ms alone, {beside * 1e3:.1f} ms beside {(done - rows) * ROWS} rows "
            f"in bulk = {beside / alone:.2f}",
            flush=True,
        )
        rows = done
    reading.close()
    writing.close()
    return round(median(ratios), 2)
