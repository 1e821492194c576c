"""ledger.no_phi.

Canaries sent through every endpoint, failing ones too, stand in no log, answer, metric, entry or finding.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import httpx

from wellkeep.db.connection import Connection
from wellkeep.prove.canary import Canary
from wellkeep.prove.deployment import Deployment, Unseen
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.probe import Probe
from wellkeep.prove.sample import PEOPLE
from wellkeep.prove.scan import Scanner
from wellkeep.prove.world import World

_RECORDS_OF_OURS = (
    "SELECT * FROM ledger.entry",
    "SELECT * FROM ledger.outbox",
    "SELECT * FROM findings.finding",
)


async def run(world: World, notes: Notes) -> None:
    """Send a canary in every part of a request to every route, then look at all that was said and written about it."""
    client = await world.live.client(world.a.keys["integration"])
    specification = (await client.get("/v1/openapi.json")).json()
    canaries: list[Canary] = []
    echoed: list[str] = []
    sent = 0
    for path, methods in specification["paths"].items():
        for method in methods:
            for shape, request in _requests(method, path, canaries):
                answer = await client.request(**request)
                sent += 1
                if any(canary.value in answer.text + str(answer.headers) for canary in canaries[-4:]):
                    echoed.append(f"{method.upper()} {path} ({shape})")
    notes.check(
        f"sent {sent} malformed requests to every documented route, a canary in each",
        held=sent > 0 and not echoed,
        seen="no answer repeats one" if not echoed else f"repeated by {'; '.join(echoed[:4])}",
    )
    await _look(world.live, notes, canaries)


def _requests(method: str, path: str, canaries: list[Canary]) -> list[tuple[str, dict[str, Any]]]:
    """Return one request a shape: value, key, address, query, header and a body that is no JSON."""

    def fresh(shape: str) -> str:
        canaries.append(Canary.make(f"{shape} {len(canaries)}"))
        return canaries[-1].value

    plain = path.replace("{collection}", PEOPLE)
    addressed = "/".join(quote(fresh("address")) if part.startswith("{") else part for part in path.split("/"))
    filled = "/".join("0" if part.startswith("{") else part for part in plain.split("/"))
    base: dict[str, Any] = {"method": method.upper(), "url": filled}
    shapes: list[tuple[str, dict[str, Any]]] = [
        ("address", base | {"url": addressed}),
        ("query", base | {"params": {fresh("query key"): fresh("query value")}}),
        ("header", base | {"headers": {"X-Purpose-Of-Use": fresh("purpose"), "If-Match": fresh("revision")}}),
    ]
    if method in {"post", "put", "patch"}:
        kind = {"Content-Type": "application/json"}
        value, key = fresh("value"), fresh("key")
        shapes += [
            ("unknown key", base | {"content": json.dumps({key: value}), "headers": kind}),
            (
                "wrong type",
                base | {"content": json.dumps({"fields": {"history": [value], "born": value}}), "headers": kind},
            ),
            ("no JSON", base | {"content": '{"fields": {"history": "' + fresh("broken"), "headers": kind}),
            ("media type", base | {"content": "x", "headers": {"Content-Type": f"text/{fresh('media')}"}}),
        ]
    return shapes


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
    records = scanner.open("ledger and findings")

    async def take(chunk: bytes) -> None:
        records.feed(chunk)

    for query in _RECORDS_OF_OURS:
        await connection.copy_from_query(query, output=take, format="binary")
    found = records.result()
    notes.check(
        f"looked for {count} canaries in the ledger, the findings and PostgreSQL's log",
        held=not found.hits and not logs.hits and found.bytes > 0,
        seen=f"{len(found.hits) + len(logs.hits)} found in {found.bytes + logs.bytes:,} bytes",
    )


PROBE = Probe(
    claim="ledger.no_phi",
    where=Where.LIVE,
    run=run,
    missing="traces, error reports and alerts to the outside: wellkeep sends none yet",
)
