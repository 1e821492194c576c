"""ledger.no_phi: what is sent stands in no answer to a refusal, no log, no metric, no entry and no finding.

Canaries go through every documented route of both listeners, in every part of a request, well-formed and not; and once
more in requests that succeed, whose answers may hold them and whose traces may not.
"""

from __future__ import annotations

from collections.abc import Sequence

import httpx

from wellkeep.db.connection import Connection
from wellkeep.prove.canary import Canary
from wellkeep.prove.deployment import Deployment, Unseen
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.malformed import Canaries, Malformed, malformed, plaintext, stranger
from wellkeep.prove.planting import plant, plant_files
from wellkeep.prove.probe import Probe
from wellkeep.prove.scan import Scanner
from wellkeep.prove.stage import Stage
from wellkeep.prove.world import World

_RECORDS_OF_OURS = (
    "SELECT * FROM ledger.entry",
    "SELECT * FROM ledger.outbox",
    "SELECT * FROM findings.finding",
    "SELECT * FROM queue.job",
    "SELECT * FROM queue.pgqueuer_log",
)


async def run(world: World, notes: Notes) -> None:
    """Send a canary in every part of a request to every route, then look at all that was said and written about it."""
    live = await world.live()
    canaries = await _refused(live, notes)
    client = await live.client(live.a.keys["integration"])
    canaries += await plant(client, 0, in_clear=Canary.make("in clear"))
    try:
        canaries += await plant_files(client)
    except Unseen as unseen:
        notes.blind("send canaries through imports and exports", why=str(unseen))
    await _look(live, notes, canaries)


async def _refused(live: Stage, notes: Notes) -> list[Canary]:
    canaries = Canaries()
    echoed: list[str] = []
    kinds: set[str] = set()
    sent = 0
    for admin, role in ((False, "integration"), (True, "administrator")):
        client = await live.client(live.a.keys[role], admin=admin)
        document = (await client.get("/v1/openapi.json")).json()
        for request in malformed(document, canaries):
            answer = await client.request(**request.arguments)
            sent += 1
            kinds.add(request.shape)
            if _repeats(answer, request.canaries):
                echoed.append(f"{request.arguments['method']} {request.route} ({request.shape})")
    plain = f"http://{live.settings.listen.plain}"
    for request in (stranger("/v1/collections", canaries), plaintext(plain, canaries)):
        echoed += await _without_a_key(live, request)
    notes.check(
        f"sent {sent} malformed requests of {len(kinds)} shapes to every documented route, canaries in each",
        held=sent > 0 and not echoed,
        seen="no answer repeats one" if not echoed else f"repeated by {'; '.join(echoed[:4])}",
    )
    return canaries.all


async def _without_a_key(live: Stage, request: Malformed) -> list[str]:
    """Send what nobody of ours sent, or what should have been sent over TLS."""
    answer = await (await live.client()).request(**request.arguments)
    return [f"{request.route} ({request.shape})"] if _repeats(answer, request.canaries) else []


def _repeats(answer: httpx.Response, canaries: Sequence[Canary]) -> bool:
    """Say whether an answer holds a piece of what was sent to it."""
    told = answer.content + str(answer.headers.raw).encode()
    return any(piece in told for canary in canaries for piece in canary.windows())


async def _look(live: Deployment, notes: Notes, canaries: list[Canary]) -> None:
    scanner = Scanner(canaries)
    logs = scanner.files("our log", sorted(path for path in live.home.log.rglob("*") if path.is_file()))
    notes.check(
        f"looked for {len(canaries)} canaries in our logs",
        held=not logs.hits and logs.bytes > 0,
        seen=f"{len(logs.hits)} found in {logs.bytes:,} bytes",
    )
    metrics = await (await live.client(admin=True)).get("/metrics")
    told = scanner.stream("metrics", [metrics.content])
    notes.check(
        "looked into the metrics",
        held=metrics.status_code == httpx.codes.OK and not told.hits,
        seen=f"{len(told.hits)} found in {told.bytes:,} bytes",
    )
    try:
        async with live.as_superuser() as connection:
            await _look_into_database(connection, live, scanner, notes, len(canaries))
    except Unseen as unseen:
        notes.blind("look into PostgreSQL's log, the ledger and the findings", why=str(unseen))


async def _look_into_database(
    connection: Connection, live: Deployment, scanner: Scanner, notes: Notes, count: int
) -> None:
    server_log = live.home.path / "postgres" / "data" / "log"
    logs = scanner.files("PostgreSQL's log", sorted(path for path in server_log.rglob("*") if path.is_file()))
    records = scanner.open("ledger, findings and jobs")

    async def take(chunk: bytes) -> None:
        records.feed(chunk)

    for query in _RECORDS_OF_OURS:
        await connection.copy_from_query(query, output=take, format="binary")
    found = records.result()
    notes.check(
        f"looked for {count} canaries in the ledger, the findings, the jobs and PostgreSQL's log",
        held=not found.hits and not logs.hits and found.bytes > 0 and logs.bytes > 0,
        seen=f"{len(found.hits) + len(logs.hits)} found in {found.bytes + logs.bytes:,} bytes",
    )


PROBE = Probe(
    claim="ledger.no_phi",
    where=Where.LIVE,
    run=run,
    missing="traces, error reports and alerts to the outside: wellkeep sends none yet",
)
