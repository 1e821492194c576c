"""ledger.complete: no record, no access. Under load, across a kill, and with the ledger refusing."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from wellkeep.db.connection import Connection
from wellkeep.prove.canary import Canary
from wellkeep.prove.deployment import created
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.probe import Probe
from wellkeep.prove.sample import PEOPLE, person
from wellkeep.prove.scratch import Scratch
from wellkeep.prove.world import World

_CALLERS = 16
_ROUNDS = 12
_REFUSED = 503
_RECOVERY_SECONDS = 20.0

_REQUESTS = """
SELECT request::text AS request, count(*) AS entries FROM ledger.entry
WHERE tenant_id = $1 AND action IN ('record.create', 'record.read', 'record.search') GROUP BY request
"""
_REFUSE = """
CREATE FUNCTION ledger.wk_probe_refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER wk_probe_refuse BEFORE INSERT ON ledger.entry EXECUTE FUNCTION ledger.wk_probe_refuse();
"""
_ACCEPT = "DROP TRIGGER wk_probe_refuse ON ledger.entry; DROP FUNCTION ledger.wk_probe_refuse();"


@dataclass(slots=True)
class Load:
    """What callers were told: the request ids of what succeeded, and how many were under way when it was cut."""

    acknowledged: list[str] = field(default_factory=list)
    unanswered: int = 0


async def run(world: World, notes: Notes) -> None:
    """Load the API, count entries; refuse entries, count accesses; kill the server under load, count again."""
    scratch = await world.scratch()
    client = await scratch.client(scratch.a.keys["integration"])
    secret = Canary.make("unrecorded").value
    record = await created(client, f"/v1/collections/{PEOPLE}/records", person(history=secret))
    path = f"/v1/collections/{PEOPLE}/records/{record['id']}"
    async with scratch.as_superuser() as connection:
        await _remember(scratch, connection)
        load = Load()
        await _work(client, path, load)
        await _compare(scratch, connection, notes, load, f"{_CALLERS} callers created, read and searched")
        await _refusing(client, connection, notes, path, secret)
        await _killed(scratch, connection, notes, path)


async def _work(client: httpx.AsyncClient, path: str, load: Load, *, rounds: int = _ROUNDS) -> None:
    async def caller() -> None:
        for _ in range(rounds):
            for request in _requests(path):
                try:
                    answer = await client.request(**request)
                except httpx.TransportError:
                    load.unanswered += 1
                    return
                if answer.is_success:
                    load.acknowledged.append(answer.headers["X-Request-Id"])

    await asyncio.gather(*(caller() for _ in range(_CALLERS)))


def _requests(path: str) -> list[dict[str, Any]]:
    base = f"/v1/collections/{PEOPLE}/records"
    return [
        {"method": "POST", "url": base, "json": person()},
        {"method": "GET", "url": path},
        {"method": "POST", "url": f"{base}/search", "json": {"where": {"ssn": "999-00-0000"}, "limit": 3}},
    ]


async def _remember(scratch: Scratch, connection: Connection) -> None:
    """Leave what was entered so far out of what is compared next."""
    scratch.counted |= {row["request"] for row in await connection.fetch(_REQUESTS, scratch.a.id)}


async def _compare(scratch: Scratch, connection: Connection, notes: Notes, load: Load, tried: str) -> None:
    entries = Counter({row["request"]: row["entries"] for row in await connection.fetch(_REQUESTS, scratch.a.id)})
    missing = [request for request in load.acknowledged if entries[request] == 0]
    twice = [request for request in load.acknowledged if entries[request] > 1]
    surplus = len(entries.keys() - set(load.acknowledged) - scratch.counted)
    scratch.counted |= entries.keys()
    notes.check(
        tried,
        held=bool(load.acknowledged) and not missing and not twice and surplus <= load.unanswered + 1,
        seen=f"{len(load.acknowledged)} acknowledged, {len(missing)} without an entry, {len(twice)} with two; "
        f"{surplus} entries of nobody's answer, {load.unanswered} requests were cut off",
    )


async def _refusing(client: httpx.AsyncClient, connection: Connection, notes: Notes, path: str, secret: str) -> None:
    await connection.execute(_REFUSE)
    try:
        read = await client.get(path)
        found = await client.post(f"/v1/collections/{PEOPLE}/records/search", json={"where": {"ssn": "999-00-0000"}})
        await client.post(f"/v1/collections/{PEOPLE}/records", json=person())
        change = await client.post(f"/v1/collections/{PEOPLE}/records", json=person())
    finally:
        await connection.execute(_ACCEPT)
    told = [answer.status_code for answer in (read, found, change)]
    shown = any(secret in answer.text for answer in (read, found, change))
    notes.check(
        "made the ledger refuse entries, then read, searched and changed",
        held=all(status == _REFUSED for status in told) and not shown,
        seen=f"HTTP {', '.join(map(str, told))}, no PHI in any answer" if not shown else "PHI was answered",
    )
    notes.check("let it take entries again", held=await _recovers(client, path), seen="reads and changes work again")


async def _recovers(client: httpx.AsyncClient, path: str) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _RECOVERY_SECONDS
    while loop.time() < deadline:
        with suppress(httpx.TransportError):
            read = await client.get(path)
            change = await client.post(f"/v1/collections/{PEOPLE}/records", json=person())
            if read.is_success and change.is_success:
                return True
        await asyncio.sleep(0.25)
    return False


async def _killed(scratch: Scratch, connection: Connection, notes: Notes, path: str) -> None:
    load = Load()
    client = await scratch.client(scratch.a.keys["integration"])
    await _remember(scratch, connection)
    working = asyncio.create_task(_work(client, path, load, rounds=400))
    await asyncio.sleep(1.0)
    await asyncio.to_thread(scratch.server.kill)
    await working
    await scratch.server.start()
    await scratch.drained(connection)
    await _compare(scratch, connection, notes, load, "killed the server (SIGKILL) under load and started it again")


PROBE = Probe(claim="ledger.complete", where=Where.SCRATCH, run=run)
